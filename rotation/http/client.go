package http

import (
	"context"
	"errors"
	"fmt"
	nethttp "net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/httpapi"
)

// bodyLimit bounds what is read of an answer, in bytes.
const bodyLimit = 1 << 20

// errLeads says that an answer leads where the recipe does not, and errMethod that a redirect makes
// another request of a call, which then does nothing.
var (
	errLeads  = errors.New("the answer redirects to where nothing may be sent")
	errMethod = errors.New("the answer redirects to another method")
)

// exchange is the calls of one engine method.
type exchange struct {
	engine *Engine
	client *nethttp.Client
	secret string // its ARN
	login  engine.Value
}

// exchange returns an exchange that goes nowhere but where the recipe allows, also where an answer would lead it.
func (e *Engine) exchange(r *engine.Request, login engine.Value) (*exchange, error) {
	if err := e.form(login); err != nil {
		return nil, err
	}
	transport := httpapi.Transport(e.tls.Config(""))
	transport.Proxy, transport.ForceAttemptHTTP2 = nethttp.ProxyFromEnvironment, true
	return &exchange{e, &nethttp.Client{Transport: transport, CheckRedirect: e.recipe.redirect}, r.Secret, login}, nil
}

func (x *exchange) close() { x.client.CloseIdleConnections() }

// redirect allows redirects within the recipe's hosts.
func (r *Recipe) redirect(req *nethttp.Request, via []*nethttp.Request) error {
	switch fault := r.forbids(req.URL.String()); {
	case fault != "":
		return fmt.Errorf("%w: %s", errLeads, fault)
	case len(via) > 5:
		return fmt.Errorf("%w: too many redirects", errLeads)
	case req.Method != via[0].Method:
		return errMethod
	}
	req.Header.Del("Referer") // the address may hold what is nobody else's business
	return nil
}

// busy reports whether the API says that it is busy, or has failed itself.
func busy(status int) bool {
	return turnedAway(status) || status >= 500 && status != nethttp.StatusNotImplemented
}

// turnedAway reports whether the API has certainly not done what it was asked. After 5xx nobody knows,
// so a call that issues a token is not repeated: each one that arrives issues one.
func turnedAway(status int) bool { return status == nethttp.StatusTooManyRequests }

// send makes a call, and again where retry says so of the status, as long as there is time.
func (x *exchange) send(ctx context.Context, what string, call Call, with values, retry func(status int) bool) (*httpapi.Answer, error) {
	const tries = 4
	for pause, try := 250*time.Millisecond, 1; ; pause, try = 2*pause, try+1 {
		req, faults := call.request(ctx, with)
		if faults != nil {
			return nil, engine.Errorf(engine.InvalidSecret, adviceFields, "%s is not possible: %s", what, strings.Join(faults, ", "))
		}
		a, err := httpapi.Send(x.client, req, bodyLimit)
		if err != nil {
			return nil, failed(what, err)
		}
		if !retry(a.Status) || try == tries || httpapi.Wait(ctx, retryAfter(a.Header, time.Now(), pause)) != nil {
			return a, nil
		}
	}
}

// retryAfter returns how long the API wants to be left alone, or otherwise.
// Source: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
func retryAfter(h nethttp.Header, now time.Time, otherwise time.Duration) time.Duration {
	s := h.Get("Retry-After")
	// A number beyond 32 bits comes as the greatest one, which is too long for any call.
	if n, err := strconv.ParseInt(s, 10, 32); n >= 0 && (err == nil || errors.Is(err, strconv.ErrRange)) {
		return time.Duration(n) * time.Second
	}
	if at, err := nethttp.ParseTime(s); err == nil {
		return max(at.Sub(now), 0)
	}
	return otherwise
}

// failed gives a request without an answer its cause.
func failed(what string, err error) error {
	switch {
	case errors.Is(err, errLeads):
		return engine.Errorf(engine.TargetFailed, "add the host to the recipe's hosts if it may have the token", "%s: %w", what, errors.Unwrap(err))
	case errors.Is(err, errMethod):
		return engine.Errorf(engine.TargetFailed, "put the address that the API redirects to into the recipe", "%s: %w", what, errMethod)
	}
	return httpapi.Failed(httpapi.Endpoint(err), err)
}

// refusal returns the error for an answer that is no success.
func refusal(what string, a *httpapi.Answer, refused ...int) error {
	switch {
	case slices.Contains(refused, a.Status):
		return engine.Errorf(engine.LoginRefused, "see whether the token was revoked or has expired", "%s is refused with the status %d", what, a.Status)
	case a.Status == nethttp.StatusUnauthorized || a.Status == nethttp.StatusForbidden:
		return engine.Errorf(engine.PrivilegeMissing, "give the token the right to manage tokens", "%s is forbidden with the status %d", what, a.Status)
	case turnedAway(a.Status):
		return engine.Errorf(engine.TargetFailed, "wait; Secrets Manager tries again", "%s: the API has had too many requests (429)", what)
	}
	return engine.Errorf(engine.TargetFailed, "compare the recipe with the API's documentation", "%s is answered with the status %d", what, a.Status)
}
