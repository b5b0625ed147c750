//go:build next

package testserver

import "testing"

// The build tag lets `make test` run without the server that `make deps-next` fetches.
func TestValkey(t *testing.T) { testRedis(t, true) }
