package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/url"
	"strconv"
	"time"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/httpapi"
)

// answer is an answer that has arrived whole.
type answer struct {
	status int
	header nethttp.Header
	body   []byte
	from   *url.URL
}

// ok reports whether the status is one of success.
func (a *answer) ok() bool { return a.status >= 200 && a.status < 300 }

// bodyLimit bounds what is read of an answer, in bytes.
const bodyLimit = 1 << 20

// client returns a client that goes nowhere but where the recipe allows, also
// where an answer would lead it.
func (e *Engine) client() *nethttp.Client {
	tls := e.tls.Config("")
	return &nethttp.Client{
		Transport: &nethttp.Transport{
			Proxy:                  nethttp.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSClientConfig:        tls,
			ForceAttemptHTTP2:      true,
			MaxResponseHeaderBytes: 1 << 20,
		},
		CheckRedirect: func(req *nethttp.Request, via []*nethttp.Request) error {
			if fault := e.recipe.forbids(req.URL.String()); fault != "" {
				return fmt.Errorf("%w: %s", errLeads, fault)
			}
			if len(via) > 5 {
				return fmt.Errorf("%w: too many redirects", errLeads)
			}
			if req.Method != via[0].Method {
				return errMethod
			}
			req.Header.Del("Referer") // the address may hold what is nobody else's business
			return nil
		},
	}
}

// errLeads says that an answer leads where the recipe does not.
var errLeads = errors.New("the answer redirects to where nothing may be sent")

// errMethod says that a redirect makes another request of a call, which then does nothing.
var errMethod = errors.New("the answer redirects to another method")

// exchange is the calls of one engine method.
type exchange struct {
	engine *Engine
	client *nethttp.Client
	secret string // its ARN
	login  engine.Value
}

func (e *Engine) exchange(secret string, login engine.Value) *exchange {
	return &exchange{e, e.client(), secret, login}
}

func (x *exchange) close() { x.client.CloseIdleConnections() }

// busy reports whether the API says that it is busy, or has failed itself.
func busy(status int) bool {
	return turnedAway(status) || status >= 500 && status != nethttp.StatusNotImplemented
}

// turnedAway reports whether the API has certainly not done what it was asked. After 5xx nobody knows,
// so a call that issues a token is not repeated: each one that arrives issues one.
func turnedAway(status int) bool { return status == nethttp.StatusTooManyRequests }

// send makes a call, and again where retry says so of the status, as long as there is time.
// Source: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3 (Retry-After)
func (x *exchange) send(ctx context.Context, what string, call Call, look lookup, retry func(status int) bool) (*answer, error) {
	const tries, reserve = 4, 200 * time.Millisecond
	for pause, try := 250*time.Millisecond, 1; ; pause, try = 2*pause, try+1 {
		req, err := call.request(ctx, x.engine.recipe.Headers, look)
		if err != nil {
			return nil, engine.Errorf(engine.InvalidSecret, "give the secret the fields that the recipe "+x.engine.name+" needs", "%s is not possible: %w", what, err)
		}
		a, err := x.once(req)
		if err != nil {
			return nil, x.failed(what, req, err)
		}
		if !retry(a.status) || try == tries {
			return a, nil
		}
		after := retryAfter(a.header, time.Now(), pause)
		if end, ok := ctx.Deadline(); ok && time.Until(end)-reserve < after { // after may be all that a Duration holds
			return a, nil // it would come too late
		}
		if err := wait(ctx, after); err != nil {
			return nil, x.failed(what, req, err)
		}
	}
}

// wait waits, or until ctx is done.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// once makes a request and reads the answer.
func (x *exchange) once(req *nethttp.Request) (*answer, error) {
	resp, err := x.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit+1))
	if err == nil && len(body) > bodyLimit {
		err = errors.New("the answer is too long")
	}
	return &answer{status: resp.StatusCode, header: resp.Header, body: body, from: resp.Request.URL}, err
}

// retryAfter returns how long the API wants to be left alone, or otherwise.
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

// failed classifies the failure of a request that got no answer. The text has no
// URL, whose query may hold a secret.
func (x *exchange) failed(what string, req *nethttp.Request, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	err = httpapi.Shorten(err)
	if errors.Is(err, errLeads) {
		return engine.Errorf(engine.TargetFailed, "add the host to the recipe's hosts if it may have the token", "%s: %w", what, err)
	}
	if errors.Is(err, errMethod) {
		return engine.Errorf(engine.TargetFailed, "put the address that the API redirects to into the recipe", "%s: %w", what, err)
	}
	t := engine.Target{Host: req.URL.Hostname(), Port: 443}
	if port, perr := strconv.Atoi(req.URL.Port()); perr == nil {
		t.Port = port
	}
	if e := engine.NetworkError(t, err); e != nil {
		return e
	}
	return engine.Errorf(engine.TargetFailed, "see the error's text", "%s: %w", what, err)
}

// refusal returns the error for an answer that is no success.
func refusal(what string, a *answer, refused ...int) error {
	for _, status := range refused {
		if a.status == status {
			return engine.Errorf(engine.LoginRefused, "see whether the token was revoked or has expired", "%s is refused with the status %d", what, a.status)
		}
	}
	switch {
	case a.status == nethttp.StatusUnauthorized || a.status == nethttp.StatusForbidden:
		return engine.Errorf(engine.PrivilegeMissing, "give the token the right to manage tokens", "%s is forbidden with the status %d", what, a.status)
	case a.status == nethttp.StatusTooManyRequests:
		return engine.Errorf(engine.TargetFailed, "wait; Secrets Manager tries again", "%s: the API has had too many requests (429)", what)
	}
	return engine.Errorf(engine.TargetFailed, "compare the recipe with the API's documentation", "%s is answered with the status %d", what, a.status)
}
