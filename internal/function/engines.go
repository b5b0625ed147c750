package function

import (
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/postgres"
)

// engines is the one list of what the function can rotate.
func engines(tls rotation.TLSPolicy) []rotation.Engine {
	return []rotation.Engine{
		postgres.New(tls),
	}
}
