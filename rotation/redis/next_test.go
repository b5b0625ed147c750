//go:build next

package redis

import (
	"testing"

	"example.com/rotator/internal/testing/testserver"
)

// Because of the tag, `make test` does not need what `make deps-next` downloads.

func TestValkeyEngineItself(t *testing.T) { suite(t, "valkey", testserver.Valkey, "itself") }

func TestValkeyEngineSuperuser(t *testing.T) { suite(t, "valkey", testserver.Valkey, "superuser") }

func TestValkeyRestartKeepsTheChange(t *testing.T) { restart(t, testserver.Valkey) }

func TestValkeyNothingLeaks(t *testing.T) { leaks(t, testserver.Valkey) }
