package rotation_test

import (
	"context"
	"fmt"
	"testing"

	"example.com/rotator/internal/testing/world"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/ldap"
	"example.com/rotator/rotation/mongodb"
	"example.com/rotator/rotation/rabbitmq"
)

// refusing is an engine whose target refuses every login. It records the values that it receives.
type refusing struct {
	engine.Engine
	shown []engine.Value
}

func (r *refusing) Next(_ context.Context, req *engine.Request) (engine.Value, error) {
	return engine.NextPassword(r.Kind(), req), nil
}

func (r *refusing) Verify(_ context.Context, _ *engine.Request, v engine.Value) error {
	r.shown = append(r.shown, v)
	return engine.Errorf(engine.LoginRefused, "", "refused")
}

// A version's credential is sent only to the place, and for the account, that the version names.
func TestCredentialIsNotCombinedWithAnotherVersionsPlace(t *testing.T) {
	tls := engine.TLSPolicy{}
	for name, c := range map[string]struct {
		engine  engine.Engine
		current string
		field   string
		other   string
	}{
		"LDAP's user": {ldap.New(tls), `{"engine":"ldap","host":"h","username":"uid=app,dc=a"}`,
			"username", `"uid=app,dc=b"`},
		"LDAP's port": {ldap.New(tls), `{"engine":"ldap","host":"h","username":"uid=app,dc=a","port":636}`,
			"port", `3269`},
		"LDAP's engine": {ldap.New(tls), `{"engine":"ldap","host":"h","username":"uid=app,dc=a"}`,
			"engine", `"ad"`},
		"MongoDB's dbname": {mongodb.New(tls), `{"engine":"mongodb","host":"h","username":"app","dbname":"a"}`,
			"dbname", `"b"`},
		"RabbitMQ's API": {rabbitmq.New(tls),
			`{"engine":"rabbitmq","host":"h","username":"app","managementPort":15671}`, "managementPort", `15672`},
		"RabbitMQ's engine": {rabbitmq.New(tls), `{"engine":"rabbitmq","host":"h","username":"app"}`,
			"engine", `"amazonmq"`},
		"RabbitMQ's plain text": {rabbitmq.New(tls), `{"engine":"rabbitmq","host":"h","username":"app"}`,
			"ssl", `false`},
		"nothing but a password": {ldap.New(tls), `{"engine":"ldap","host":"h","username":"uid=app,dc=a"}`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := &refusing{Engine: c.engine}
			w := world.New(t, e)
			current := engine.StringValue(c.current).With("password", "second-password")
			older := current.With("password", "first-password")
			if c.field != "" {
				older = older.WithJSON(c.field, []byte(c.other))
			}
			arn := w.Secret("account", older)
			w.Put(arn, current, "")
			err := w.Steps(arn, w.Begin(arn), rotation.CreateSecret)
			enginetest.WantCause(t, err, engine.LoginRefused, "AWSCURRENT")
			passwords := ""
			for _, v := range e.shown {
				p, _ := v.Text("password")
				passwords += fmt.Sprint(p, " ")
			}
			want := "second-password "
			if c.field == "" {
				want += "first-password "
			}
			if passwords != want {
				t.Errorf("shown: %s", passwords)
			}
		})
	}
}
