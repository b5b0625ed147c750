package influxdb2

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

const secretARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:influx-AbCdEf"

// fixture is a server with a fake of Timestream's API.
type fixture struct {
	*influxServer
	t          testing.TB
	timestream *fakeTimestream
	api        string // the fake's URL
	users      *Users
	tokens     *Tokens
	org        string // the id of the administrator's organization, whose name is "first"
}

type account struct{ ID, Name string }

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{influxServer: sharedServer(t, struct{}{}), t: t,
		timestream: newFake()}
	service := httptest.NewServer(f.timestream.Handler())
	t.Cleanup(service.Close)
	f.api = service.URL
	settings := func(context.Context, string) (aws.Config, error) {
		return aws.Config{Region: "us-east-1", BaseEndpoint: &f.api,
			Credentials: credentials.StaticCredentialsProvider{Value: f.timestream.Credentials()}}, nil
	}
	policy := engine.TLSPolicy{ExtraCAs: f.CA.PEM}
	f.users, f.tokens = NewUsers(policy, settings), NewTokens(policy, settings)
	var orgs struct{ Orgs []account }
	f.must(http.MethodGet, "orgs?org=first", nil, &orgs)
	f.org = orgs.Orgs[0].ID
	return f
}

// must makes a call as the administrator.
func (f *fixture) must(method, path string, body, out any) {
	f.t.Helper()
	if err := f.do(context.Background(), f.Token, method, path, body, out); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) do(ctx context.Context, token, method, path string, body, out any) error {
	status, answer, err := f.Call(ctx, token, method, "/api/v2/"+path, body)
	if err != nil {
		return err
	}
	if status >= 300 {
		return fmt.Errorf("%s %s: status %d: %s", method, path, status, answer)
	}
	if out != nil {
		return json.Unmarshal(answer, out)
	}
	return nil
}

const first = "First-Passw0rd-of-"

// user creates a user with a password, and returns its name and id.
func (f *fixture) user() (name, id string) {
	f.t.Helper()
	name = testserver.Unique("app-")
	var u account
	f.must(http.MethodPost, "users", map[string]string{"name": name}, &u)
	f.must(http.MethodPost, "users/"+u.ID+"/password", map[string]string{"password": first + name}, nil)
	return name, u.ID
}

// drop deletes a user and its tokens, unless the id is "".
func (f *fixture) drop(id string) {
	if id == "" {
		return
	}
	for _, a := range f.authorizations() {
		if a.UserID == id {
			f.must(http.MethodDelete, "authorizations/"+a.ID, nil, nil)
		}
	}
	f.must(http.MethodDelete, "users/"+id, nil, nil)
}

// instance creates an instance of Timestream that is a server, and returns its name.
func (f *fixture) instance(host string, port int) string {
	name := testserver.Unique("instance")
	f.timestream.Put(name, fakeInstance{Endpoint: host, Port: port})
	return name
}

// bucket creates a bucket and returns its id.
func (f *fixture) bucket() string {
	f.t.Helper()
	var b account
	f.must(http.MethodPost, "buckets", map[string]any{"name": testserver.Unique("bucket-"), "orgID": f.org,
		"retentionRules": []string{}}, &b)
	return b.ID
}

// permission is one right of a token, without the names of resources that the server adds to its responses.
type permission struct {
	Action   string   `json:"action"`
	Resource resource `json:"resource"`
}

type resource struct {
	Type  string `json:"type"`
	ID    string `json:"id,omitempty"`
	OrgID string `json:"orgID,omitempty"`
}

// rights returns a token's permissions.
func rights(t testing.TB, a authorization) (list []permission) {
	t.Helper()
	if err := json.Unmarshal(a.Permissions, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// readAndWrite returns the permissions to read and write a bucket.
func (f *fixture) readAndWrite(bucket string) []permission {
	r := resource{Type: "buckets", ID: bucket, OrgID: f.org}
	return []permission{{"read", r}, {"write", r}}
}

// authorizer returns the permissions that a user's token needs to create its successor.
func (f *fixture) authorizer(user string) []permission {
	tokens, self := resource{Type: "authorizations", OrgID: f.org}, resource{Type: "users", ID: user}
	return []permission{{"read", tokens}, {"write", tokens}, {"read", self}, {"write", self}}
}

// token creates a token for a user.
func (f *fixture) token(user, description string, permissions []permission) string {
	f.t.Helper()
	var a authorization
	f.must(http.MethodPost, "authorizations", map[string]any{"status": "active", "description": description,
		"orgID": f.org, "userID": user, "permissions": permissions}, &a)
	return a.Token
}

func (f *fixture) authorizations() []authorization {
	f.t.Helper()
	var list struct{ Authorizations []authorization }
	f.must(http.MethodGet, "authorizations", nil, &list)
	return list.Authorizations
}

// authorization returns a token's authorization.
func (f *fixture) authorization(token string) (authorization, bool) {
	f.t.Helper()
	all := f.authorizations()
	i := slices.IndexFunc(all, func(a authorization) bool { return a.Token == token })
	if i < 0 {
		return authorization{}, false
	}
	return all[i], true
}

// at returns a value that names the server by host.
func at(host string, port int) engine.Value {
	return engine.StringValue(fmt.Sprintf(`{"engine":"influxdb2","host":%q,"port":%d}`, host, port))
}

func (f *fixture) userValue(name, password string) engine.Value {
	return at(f.Host, f.Port).With("username", name).With("password", password)
}

func (f *fixture) tokenValue(token string) engine.Value {
	return at(f.Host, f.Port).With("token", token)
}

// opens checks a value at the server with an independent client.
func (f *fixture) opens(ctx context.Context, v engine.Value) error {
	if token, ok := v.Text("token"); ok {
		status, body, err := f.Call(ctx, token, http.MethodGet, "/api/v2/orgs", nil)
		return refusal(status, body, err)
	}
	name, _ := v.Text("username")
	password, _ := v.Text("password")
	status, err := f.SignIn(ctx, name, password)
	return refusal(status, nil, err)
}

func refusal(status int, body []byte, err error) error {
	switch {
	case err != nil:
		return err
	case status == http.StatusUnauthorized:
		return engine.LoginRefused
	case status >= 300:
		return fmt.Errorf("status %d: %s", status, body)
	}
	return nil
}

// request returns a request to rotate a secret with its own login.
func request(current, pending engine.Value) *engine.Request {
	return &engine.Request{Secret: secretARN, Version: "11111111-2222-4333-8444-555555555555",
		Strategy: engine.SingleUser, Current: current, Pending: pending, Login: current}
}
