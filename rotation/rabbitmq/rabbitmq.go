// Package rabbitmq rotates passwords of RabbitMQ users, also on Amazon MQ, through the management plugin's HTTP API.
//
// The server receives a salted hash, never a new password. Only a user with the tag administrator can change users,
// even itself, so most secrets name a superuser secret.
// Source: https://www.rabbitmq.com/docs/passwords, https://www.rabbitmq.com/docs/http-api-reference
package rabbitmq

import (
	"context"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/httpapi"
	"example.com/rotator/rotation/pair"
)

// Engine rotates users of RabbitMQ 3.9 and later.
type Engine struct{ tls engine.TLSPolicy }

// New returns the engine with the given policy for its connections.
func New(tls engine.TLSPolicy) *Engine { return &Engine{tls} }

// portField names the management API's port; the field port is for AMQP.
const portField = "managementPort"

// Kind describes the engine. AWS has no template for it. Passwords need no escaping in an amqps:// URL.
func (*Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:        []string{"rabbitmq", "amazonmq"},
		UserField:    "username",
		SecretFields: []string{"password"},
		Passwords: engine.PasswordPolicy{Length: 32, ExcludeCharacters: "/@\"'\\:?#%[]^{}|<>`",
			RequireEachIncludedType: true},
		CloneSuffix: "_clone",
		CloneLimit:  255, // AMQP's short string
		PlaceFields: []string{"engine", portField},
	}
}

// parse reads a login for the management API. Its port is 15671, or 443 on Amazon MQ.
// Source: https://docs.aws.amazon.com/amazon-mq/latest/developer-guide/configuring-amazon-mq.html
func parse(v engine.Value) (engine.Target, error) {
	port := 15671
	if engine, _ := v.Text("engine"); engine == "amazonmq" {
		port = 443
	}
	if v.IsObject() {
		raw := v.JSON(portField)
		if raw == nil {
			raw = []byte("null")
		}
		v = v.WithJSON("port", raw)
	}
	t, err := httpapi.ParseUser(v, port)
	if err == nil && (t.User == "." || t.User == "..") {
		// In a path, these names lead elsewhere.
		err = engine.Errorf(engine.InvalidSecret, "use another user", "the name %q cannot be used in a URL", t.User)
	}
	return t, err
}

// Next returns the value that follows the current one.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	return pair.Next(e.Kind(), r, parse)
}

// DryRun logs in and reads what Set would change, which only an administrator may do.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error { return e.change(ctx, r, true) }

// Set makes the pending credential valid.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error { return e.change(ctx, r, false) }

// Verify logs in. A user that changes its own password must have the right to.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	s, err := e.open(v)
	if err != nil {
		return err
	}
	defer s.Close()
	if r.SuperuserChanges {
		return s.login(ctx)
	}
	_, err = s.existing(ctx, s.Target.User)
	return err
}

func (e *Engine) change(ctx context.Context, r *engine.Request, rehearsal bool) error {
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	s, err := e.open(r.Login)
	if err != nil {
		return err
	}
	defer s.Close()
	if r.Superuser {
		current, _ := r.Current.Text("username")
		return pair.Apply(ctx, target{s, r, pending.Password}, pair.Change{Kind: e.Kind(), Request: r,
			Superuser: s.Target.User, Current: current, Pending: pending.User, Rehearsal: rehearsal})
	}
	u, err := s.existing(ctx, pending.User)
	if err != nil || rehearsal {
		return err
	}
	return s.put(ctx, u.with(pending.Password, r))
}

// Needs adds the tag administrator, which is required to change a user. No permission in a virtual host is needed.
// Source: https://www.rabbitmq.com/docs/management#permissions
func (e *Engine) Needs(_ context.Context, _ *engine.Request, n *engine.Needs) error {
	quoted := "'" + strings.ReplaceAll(n.Login, "'", `'\''`) + "'" // for a shell
	n.Grants = []string{"rabbitmqctl set_user_tags " + quoted + " administrator"}
	return nil
}
