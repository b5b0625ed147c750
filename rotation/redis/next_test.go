//go:build next

package redis

import (
	"testing"

	"example.com/rotator/internal/testing/testserver"
)

// The tag keeps `make test` from needing what `make deps-next` fetches.

func TestValkeyEngineItself(t *testing.T) { suite(t, "valkey", testserver.Valkey, "itself") }

func TestValkeyEngineSuperuser(t *testing.T) { suite(t, "valkey", testserver.Valkey, "superuser") }

func TestValkeyRestartKeepsTheChange(t *testing.T) { restart(t, testserver.Valkey) }

func TestValkeyNothingLeaks(t *testing.T) { leaks(t, testserver.Valkey) }
