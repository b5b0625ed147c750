//go:build with_oracle

package function

import (
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/oracle"
)

// oracleEngine needs the build tag with_oracle: its driver adds 14 MB, which nearly doubles the function's size.
func oracleEngine(tls engine.TLSPolicy) engine.Engine { return oracle.New(tls) }
