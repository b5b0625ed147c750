package influxdb2

import (
	"context"
	"testing"

	"example.com/rotator/internal/testing/awstemplate"
	"example.com/rotator/rotation/engine"
)

// TestSecretOfAWSTemplate: secrets of AWS's templates are rotated unchanged.
func TestSecretOfAWSTemplate(t *testing.T) {
	s := newFixture(t)
	env := s.timestream.Env("TIMESTREAM_INFLUXDB", s.api)
	env["CA_BUNDLE"] = string(s.CA.PEM)
	f := awstemplate.New(t, env)
	f.Rotate("InfluxDBRotationSingleUser", &named{&users{fixture: s}})
	f.Rotate("InfluxDBRotationMultiUser", &tokens{fixture: s, byOperator: true})
}

// named creates users whose secrets name the instance.
type named struct{ *users }

func (h *named) New(ctx context.Context, host string, port int) (value, superuser engine.Value, err error) {
	value, superuser, err = h.users.New(ctx, host, port)
	return value.With("dbIdentifier", h.instance(host, port)), superuser, err
}
