// Package gate is an engine for the passwords of a gate controller.
package gate

import (
	"context"
	"net/http"
	"strings"

	"example.com/rotator/rotation/engine"
)

type gate struct{ client *http.Client }

// New returns the engine. Its connections follow the function's settings.
func New(tls engine.TLSPolicy) engine.Engine {
	return gate{&http.Client{Transport: &http.Transport{TLSClientConfig: tls.Config("")}}}
}

func (gate) Kind() engine.Kind {
	return engine.Kind{
		Names: []string{"gate"}, UserField: "username", SecretFields: []string{"password"},
		Passwords: engine.PasswordPolicy{Length: 32, ExcludePunctuation: true},
	}
}

func (g gate) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	if _, err := engine.ParseTarget(r.Current, 443, ""); err != nil {
		return engine.Value{}, err
	}
	return engine.NextPassword(g.Kind(), r), nil
}

func (g gate) Set(ctx context.Context, r *engine.Request) error {
	password, _ := r.Pending.Text("password")
	return g.call(ctx, http.MethodPut, r.Login, password)
}

func (g gate) Verify(ctx context.Context, _ *engine.Request, v engine.Value) error {
	return g.call(ctx, http.MethodGet, v, "")
}

func (g gate) call(ctx context.Context, method string, login engine.Value, body string) error {
	t, err := engine.ParseTarget(login, 443, "")
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+t.Address()+"/password", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.SetBasicAuth(t.User, t.Password)
	resp, err := g.client.Do(req)
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
