// Package httpapi calls the HTTP APIs by which some targets manage their users:
// one host, TLS by the function's policy, no redirects, bounded answers, and
// errors with their causes.
package httpapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"example.com/rotator/rotation/engine"
)

// answerLimit bounds what is read of an answer, in bytes.
const answerLimit = 8 << 20

// Client calls one target's API as one user. It is for one call of an engine's
// method: Close ends its connections.
type Client struct {
	target    engine.Target
	attempts  []*tls.Config
	authorize func(*http.Request)
	client    *http.Client
}

// New returns a client for the target. authorize puts the credential into every
// request's header.
func New(policy engine.TLSPolicy, t engine.Target, authorize func(*http.Request)) *Client {
	return &Client{target: t, attempts: policy.Attempts(t), authorize: authorize}
}

// Basic returns what authorizes requests by the target's user and password. The
// user's name must have no colon.
// Source: https://www.rfc-editor.org/rfc/rfc7617#section-2
func Basic(t engine.Target) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(t.User, t.Password) }
}

// Close ends the connections.
func (c *Client) Close() {
	if c.client != nil {
		c.client.CloseIdleConnections()
	}
}

// Request is a call of the API.
type Request struct {
	Method string
	// Path begins with a slash and is escaped already.
	Path string
	// Query is sent in the URL, so that it must hold nothing secret.
	Query url.Values
	// Type is the Content-Type of Body.
	Type string
	Body []byte
	// Header is sent besides.
	Header http.Header
}

// Answer is an answer that has arrived whole, whatever its status.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// OK reports whether the status is one of success.
func (a *Answer) OK() bool { return a.Status >= 200 && a.Status < 300 }

// Do makes a call. An error means that there was no answer; its cause is that of
// engine.NetworkError, else TargetFailed. It shows neither path nor body.
func (c *Client) Do(ctx context.Context, r Request) (*Answer, error) {
	if c.client != nil {
		a, err := c.once(ctx, c.attempts[0], r)
		return a, c.failed(err)
	}
	for {
		config := c.attempts[0]
		c.client = newClient(config)
		a, err := c.once(ctx, config, r)
		if err == nil || len(c.attempts) == 1 || !speaksNoTLS(err) {
			return a, c.failed(err)
		}
		c.attempts = c.attempts[1:]
	}
}

// newClient returns a client of one host. A redirect is an answer like any other:
// following it would take the credential elsewhere.
func newClient(config *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSClientConfig:        config,
			MaxResponseHeaderBytes: 1 << 20,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// speaksNoTLS reports whether the server has answered in plain text to the
// beginning of a handshake.
func speaksNoTLS(err error) bool {
	_, header := errors.AsType[tls.RecordHeaderError](err)
	return header || errors.Is(err, http.ErrSchemeMismatch)
}

func (c *Client) once(ctx context.Context, config *tls.Config, r Request) (*Answer, error) {
	scheme := "https://"
	if config == nil {
		scheme = "http://"
	}
	address := scheme + c.target.Address() + r.Path
	if r.Query != nil {
		address += "?" + r.Query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, address, bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	for name, values := range r.Header {
		req.Header[name] = values
	}
	if r.Body != nil {
		req.Header.Set("Content-Type", r.Type)
	}
	c.authorize(req)
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	if err == nil && len(body) > answerLimit {
		err = fmt.Errorf("the answer has more than %d bytes", answerLimit)
	}
	return &Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}, err
}

// failed classifies the failure of a call that got no answer.
func (c *Client) failed(err error) error {
	if err == nil {
		return nil
	}
	// Its text would have the whole URL.
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	err = Shorten(err)
	if speaksNoTLS(err) {
		return engine.Errorf(engine.TLSFailed, `check the port; a server without TLS is only spoken to where the secret says "ssl": false`,
			"%s does not speak TLS: %w", c.target.Address(), err)
	}
	if e := engine.NetworkError(c.target, err); e != nil {
		return e
	}
	return engine.Errorf(engine.TargetFailed, "see the error's text", "the call of %s failed: %w", c.target.Address(), err)
}
