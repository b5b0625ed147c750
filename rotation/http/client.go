package http

import (
	"context"
	nethttp "net/http"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/httpapi"
)

const bodyLimit = 1 << 20

type exchange struct {
	engine *Engine
	client *nethttp.Client
	secret string // the ARN
	login  engine.Value
}

// exchange returns a client for the recipe's calls. It follows no redirects, so only the recipe's URLs get the token.
func (e *Engine) exchange(r *engine.Request, login engine.Value) (*exchange, error) {
	if err := e.form(login); err != nil {
		return nil, err
	}
	transport := httpapi.Transport(e.tls.Config(""))
	transport.Proxy, transport.ForceAttemptHTTP2 = nethttp.ProxyFromEnvironment, true
	client := &nethttp.Client{Transport: transport, CheckRedirect: httpapi.RefuseRedirect}
	return &exchange{e, client, r.Secret, login}, nil
}

func (x *exchange) close() { x.client.CloseIdleConnections() }

// send makes a call. For a status other than 2xx it returns the response and an error, whose cause is LoginRefused if
// refused contains the status.
func (x *exchange) send(ctx context.Context, what string, call Call, with lookup, refused ...int) (
	*httpapi.Answer, error) {
	req, faults := call.request(ctx, with)
	if faults != nil {
		return nil, engine.Errorf(engine.InvalidSecret, adviceFields, "%s failed: %s", what, strings.Join(faults, ", "))
	}
	a, err := httpapi.Send(x.client, req, bodyLimit)
	if err != nil {
		return nil, httpapi.Failed(httpapi.Endpoint(err), err)
	}
	if a.OK() {
		return a, nil
	}
	cause, advice := engine.TargetFailed, "compare the recipe with the API's documentation"
	switch {
	case slices.Contains(refused, a.Status):
		cause, advice = engine.LoginRefused, "check whether the token was revoked or has expired"
	case a.Status == nethttp.StatusUnauthorized || a.Status == nethttp.StatusForbidden:
		cause, advice = engine.PrivilegeMissing, "give the token the right to manage tokens"
	case a.Status == nethttp.StatusTooManyRequests || a.Status >= 500:
		advice = "wait; Secrets Manager retries"
	}
	return a, engine.Errorf(cause, advice, "%s failed with status %d", what, a.Status)
}
