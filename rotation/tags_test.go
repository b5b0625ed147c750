package rotation_test

import (
	"testing"

	"example.com/rotator/internal/testing/world"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/generic"
	"example.com/rotator/rotation/iam"
	"example.com/rotator/rotation/influxdb2"
)

// TestTagsMayOnlyStrengthen: no tag can make the next password guessable, or rotate a credential for a target as if no
// system used it.
func TestTagsMayOnlyStrengthen(t *testing.T) {
	for name, c := range map[string]struct {
		value string
		tags  []string
		want  engine.Cause
	}{
		"a short alphabet": {"first-password", []string{"engine", "generic", "exclude-lowercase", "true",
			"exclude-numbers", "true", "exclude-punctuation", "true",
			"exclude-characters", "CDEFGHIJKLMNOPQRSTUVWXYZ", "require-each-included-type", "false"},
			engine.InvalidConfiguration},
		"a short password": {"first-password", []string{"engine", "generic", "password-length", "12"},
			engine.InvalidConfiguration},
		"no punctuation": {"first-password", []string{"engine", "generic", "exclude-punctuation", "true"},
			""},
		"a longer password": {"first-password", []string{"engine", "generic", "password-length", "64"}, ""},
		"generic for a database's": {`{"host":"db.example.com","username":"app","password":"first-password"}`,
			[]string{"engine", "generic", "generic-field", "password"}, engine.InvalidSecret},
		"generic for a key": {`{"username":"app","AccessKeyId":"AKIA2222222222222222","SecretAccessKey":"first-secret-access-key"}`,
			[]string{"engine", "generic", "generic-field", "SecretAccessKey"}, engine.InvalidSecret},
		"generic for any token": {`{"token":"first-token-of-something"}`,
			[]string{"engine", "generic", "generic-field", "token"}, ""},
		"generic by the value": {`{"engine":"generic","host":"db.example.com","password":"first-password"}`,
			[]string{"generic-field", "password"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := world.New(t, generic.New(), iam.New(nil, false), influxdb2.NewTokens(engine.TLSPolicy{}, nil))
			arn := w.Secret("tags", engine.StringValue(c.value))
			w.Tag(arn, c.tags...)
			err := w.Steps(arn, w.Begin(arn), rotation.CreateSecret)
			if c.want == "" && err != nil {
				t.Error(err)
			} else if c.want != "" {
				enginetest.WantCause(t, err, c.want, "")
			}
		})
	}
}
