package rabbitmq

import (
	"context"
	"net/http"
	"net/url"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/boundconn"
	"example.com/rotator/rotation/internal/httpapi"
)

type session struct{ *httpapi.Client }

func (e *Engine) open(v engine.Value) (*session, error) {
	t, err := parse(v)
	return &session{httpapi.New(e.tls, t, nil)}, err
}

func path(segments ...string) string {
	out := "/api"
	for _, s := range segments {
		out += "/" + url.PathEscape(s)
	}
	return out
}

// login asks the server who is logged in. A valid password also gets 401 if its user has no tag for the management
// API; only the reason differs.
// Source: https://github.com/rabbitmq/rabbitmq-server (rabbit_web_dispatch_access_control.erl)
func (s *session) login(ctx context.Context) error {
	a, err := s.call(ctx, "the login", http.MethodGet, path("whoami"), nil, nil)
	if a != nil && a.Status == http.StatusUnauthorized && reason(a) == "Not management user" {
		return nil
	}
	return err
}

func reason(a *httpapi.Answer) string {
	var body struct {
		Reason string `json:"reason"`
	}
	_ = httpapi.Decode(a.Body, &body) // other answers have no reason
	return boundconn.Short(body.Reason)
}

func (s *session) refusal(what string, a *httpapi.Answer) error {
	why := reason(a)
	switch {
	// before and since version 4
	case a.Status == http.StatusUnauthorized && (why == "Login failed" || why == "Not_Authorized"):
		return engine.Errorf(engine.LoginRefused, "check name and password", "%s of %q is refused", what, s.Target.User)
	case a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden:
		return engine.Errorf(engine.PrivilegeMissing, "name a superuser in masterarn, or set the tag administrator",
			"%s is forbidden to %q: %q", what, s.Target.User, why)
	case a.Status == http.StatusNotFound:
		return engine.Errorf(engine.TargetFailed, "check that the management plugin serves this port",
			"%s: the server does not know the path: %q", what, why)
	}
	return engine.Errorf(engine.TargetFailed, "see the server's log", "%s failed with status %d: %q", what, a.Status, why)
}

// get decodes the resource at a path into out. It returns false if there is no such resource.
func (s *session) get(ctx context.Context, what, path string, out any) (bool, error) {
	a, err := s.call(ctx, what, http.MethodGet, path, nil, out)
	if a != nil && a.Status == http.StatusNotFound && reason(a) == "Not Found" {
		return false, nil
	}
	return err == nil, err
}

// call calls the API. For an answer other than 2xx, it returns both the answer and an error.
func (s *session) call(ctx context.Context, what, method, path string, body, out any) (*httpapi.Answer, error) {
	a, err := s.Call(ctx, what, httpapi.Request{Method: method, Path: path}, body, out)
	if err == nil && !a.OK() {
		err = s.refusal(what, a)
	}
	return a, err
}

// find returns a user, or nil. Every change begins with it, so a login is refused before anything changes.
func (s *session) find(ctx context.Context, name string) (*user, error) {
	u := new(user)
	found, err := s.get(ctx, "reading a user", path("users", name), u)
	if err != nil || !found {
		return nil, err
	}
	if u.Name != name {
		return nil, engine.Errorf(engine.TargetFailed, "check that the port is the management API's",
			"the answer for the user %q names another user", name)
	}
	return u, nil
}

// existing returns a user that must exist: PUT would create one for a mistyped name.
func (s *session) existing(ctx context.Context, name string) (*user, error) {
	u, err := s.find(ctx, name)
	if err == nil && u == nil {
		err = engine.Errorf(engine.InvalidSecret, "correct the secret's user name", "there is no user %q", name)
	}
	return u, err
}

// put changes or creates a user. What is not sent, such as tags, is removed.
func (s *session) put(ctx context.Context, u *user) error {
	body := *u
	body.Name = "" // it is in the path
	_, err := s.call(ctx, "changing a user", http.MethodPut, path("users", u.Name), &body, nil)
	return err
}
