// Package httpapi is the HTTP client that engines share: TLS by the function's policy, bounded responses, and errors
// with causes.
package httpapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/boundconn"
)

// Client calls the API of its target as one user. Close it after each call of an engine's method.
type Client struct {
	Target    engine.Target
	attempts  []*tls.Config
	authorize func(*http.Request)
	client    *http.Client
}

// New returns a client for the target. authorize adds the credential to each request's header; if it is nil, the
// target's user and password are used.
func New(policy engine.TLSPolicy, t engine.Target, authorize func(*http.Request)) *Client {
	if authorize == nil {
		authorize = func(r *http.Request) { r.SetBasicAuth(t.User, t.Password) }
	}
	return &Client{Target: t, attempts: policy.Attempts(t), authorize: authorize}
}

// ParseUser is engine.ParseTarget for a user who logs in with name and password. The name must not contain a colon.
// Source: https://www.rfc-editor.org/rfc/rfc7617#section-2
func ParseUser(v engine.Value, port int, optional ...string) (engine.Target, error) {
	t, err := engine.ParseTarget(v, port, "", optional...)
	if err == nil && strings.Contains(t.User, ":") {
		err = engine.Errorf(engine.InvalidSecret, "use another user",
			"the user name contains a colon, which HTTP logins do not allow")
	}
	return t, err
}

// Close closes the connections.
func (c *Client) Close() {
	if c.client != nil {
		c.client.CloseIdleConnections()
	}
}

// Request is an API call.
type Request struct {
	Method string
	Path   string // escaped, after a slash
	Type   string // the Content-Type of Body
	Body   []byte
}

// Call sends body as JSON, unless it is nil, and decodes a successful response into out, unless that is nil.
func (c *Client) Call(ctx context.Context, what string, r Request, body, out any) (*Answer, error) {
	if body != nil {
		r.Type = "application/json"
		r.Body, _ = json.Marshal(body) // the engines' types can be encoded
	}
	a, err := c.Do(ctx, r)
	if err == nil && a.OK() && out != nil && Decode(a.Body, out) != nil {
		// The error could quote a token or a hash.
		err = engine.Errorf(engine.TargetFailed,
			"check the server's version, and that host and port belong to the HTTP API",
			"%s returned an unexpected answer", what)
	}
	return a, err
}

// Do makes a call. An error means that no response arrived; it shows neither path nor body.
func (c *Client) Do(ctx context.Context, r Request) (*Answer, error) {
	for {
		if c.client == nil {
			c.client = &http.Client{Transport: Transport(c.attempts[0]), CheckRedirect: RefuseRedirect}
		}
		a, err := c.once(ctx, r)
		if err == nil {
			c.attempts = c.attempts[:1]
			return a, nil
		}
		if len(c.attempts) == 1 || !speaksNoTLS(err) {
			return nil, Failed(c.Target, err)
		}
		c.attempts, c.client = c.attempts[1:], nil
	}
}

// RefuseRedirect returns redirects to the caller: following one would send the credential elsewhere.
func RefuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Transport returns a transport with a connection timeout.
func Transport(config *tls.Config) *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSClientConfig:        config,
		MaxResponseHeaderBytes: 1 << 20,
	}
}

// speaksNoTLS reports whether the server answered the handshake in plain text.
func speaksNoTLS(err error) bool {
	_, header := errors.AsType[tls.RecordHeaderError](err)
	return header || errors.Is(err, http.ErrSchemeMismatch)
}

func (c *Client) once(ctx context.Context, r Request) (*Answer, error) {
	scheme := "https://"
	if c.attempts[0] == nil {
		scheme = "http://"
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, scheme+c.Target.Address()+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	if r.Body != nil {
		req.Header.Set("Content-Type", r.Type)
	}
	c.authorize(req)
	return Send(c.client, req, 8<<20)
}

// Failed adds a cause to the error of a call that got no response.
func Failed(t engine.Target, err error) error {
	// The text of a *url.Error includes the whole URL.
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	err = boundconn.Shorten(err)
	if speaksNoTLS(err) {
		return engine.Errorf(engine.TLSFailed, `check the port; a server without TLS needs "ssl": false in the secret`,
			"%s does not speak TLS: %w", t.Address(), err)
	}
	if e := engine.NetworkError(t, err); e != nil {
		return e
	}
	return engine.Errorf(engine.TargetFailed, "see the error's text", "the call to %s failed: %w", t.Address(), err)
}

// Endpoint returns the destination of a request that got no response.
func Endpoint(err error) engine.Target {
	t := engine.Target{Host: "the API", Port: 443}
	if u, ok := errors.AsType[*url.Error](err); ok {
		if at, perr := url.Parse(u.URL); perr == nil {
			t.Host = at.Hostname()
			if port, serr := strconv.Atoi(at.Port()); serr == nil {
				t.Port = port
			}
		}
	}
	return t
}

// Wait waits for d. It fails immediately if ctx would end before or soon after that.
func Wait(ctx context.Context, d time.Duration) error {
	const reserve = 250 * time.Millisecond
	if end, ok := ctx.Deadline(); ok && time.Until(end)-reserve < d { // d may be the largest Duration
		return context.DeadlineExceeded
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
