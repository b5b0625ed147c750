package influxdb

import (
	"context"

	"example.com/rotator/rotation/engine"
)

var _ engine.Needer = (*Engine)(nil)

// Needs says that the login, be it the superuser secret's or the user itself, needs
// all privileges: InfluxDB has no finer right to set a password.
// Source: https://docs.influxdata.com/influxdb/v1/administration/authentication_and_authorization/#admin-users
func (e *Engine) Needs(_ context.Context, _ *engine.Request, n *engine.Needs) error {
	n.Grants = []string{"GRANT ALL PRIVILEGES TO " + identifier(n.Login) + ";"}
	return nil
}
