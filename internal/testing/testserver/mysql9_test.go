//go:build mysql

package testserver

import "testing"

// The tag keeps `make test` from needing what `make deps-mysql` fetches.
func TestMySQL(t *testing.T) { testMySQL(t, StartMySQL) }
