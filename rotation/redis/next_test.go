//go:build next

package redis

import (
	"testing"

	"example.com/rotator/internal/testing/testserver"
)

// Because of the tag, `make test` does not need what `make deps-next` downloads.

func TestValkeyEngineItself(t *testing.T) { suite(t, "valkey", valkey, "itself") }

func TestValkeyEngineSuperuser(t *testing.T) { suite(t, "valkey", valkey, "superuser") }

func TestValkeyRestartKeepsTheChange(t *testing.T) { restart(t, valkey) }

func TestValkeyNothingLeaks(t *testing.T) { leaks(t, valkey) }

func valkey(t testing.TB, o testserver.RedisOptions) *testserver.RedisServer {
	o.Valkey = true
	return testserver.Redis(t, o)
}
