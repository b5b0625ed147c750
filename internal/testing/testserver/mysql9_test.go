//go:build mysql

package testserver

import "testing"

// The build tag lets `make test` run without the server that `make deps-mysql` fetches.
func TestMySQL(t *testing.T) { testMySQL(t, StartMySQL) }
