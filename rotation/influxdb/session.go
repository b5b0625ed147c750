package influxdb

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/boundconn"
	"example.com/rotator/rotation/internal/httpapi"
)

type session struct{ *httpapi.Client }

func (e *Engine) open(v engine.Value) (*session, error) {
	t, err := parse(v)
	return &session{httpapi.New(e.tls, t, nil)}, err
}

// answer is the response of /query. A failed statement is reported with status 200.
// Source: https://docs.influxdata.com/influxdb/v1/tools/api/#query-http-endpoint
type answer struct {
	Error   string `json:"error"`
	Results []struct {
		Error  string `json:"error"`
		Series []struct {
			Values [][]any `json:"values"`
		} `json:"series"`
	} `json:"results"`
}

func (a *answer) fault() string {
	fault := a.Error
	for _, r := range a.Results {
		fault = cmp.Or(fault, r.Error)
	}
	return boundconn.Short(fault)
}

// ask sends a statement in the body, because the server logs URLs.
func (s *session) ask(ctx context.Context, statement string) (*httpapi.Answer, *answer, error) {
	a, err := s.Do(ctx, httpapi.Request{Method: http.MethodPost, Path: "/query",
		Type: "application/x-www-form-urlencoded", Body: []byte(url.Values{"q": {statement}}.Encode())})
	if err != nil {
		return nil, nil, err
	}
	var body answer
	if httpapi.Decode(a.Body, &body) != nil {
		return a, nil, engine.Errorf(engine.TargetFailed, "check that the port is the HTTP API's",
			"the response to a statement has status %d and an unexpected format", a.Status)
	}
	return a, &body, nil
}

// query runs a statement and returns the rows of its result.
func (s *session) query(ctx context.Context, what, statement string) ([][]any, error) {
	a, body, err := s.ask(ctx, statement)
	if err != nil {
		return nil, err
	}
	fault := body.fault()
	switch {
	case a.Status == http.StatusUnauthorized && fault == "authorization failed":
		return nil, engine.Errorf(engine.LoginRefused,
			"check the user's name and password", "%s of %q is refused", what, s.Target.User)
	case a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden ||
		strings.Contains(fault, "requires admin privilege"):
		return nil, engine.Errorf(engine.PrivilegeMissing, "name the secret of a user with all privileges in masterarn",
			"%s is forbidden to %q: %q", what, s.Target.User, fault)
	case !a.OK() || fault != "" || len(body.Results) != 1:
		return nil, engine.Errorf(engine.TargetFailed, "see the server's log", "%s failed (%d): %q", what, a.Status, fault)
	}
	var rows [][]any
	for _, series := range body.Results[0].Series {
		rows = append(rows, series.Values...)
	}
	return rows, nil
}

func (e *Engine) checked(ctx context.Context, t engine.Target) error {
	nobody := &session{httpapi.New(e.tls, t, func(*http.Request) {})}
	defer nobody.Close()
	a, body, err := nobody.ask(ctx, "SHOW DATABASES")
	if err != nil {
		return err
	}
	if a.Status == http.StatusUnauthorized {
		return nil
	}
	return engine.Errorf(engine.TargetFailed, "set auth-enabled in the section [http] of its configuration",
		"the server accepts any password: it answers %d to a request with no credentials: %q", a.Status, body.fault())
}

// users returns all users, true for those with all privileges. It comes first, so a login is refused before any change.
func (s *session) users(ctx context.Context) (map[string]bool, error) {
	rows, err := s.query(ctx, "reading the users", "SHOW USERS")
	all := map[string]bool{}
	for _, row := range rows {
		if len(row) == 2 {
			all[fmt.Sprint(row[0])] = row[1] != false
		}
	}
	return all, err
}

func (s *session) setPassword(ctx context.Context, user, password string) error {
	_, err := s.query(ctx, "changing a password", "SET PASSWORD FOR "+identifier(user)+" = "+literal(password))
	return err
}

// identifier quotes a name for InfluxQL; literal quotes a string.
// Source: https://docs.influxdata.com/influxdb/v1/query_language/spec/#identifiers,
// influxql's scanner: the only escapes are \n, \\ and the quote itself.
func identifier(s string) string { return quoted(s, `"`) }

func literal(s string) string { return quoted(s, `'`) }

func quoted(s, quote string) string {
	return quote + strings.NewReplacer(`\`, `\\`, "\n", `\n`, quote, `\`+quote).Replace(s) + quote
}
