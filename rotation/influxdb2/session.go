package influxdb2

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/httpapi"
)

// session is the API as a token, or as a user who has signed in.
type session struct {
	login
	api    *httpapi.Client
	cookie string
}

// connect opens a session. It fails where the credential is refused, so no later call is the first to learn it.
func (s server) connect(ctx context.Context, l login) (*session, error) {
	x := &session{login: l}
	x.api = httpapi.New(s.tls, l.Target, x.authorize)
	connect := x.signIn
	if l.token != "" {
		connect = x.tokenWorks
	}
	if err := connect(ctx); err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

func (x *session) signIn(ctx context.Context) error {
	a, err := x.api.Do(ctx, httpapi.Request{Method: http.MethodPost, Path: "/api/v2/signin"})
	if err != nil {
		return err
	}
	var cookies []string
	for _, c := range (&http.Response{Header: a.Header}).Cookies() {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	if !a.OK() || cookies == nil {
		return x.failure("the login", a)
	}
	x.cookie = strings.Join(cookies, "; ")
	return nil
}

// tokenWorks asks who the token's user is, which few tokens may know: the server's answer to the others
// tells whether it knows them. It gives lists of all kinds, which are empty, also to inactive tokens.
func (x *session) tokenWorks(ctx context.Context) error {
	a, err := x.api.Do(ctx, httpapi.Request{Method: http.MethodGet, Path: "/api/v2/me"})
	if err != nil || a.OK() || a.Status == http.StatusUnauthorized && forbidden.MatchString(read(a).Message) {
		return err
	}
	return x.failure("the question who that is", a)
}

// forbidden is what the server says to a token that it knows and that may not read its user.
// Source: InfluxDB 2.7's authorizer/authorize.go
var forbidden = lazyregexp.New(`^read:users/[0-9a-f]+ is unauthorized$`)

func (x *session) authorize(r *http.Request) {
	switch {
	case x.token != "":
		r.Header.Set("Authorization", "Token "+x.token)
	case x.cookie != "":
		r.Header.Set("Cookie", x.cookie)
	default:
		r.SetBasicAuth(x.User, x.Password)
	}
}

// close signs out, even if the call's time is over: the server would keep the session for an hour.
func (x *session) close() {
	if x.cookie != "" {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _ = x.api.Do(ctx, httpapi.Request{Method: http.MethodPost, Path: "/api/v2/signout"}) // it would end by itself
	}
	x.api.Close()
}

// who names the session's owner.
func (x *session) who() string {
	if x.token != "" {
		return "the token"
	}
	return "the user " + x.User
}

// fault is what the API says of a failure.
type fault struct{ Code, Message string }

func read(a *httpapi.Answer) fault {
	var f fault
	_ = httpapi.Decode(a.Body, &f) // an answer of something else has neither
	f.Message = httpapi.Short(f.Message)
	return f
}

// failure gives an answer that is no success its cause. The server answers 401 to a wrong credential, to
// an inactive one, and to one that may not do what it asks for; their texts differ.
// Source: InfluxDB 2.7's http/errors.go and auth.go
func (x *session) failure(what string, a *httpapi.Answer) error {
	f := read(a)
	switch {
	case a.Status == http.StatusUnauthorized && (f.Message == "unauthorized access" || f.Message == "token is inactive"):
		return engine.Errorf(engine.LoginRefused, "check at the server that it exists and is active", "%s of %s is refused: %s", what, x.who(), f.Message)
	case a.Status == http.StatusUnauthorized && f.Code == "unauthorized" || a.Status == http.StatusForbidden:
		return engine.Errorf(engine.PrivilegeMissing, "let an operator do it: name its secret in "+adminField, "%s is forbidden to %s: %q", what, x.who(), f.Message)
	case a.Status == http.StatusNotFound && f.Code == "not found":
		return engine.Errorf(engine.InvalidSecret, "compare the secret's names with those at the server", "%s: %s", what, f.Message)
	}
	return engine.Errorf(engine.TargetFailed, "check that the server is InfluxDB 2 and see its log", "%s is answered with the status %d: %q", what, a.Status, f.Message)
}

// call makes a call of the API and reads the answer into out, if there is one.
func (x *session) call(ctx context.Context, what, method, path string, query url.Values, body, out any) error {
	a, err := x.api.Call(ctx, what, httpapi.Request{Method: method, Path: "/api/v2/" + path, Query: query}, body, out)
	if err != nil || a.OK() || method == http.MethodDelete && a.Status == http.StatusNotFound { // it is gone already
		return err
	}
	return x.failure(what, a)
}
