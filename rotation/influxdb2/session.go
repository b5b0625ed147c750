package influxdb2

import (
	"context"
	"net/http"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/boundconn"
	"example.com/rotator/rotation/internal/httpapi"
)

type session struct {
	login
	api    *httpapi.Client
	cookie string
}

// connect opens a session and checks the credential, so a refusal is found before any other call.
func (s server) connect(ctx context.Context, l login) (*session, error) {
	x := &session{login: l}
	x.api = httpapi.New(s.tls, l.Target, x.authorize)
	connect := x.signIn
	if l.token != "" {
		connect = x.tokenWorks
	}
	if err := connect(ctx); err != nil {
		x.api.Close()
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

// tokenWorks requests the token's user. Few tokens may read it, but the refusal shows whether the server knows the
// token. A list would prove nothing: the server returns empty lists to inactive tokens.
func (x *session) tokenWorks(ctx context.Context) error {
	a, err := x.api.Do(ctx, httpapi.Request{Method: http.MethodGet, Path: "/api/v2/me"})
	if err != nil || a.OK() || a.Status == http.StatusUnauthorized && forbidden().MatchString(read(a).Message) {
		return err
	}
	return x.failure("the identification", a)
}

// forbidden matches the refusal of a known token that may not read its user.
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

type fault struct{ Code, Message string }

func read(a *httpapi.Answer) fault {
	var f fault
	_ = httpapi.Decode(a.Body, &f) // other responses have neither field
	f.Message = boundconn.Short(f.Message)
	return f
}

const adviceServer = "check that the server is InfluxDB 2 and see its log"

// failure turns a response into an error. Status 401 means a wrong or inactive credential, or a missing permission.
// Source: InfluxDB 2.7's http/errors.go and auth.go
func (x *session) failure(what string, a *httpapi.Answer) error {
	f := read(a)
	who := "the user " + x.User
	if x.token != "" {
		who = "the token"
	}
	switch {
	case a.Status == http.StatusUnauthorized && (f.Message == "unauthorized access" ||
		f.Message == "token is inactive"):
		return engine.Errorf(engine.LoginRefused, "check that it exists and is active on the server",
			"%s of %s is refused: %s", what, who, f.Message)
	case a.Status == http.StatusUnauthorized && f.Code == "unauthorized" || a.Status == http.StatusForbidden:
		return engine.Errorf(engine.PrivilegeMissing, "name the secret of an operator in "+adminField,
			"%s is forbidden to %s: %q", what, who, f.Message)
	}
	return engine.Errorf(engine.TargetFailed, adviceServer, "%s failed with status %d: %q", what, a.Status, f.Message)
}

func (x *session) call(ctx context.Context, what, method, path string, body, out any) error {
	a, err := x.api.Call(ctx, what, httpapi.Request{Method: method, Path: "/api/v2/" + path}, body, out)
	if err != nil || a.OK() || method == http.MethodDelete && a.Status == http.StatusNotFound { // already gone
		return err
	}
	return x.failure(what, a)
}
