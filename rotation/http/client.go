package http

import (
	"context"
	"errors"
	nethttp "net/http"
	"slices"
	"strconv"
	"strings"
	"time"

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

// exchange returns a client that reaches only the recipe's hosts, even through redirects.
func (e *Engine) exchange(r *engine.Request, login engine.Value) (*exchange, error) {
	if err := e.form(login); err != nil {
		return nil, err
	}
	transport := httpapi.Transport(e.tls.Config(""))
	transport.Proxy, transport.ForceAttemptHTTP2 = nethttp.ProxyFromEnvironment, true
	return &exchange{e, &nethttp.Client{Transport: transport, CheckRedirect: e.recipe.redirect}, r.Secret, login}, nil
}

func (x *exchange) close() { x.client.CloseIdleConnections() }

func (r *Recipe) redirect(req *nethttp.Request, via []*nethttp.Request) error {
	switch fault := r.forbids(req.URL.String()); {
	case fault != "":
		return engine.Errorf(engine.TargetFailed, adviceHost, "the answer redirects to a forbidden address: %s", fault)
	case req.Method != via[0].Method:
		return engine.Errorf(engine.TargetFailed, "use the redirect's address in the recipe",
			"the answer redirects to another method")
	case len(via) > 5:
		return engine.Errorf(engine.TargetFailed, "correct the recipe's address: its redirects do not end",
			"the answer redirects too often")
	}
	req.Header.Del("Referer") // the address may contain private data
	return nil
}

func busy(status int) bool {
	return turnedAway(status) || status >= 500 && status != nethttp.StatusNotImplemented
}

// turnedAway reports whether the API definitely did not process the call. After a 5xx that is unknown, so a call that
// issues a token is not retried: each attempt might issue another token.
func turnedAway(status int) bool { return status == nethttp.StatusTooManyRequests }

// send makes a call, and retries it up to three times while retry accepts the status and time is left. For a status
// other than 2xx it returns the response and an error, whose cause is LoginRefused if refused contains the status.
func (x *exchange) send(ctx context.Context, what string, call Call, with values, retry func(status int) bool,
	refused ...int) (*httpapi.Answer, error) {
	const tries = 4
	for pause, try := 250*time.Millisecond, 1; ; pause, try = 2*pause, try+1 {
		req, faults := call.request(ctx, with)
		if faults != nil {
			return nil, engine.Errorf(engine.InvalidSecret, adviceFields,
				what+" failed: %s", strings.Join(faults, ", "))
		}
		a, err := httpapi.Send(x.client, req, bodyLimit)
		if err != nil {
			return nil, failed(what, err)
		}
		if a.OK() {
			return a, nil
		}
		if !retry(a.Status) || try == tries || httpapi.Wait(ctx, retryAfter(a.Header, time.Now(), pause)) != nil {
			return a, refusal(what, a, refused)
		}
	}
}

// retryAfter returns the wait that the API asks for, or otherwise if it asks for none.
// Source: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
func retryAfter(h nethttp.Header, now time.Time, otherwise time.Duration) time.Duration {
	s := h.Get("Retry-After")
	// For a number beyond 32 bits, ParseInt returns the maximum, which is longer than any call.
	if n, err := strconv.ParseInt(s, 10, 32); n >= 0 && (err == nil || errors.Is(err, strconv.ErrRange)) {
		return time.Duration(n) * time.Second
	}
	if at, err := nethttp.ParseTime(s); err == nil {
		return max(at.Sub(now), 0)
	}
	return otherwise
}

func failed(what string, err error) error {
	if e, ok := errors.AsType[*engine.Error](err); ok { // from redirect
		return engine.Errorf(e.Cause, e.Advice, "%s: %w", what, e.Err)
	}
	return httpapi.Failed(httpapi.Endpoint(err), err)
}

func refusal(what string, a *httpapi.Answer, refused []int) error {
	switch {
	case slices.Contains(refused, a.Status):
		return engine.Errorf(engine.LoginRefused, "check whether the token was revoked or has expired",
			"%s is refused with status %d", what, a.Status)
	case a.Status == nethttp.StatusUnauthorized || a.Status == nethttp.StatusForbidden:
		return engine.Errorf(engine.PrivilegeMissing, "give the token the right to manage tokens",
			"%s is forbidden with status %d", what, a.Status)
	case turnedAway(a.Status):
		return engine.Errorf(engine.TargetFailed, "wait; Secrets Manager retries",
			"%s: the API reports too many requests (429)", what)
	}
	return engine.Errorf(engine.TargetFailed, "compare the recipe with the API's documentation",
		"%s failed with status %d", what, a.Status)
}
