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
const bodyLimit = 4 << 20

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
			return nil
		},
	}
}

// errLeads says that an answer leads where the recipe does not.
var errLeads = errors.New("the answer redirects to where nothing may be sent")

// exchange is the calls of one engine method.
type exchange struct {
	engine *Engine
	client *nethttp.Client
}

func (e *Engine) exchange() *exchange { return &exchange{e, e.client()} }

func (x *exchange) close() { x.client.CloseIdleConnections() }

// send makes a call and makes it again where the API says that it is busy (429)
// or has failed itself (5xx), as long as there is time. make returns the request
// anew for every try.
// Source: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3 (Retry-After)
func (x *exchange) send(ctx context.Context, what string, call Call, look lookup) (*answer, error) {
	return x.repeat(ctx, what, func() (*nethttp.Request, error) {
		req, err := call.request(ctx, x.engine.recipe.Headers, look)
		if err != nil {
			return nil, engine.Errorf(engine.InvalidSecret, "give the secret the fields that the recipe "+x.engine.name+" needs", "%s is not possible: %w", what, err)
		}
		return req, nil
	})
}

func (x *exchange) repeat(ctx context.Context, what string, make func() (*nethttp.Request, error)) (*answer, error) {
	const tries, reserve = 4, 200 * time.Millisecond
	for pause, try := 250*time.Millisecond, 1; ; pause, try = 2*pause, try+1 {
		req, err := make()
		if err != nil {
			return nil, err
		}
		a, err := x.once(req)
		if err != nil {
			return nil, x.failed(what, req, err)
		}
		if a.status != nethttp.StatusTooManyRequests && a.status < 500 || a.status == nethttp.StatusNotImplemented || try == tries {
			return a, nil
		}
		wait := retryAfter(a.header, time.Now(), pause)
		if end, ok := ctx.Deadline(); ok && time.Until(end)-reserve < wait { // wait may be all that a Duration holds
			return a, nil // it would come too late
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, x.failed(what, req, ctx.Err())
		case <-t.C:
		}
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
	if errors.Is(err, errLeads) {
		return engine.Errorf(engine.TargetFailed, "add the host to the recipe's hosts if it may have the token", "%s: %w", what, err)
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
