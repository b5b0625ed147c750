//go:build valkey

package testserver

import "testing"

// The tag keeps `make test` from needing what `make deps-valkey` fetches.
func TestValkey(t *testing.T) { testRedis(t, StartValkey) }
