// Package gate is a custom engine in a separate module: it compiles against the
// contract, rotation/engine, and its test against the suite, rotation/enginetest.
package gate

import (
	"context"
	"net/http"
	"strings"

	"example.com/rotator/rotation/engine"
)

// Engine changes the password of a gate's controller, which has a
// small HTTPS interface and no place for a second password.
type Engine struct{ Client *http.Client }

// Kind describes the engine.
func (Engine) Kind() engine.Kind {
	return engine.Kind{
		Names: []string{"gate"}, UserField: "username", SecretFields: []string{"password"},
		Passwords: engine.PasswordPolicy{Length: 32, ExcludePunctuation: true},
	}
}

// Next returns the current value with a new password.
func (e Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	if _, err := engine.ParseTarget(r.Current, 443, ""); err != nil {
		return engine.Value{}, err
	}
	return engine.NextPassword(e.Kind(), r), nil
}

// Set changes the password.
func (e Engine) Set(ctx context.Context, r *engine.Request) error {
	password, _ := r.Pending.Text("password")
	return e.call(ctx, http.MethodPut, r.Login, password)
}

// Verify checks a password.
func (e Engine) Verify(ctx context.Context, _ *engine.Request, v engine.Value) error {
	return e.call(ctx, http.MethodGet, v, "")
}

func (e Engine) call(ctx context.Context, method string, login engine.Value, body string) error {
	t, err := engine.ParseTarget(login, 443, "")
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+t.Address()+"/password", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.SetBasicAuth(t.User, t.Password)
	resp, err := e.Client.Do(req)
	if err != nil {
		if e := engine.NetworkError(t, err); e != nil {
			return e
		}
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized: // it can mean nothing else
		return engine.Errorf(engine.LoginRefused, "set the password at the gate", "the gate refuses %v", t)
	}
	return engine.Errorf(engine.TargetFailed, "see the gate's manual", "the gate answers %s", resp.Status)
}
