//go:build !with_oracle

package function

import "example.com/rotator/rotation/engine"

// oracleEngine refuses Oracle secrets. The driver nearly doubles the function's size, a cost that other users should
// not bear.
func oracleEngine(engine.TLSPolicy) engine.Engine {
	return refused{[]string{"oracle", "oracle-*", "custom-oracle-*"}, engine.Errorf(engine.InvalidSecret,
		"build the function with Oracle: `TAGS=with_oracle sam build`, or `make build TAGS=with_oracle`",
		"this function was built without Oracle")}
}
