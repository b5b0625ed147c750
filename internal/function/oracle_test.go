//go:build with_oracle

package function

import (
	"strings"
	"testing"
)

const abilitiesOfOracle = "rehearses, has needs"

// TestWithOracleItAsksTheDatabase: engines contains the real engine, not the one that refuses.
func TestWithOracleItAsksTheDatabase(t *testing.T) {
	w := newWorld(t)
	arn := w.secret(strings.NewReplacer("postgres", "oracle-ee", `"port"`, `"dbname":"ORCL","port"`).Replace(value))
	w.begin(arn)
	w.want(w.invoke(event("createSecret", arn)), "Unreachable", "127.0.0.1")
}
