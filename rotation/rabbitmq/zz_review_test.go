//go:build repro

package rabbitmq

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/internal/testing/zzworld"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// front is a proxy before the server; fail answers 503 in its stead.
func (f *fixture) front(fail func(r *http.Request) bool) (*httptest.Server, *Engine) {
	back, _ := url.Parse(f.URL())
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fail(r) {
			w.WriteHeader(503)
			return
		}
		r2 := r.Clone(r.Context())
		r2.RequestURI, r2.URL.Scheme, r2.URL.Host, r2.Host = "", back.Scheme, back.Host, ""
		resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}).Do(r2)
		if err != nil {
			w.WriteHeader(502)
			return
		}
		defer resp.Body.Close()
		for k, v := range resp.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	f.t.Cleanup(s.Close)
	return s, New(engine.TLSPolicy{ExtraCAs: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})})
}

// R1: a change of topic permissions that is cut off leaves a user whose password still
// works without any: RabbitMQ then lets it write every topic.
func TestZZTopicPermissionsAreGoneInBetween(t *testing.T) {
	f := newFixture(t)
	app := f.user("")
	clone := app + "_clone"
	f.must("PUT", path("permissions", "/", app), permission{"", ".*", ".*"})
	f.must("PUT", path("topic-permissions", "/", app), topic{"amq.topic", "^public", ".*"})
	if err := f.engine.Set(enginetest.Within(t), f.toOther(app, clone)); err != nil {
		t.Fatal(err)
	}
	// The administrator narrows the rights of the current user a little.
	f.must("PUT", path("topic-permissions", "/", app), topic{"amq.topic", "^public\\.a", ".*"})
	cut := false
	s, e := f.front(func(r *http.Request) bool {
		if r.Method == "PUT" && strings.Contains(r.URL.Path, "topic-permissions") {
			cut = true
			return true
		}
		return false
	})
	u, _ := url.Parse(s.URL)
	r := f.toOther(app, clone)
	r.Login = r.Login.WithJSON("managementPort", []byte(u.Port())).With("host", "127.0.0.1")
	err := e.Set(enginetest.Within(t), r)
	var topics []any
	if cerr := f.call(t.Context(), "GET", path("users", clone, "topic-permissions"), nil, &topics); cerr != nil {
		t.Fatal(cerr)
	}
	ok, _ := f.amqp(clone, "next-"+clone)
	t.Logf("cut: %v, %v; the clone logs in: %v; its topic permissions: %v", cut, err, ok, topics)
	if ok && len(topics) == 0 {
		t.Error("PROVED: the clone may write every topic until the step is repeated")
	}
}

// R2: a tag with a comma.
func TestZZTagWithAComma(t *testing.T) {
	f := newFixture(t)
	name := testserver.Unique("app-")
	err := f.call(t.Context(), "PUT", "/api/users/"+name, map[string]any{"password": "first-" + name, "tags": []string{"audited,administrator"}}, nil)
	t.Logf("%v tags %q", err, f.show(name).Tags)
	if err := f.engine.Set(enginetest.Within(t), f.bySuperuser(name, "first-"+name, "second")); err != nil {
		t.Logf("set: %v", err)
	}
	t.Logf("tags %q", f.show(name).Tags)
}

// R3: what the broker logs.
func TestZZLogs(t *testing.T) {
	f := newFixture(t)
	w := zzworld.New(t, f.engine)
	name := f.user("management")
	super := w.Secret("super", string(f.value(f.User, f.Password).Reveal()))
	arn := w.Secret("app", string(f.value(name, "first-"+name).With("masterarn", super).Reveal()))
	for range 3 {
		if err := w.Rotate(arn); err != nil {
			t.Fatal(err)
		}
	}
	logs, err := f.Logs()
	v := engine.StringValue(w.Get(arn, "AWSCURRENT"))
	p, _ := v.Text("password")
	u, _ := v.Text("username")
	t.Logf("%v user %s password in log %v, hash in log %v; tags %q", err, u, strings.Contains(logs, p), strings.Contains(logs, f.show(u).Hash), f.show(u).Tags)
	t.Log(w.Log.String())
}

// R4: a stranger with the tags policymaker and monitoring, owner of all rights on a
// virtual host, does what it can to either user.
func TestZZStranger(t *testing.T) {
	f := newFixture(t)
	app, stranger := f.user(""), f.user("monitoring,policymaker")
	f.must("PUT", path("permissions", "/", stranger), permission{".*", ".*", ".*"})
	f.must("PUT", path("permissions", "/", app), permission{".*", ".*", ".*"})
	for _, c := range [][3]string{{"PUT", "/api/users/" + app + "_clone", `{"password":"x","tags":""}`}, {"PUT", path("permissions", "/", app), `{"configure":"","write":"","read":""}`},
		{"PUT", path("user-limits", app, "max-connections"), `{"value":0}`}, {"PUT", path("vhost-limits", "/", "max-connections"), `{"value":0}`},
		{"PUT", path("operator-policies", "/", "x"), `{"pattern":".*","definition":{"max-length":1}}`}, {"GET", "/api/definitions", ""}, {"GET", "/api/users/" + app, ""}} {
		status, body, err := f.request(t.Context(), stranger, "first-"+stranger, c[0], c[1], []byte(c[2]))
		t.Logf("%s %s: %d %.80s %v", c[0], c[1], status, body, err)
	}
}

// R5: tags that an administrator changes between the reading and the change are put back.
func TestZZTagsAreReadAndWrittenBack(t *testing.T) {
	f := newFixture(t)
	name := f.user("management,policymaker")
	s, e := f.front(func(r *http.Request) bool {
		if r.Method == "PUT" {
			// The administrator takes the tag away in this moment.
			f.must("PUT", "/api/users/"+name, map[string]any{"password": "first-" + name, "tags": ""})
		}
		return false
	})
	u, _ := url.Parse(s.URL)
	r := f.bySuperuser(name, "first-"+name, "second")
	r.Login = r.Login.WithJSON("managementPort", []byte(u.Port())).With("host", "127.0.0.1")
	err := e.Set(enginetest.Within(t), r)
	t.Logf("%v; tags %q", err, f.show(name).Tags)
	if len(f.show(name).Tags) > 0 {
		t.Error("PROVED: lost update of tags")
	}
}
