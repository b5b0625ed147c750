package rotation_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// gate is an engine: it changes a password at a gate's controller, which has a small HTTPS
// interface and accepts only one password per user.
type gate struct{ client *http.Client }

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

// Example rotates a custom kind of credential: gate is the engine, and the Rotator does the rest.
// As a Lambda function, the program would end in lambda.Start(r.Handle).
func Example() {
	controller := newController()
	defer controller.Close()
	manager := newManager()
	defer manager.Close()

	r, err := rotation.New(rotation.Config{
		Engines: []engine.Engine{gate{controller.Client()}},
		Secrets: func(context.Context, string) (*secretsmanager.Client, error) { return manager.client, nil },
		Log:     slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	manager.function(func(ctx context.Context, e rotation.Event) error {
		err := r.Handle(ctx, e)
		fmt.Println(e.Step, err)
		return err
	})
	manager.rotate(controller.secret())
	fmt.Println("the gate opens with AWSCURRENT:", controller.opens(manager.current()))
	// Output:
	// createSecret <nil>
	// setSecret <nil>
	// testSecret <nil>
	// finishSecret <nil>
	// the gate opens with AWSCURRENT: true
}
