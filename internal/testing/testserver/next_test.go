//go:build next

package testserver

import "testing"

// The tag keeps `make test` from needing what `make deps-next` fetches.
func TestValkey(t *testing.T) { testRedis(t, StartValkey) }
