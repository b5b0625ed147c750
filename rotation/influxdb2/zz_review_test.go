//go:build repro

package influxdb2

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/internal/testing/zzworld"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

func (f *fixture) mine(secret string) (n int) {
	for _, a := range f.authorizations() {
		if a.is(secret) {
			n++
		}
	}
	return n
}

// T1: the list of tokens has no pages?
func TestZZManyTokens(t *testing.T) {
	f := newFixture(t)
	_, id := f.user()
	defer f.drop(id)
	b := f.bucket()
	for i := range 130 {
		f.token(id, fmt.Sprint("filler ", i), f.readAndWrite(b))
	}
	n := len(f.authorizations())
	t.Logf("shown: %d", n)
	if n < 130 {
		t.Error("PROVED: a list ends early")
	}
}

// T2: 8 MiB of tokens: how many tokens make a rotation impossible?
func TestZZListThatIsTooLong(t *testing.T) {
	f := newFixture(t)
	_, id := f.user()
	defer f.drop(id)
	b := f.bucket()
	f.token(id, "x", f.readAndWrite(b))
	_, raw, err := f.Call(t.Context(), f.Token, http.MethodGet, "/api/v2/authorizations", nil)
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Authorizations []json.RawMessage }
	_ = json.Unmarshal(raw, &list)
	for _, a := range list.Authorizations {
		t.Logf("one token takes %d bytes: 8 MiB are %d tokens", len(a), (8<<20)/len(a))
	}
}

// T3: RECOVER_BY_SUPERUSER and an owner of the organisation.
func TestZZRecoverResetsAnOwner(t *testing.T) {
	f := newFixture(t)
	name, id := f.user()
	defer f.drop(id)
	f.must(http.MethodPost, "orgs/"+f.org+"/owners", map[string]string{"id": id}, nil)
	w := zzworld.New(t, f.users, f.tokens)
	w.Env["RECOVER_BY_SUPERUSER"] = "true"
	super := w.Secret("super", string(f.userValue(f.User, f.Password).Reveal()))
	arn := w.Secret("app", string(f.userValue(name, "Not-Known-At-All-1").With("adminSecretArn", super).Reveal()))
	err := w.Rotate(arn)
	now := f.opens(t.Context(), engine.StringValue(w.Get(arn, "AWSCURRENT")))
	t.Logf("rotate: %v; the new password opens: %v", err, now == nil)
	if err == nil && now == nil {
		t.Error("PROVED: an owner of the organisation is reset on its name alone")
	}
}

// T4: the server makes a token whose permissions read otherwise: a token for each try.
func TestZZEveryTryMakesAToken(t *testing.T) {
	f := newFixture(t)
	_, id := f.user()
	defer f.drop(id)
	b := f.bucket()
	first := f.token(id, "app", append(f.readAndWrite(b), f.authorizer(id)...))
	back, _ := url.Parse("https://" + f.Addr())
	front := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r2 := r.Clone(r.Context())
		r2.RequestURI, r2.URL.Scheme, r2.URL.Host = "", back.Scheme, back.Host
		resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}).Do(r2)
		if err != nil {
			w.WriteHeader(502)
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		if r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/authorizations") {
			// as a server that orders or widens what it was given (an "orgID" that is put in)
			body = bytes.Replace(body, []byte(`"write"`), []byte(`"write "`), 1)
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = w.Write(body)
	}))
	defer front.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})
	e := NewTokens(engine.TLSPolicy{ExtraCAs: ca}, nil)
	w := zzworld.New(t, e)
	u, _ := url.Parse(front.URL)
	port := u.Port()
	arn := w.Secret("app", fmt.Sprintf(`{"engine":"influxdb2","host":"127.0.0.1","port":%s,"token":%q}`, port, first))
	token := w.Begin(arn)
	var err error
	for range 6 {
		err = w.Step(arn, token, rotation.CreateSecret)
	}
	t.Logf("after 6 tries: %d tokens: %v", f.mine(arn), err)
	if f.mine(arn) > 2 {
		t.Error("PROVED")
	}
}

// T5: a rotation that dies after each issue (time-out, memory), or whose PutSecretValue
// is denied and the revocation fails.
func TestZZTokenOfACancelledRotationIsReportedNowhere(t *testing.T) {
	f := newFixture(t)
	_, id := f.user()
	defer f.drop(id)
	first := f.token(id, "app", append(f.readAndWrite(f.bucket()), f.authorizer(id)...))
	w := zzworld.New(t, f.users, f.tokens)
	arn := w.Secret("app", string(f.tokenValue(first).Reveal()))
	token := w.Begin(arn)
	if err := w.Step(arn, token, rotation.CreateSecret); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d tokens; check %+v", f.mine(arn), operator.Check(t.Context(), w.Rotator(), arn))
}

// T6: an answer with a message of 7 MiB.
func TestZZLongMessage(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		_, _ = fmt.Fprintf(w, `{"code":"x","message":%q}`, strings.Repeat("a b ", 7<<18))
	}))
	defer s.Close()
	w := zzworld.New(t, NewUsers(engine.TLSPolicy{}, nil))
	u, _ := url.Parse(s.URL)
	arn := w.Secret("app", fmt.Sprintf(`{"engine":"influxdb2","host":"127.0.0.1","port":%s,"ssl":false,"username":"u","password":"First-Passw0rd-1"}`, u.Port()))
	begin := time.Now()
	err := w.Step(arn, w.Begin(arn), rotation.CreateSecret)
	t.Logf("an error of %d bytes after %s, a log of %d", len(fmt.Sprint(err)), time.Since(begin), w.Log.Len())
	if len(fmt.Sprint(err)) > 1<<20 {
		t.Error("PROVED: beyond what CloudWatch (1 MB a line) and Lambda (6 MB an answer) take")
	}
}

var _ = testserver.Unique
