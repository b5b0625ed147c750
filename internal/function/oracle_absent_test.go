//go:build !with_oracle

package function

import (
	"strings"
	"testing"
)

const abilitiesOfOracle = ""

func TestWithoutOracleTheErrorSaysHowToBuildIt(t *testing.T) {
	w := newWorld(t)
	arn := w.secret(strings.Replace(value, "postgres", "oracle-ee", 1))
	w.begin(arn)
	w.want(w.invoke(event("createSecret", arn)), "InvalidSecret", "with_oracle")
}
