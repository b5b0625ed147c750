package ctl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/sim"
)

func (w *account) cancel(arn string) {
	w.Helper()
	in := &secretsmanager.CancelRotateSecretInput{SecretId: &arn}
	if _, err := w.client.CancelRotateSecret(w.Context(), in); err != nil {
		w.Fatal(err)
	}
}

func (w *account) begin(arn string) {
	w.Helper()
	in := &secretsmanager.RotateSecretInput{SecretId: &arn}
	if _, err := w.client.RotateSecret(w.Context(), in); err != nil {
		w.Fatal(err)
	}
	_ = w.sim.WaitRotation(context.Background(), arn) // the function's failure
}

// TestStates checks each state, most urgent first, with its reason.
func TestStates(t *testing.T) {
	w := newAccount(t, sim.Options{MaxAttempts: 1})
	w.function("good", sim.Configuration{Runtime: "provided.al2023"}, w.rotates)
	w.function("bad", sim.Configuration{Runtime: "provided.al2023"}, func(e step) error {
		if e.Step == "setSecret" {
			return errors.New("the target is down")
		}
		return w.rotates(e)
	})
	late := w.secret("late", "x")
	w.schedule(late, "bad")
	w.clock.Advance(32 * 24 * time.Hour) // the rotation fails in its window
	// The operator has abandoned it: nothing is pending.
	d, err := w.client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &late})
	if err != nil {
		t.Fatal(err)
	}
	abandon := &secretsmanager.UpdateSecretVersionStageInput{SecretId: &late, VersionStage: aws.String("AWSPENDING")}
	for id, labels := range d.VersionIdsToStages {
		if slices.Contains(labels, "AWSPENDING") {
			abandon.RemoveFromVersionId = &id
		}
	}
	if _, err := w.client.UpdateSecretVersionStage(t.Context(), abandon); err != nil {
		t.Fatal(err)
	}
	begun := func(name, function string) (arn string) {
		arn = w.secret(name, "x")
		w.schedule(arn, function)
		w.begin(arn)
		return arn
	}
	begun("failing", "bad")
	w.cancel(begun("stuck", "bad"))
	w.clock.Advance(16 * time.Minute)
	begun("running", "bad")
	begun("ok", "good")
	off := w.secret("off", "x")
	w.schedule(off, "good")
	w.cancel(off)
	w.secret("never", "x")
	managed := w.secret("managed", "x")
	w.sim.Own(managed, "rds")
	deleting := &secretsmanager.DeleteSecretInput{SecretId: aws.String(w.secret("deleting", "x"))}
	if _, err := w.client.DeleteSecret(t.Context(), deleting); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range w.list(filter{}) {
		got = append(got, fmt.Sprintf("%s %s: %s", s.Name, s.State, s.Reason))
	}
	want := []string{
		"stuck stuck: rotation was switched off, and AWSPENDING has been on version ",
		"failing failing: AWSPENDING has been on version ",
		"late late: the rotation was due at 2026-03-31 23:59 UTC",
		"running running: AWSPENDING has been on version ",
		"ok ok: ",
		"managed managed: managed by rds",
		"never off: ",
		"off off: ",
		"deleting deleting: scheduled for deletion at 2026-05-02 12:16 UTC",
	}
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) || strings.HasSuffix(want[i], ": ") && got[i] != want[i] {
			t.Errorf("%q, want %q", got[i], want[i])
		}
	}
}

// TestListCalls: a list reads no value, and makes one call per hundred secrets and one per fifty functions.
func TestListCalls(t *testing.T) {
	w := newAccount(t, sim.Options{})
	for i := range 60 {
		w.function(fmt.Sprintf("f%02d", i), sim.Configuration{Runtime: "python3.12"}, nothing)
	}
	w.function("new", sim.Configuration{Runtime: "provided.al2023"}, nothing)
	w.function("new:live", sim.Configuration{}, nothing)
	for i := range 250 {
		arn := w.secret(fmt.Sprintf("s%03d", i), "x")
		w.schedule(arn, []string{fmt.Sprintf("f%02d", i%60), "new:live"}[i%2])
	}
	w.mu.Lock()
	clear(w.calls)
	w.mu.Unlock()
	l := w.list(filter{})
	// An alias has the configuration of its function.
	if len(l) != 250 || l[0].Runtime != "python3.12" || l[1].Runtime != "provided.al2023" {
		t.Errorf("%d secrets: %+v", len(l), l[:2])
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	want := map[string]int{"secretsmanager.ListSecrets/": 3, "/2015-03-31/functions": 2}
	if !maps.Equal(w.calls, want) {
		t.Errorf("%v", w.calls)
	}
}

func TestUnreadableFunctions(t *testing.T) {
	w := newAccount(t, sim.Options{})
	w.function("gone", sim.Configuration{Runtime: "python3.12"}, nothing)
	w.function("gone2", sim.Configuration{Runtime: "python3.12"}, nothing)
	w.schedule(w.secret("s", "x"), "gone")
	w.schedule(w.secret("s2", "x"), "gone2")
	w.secret("s3", "x")
	anonymous := func(o *lambda.Options) { o.Credentials = aws.AnonymousCredentials{} }
	denied := lambda.New(w.functions(mine).Options(), anonymous)
	for name, c := range map[string]struct {
		client *lambda.Client
		want   string
	}{
		"the caller is refused":         {denied, "MissingAuthenticationTokenException"},
		"the account has no such thing": {w.functions(theirs), "<nil>"},
	} {
		secrets, failed := listSecrets(t.Context(), w.client, filter{}, w.clock.Now())
		n, err := readFunctions(t.Context(), c.client, secrets)
		if failed != nil || len(secrets) != 3 || secrets[0].Runtime != "" || n != 2 ||
			!strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %+v, %d, %v", name, secrets, n, err)
		}
		moves, others := migrate(secrets)
		if len(moves) != 2 || others != 1 || moves[0].Verdict != unknown || moves[0].Switch != nil || moves[0].Back != nil ||
			!strings.Contains(moves[0].Needs[0], "cannot be read") {
			t.Errorf("%s: %+v, %d", name, moves, others)
		}
	}
}

// TestListFails: what was listed before the error is returned with it.
func TestListFails(t *testing.T) {
	w := newAccount(t, sim.Options{})
	for i := range 101 {
		w.secret(fmt.Sprintf("s%03d", i), "x")
	}
	calls := 0
	second := secretsmanager.New(w.client.Options(), func(o *secretsmanager.Options) {
		o.HTTPClient = doer(func(r *http.Request) (*http.Response, error) {
			if calls++; calls > 1 {
				return nil, errors.New("the connection was cut")
			}
			return w.direct(r)
		})
	})
	l, err := listSecrets(t.Context(), second, filter{}, w.clock.Now())
	if len(l) != 100 || err == nil {
		t.Errorf("%d secrets, %v", len(l), err)
	}
}

// TestEngines: a tag wins over the template.
func TestEngines(t *testing.T) {
	w := newAccount(t, sim.Options{})
	w.function("new", sim.Configuration{Runtime: "provided.al2023"}, nothing)
	const template = "my-SecretsManagerRDSMySQLRotationMultiUser"
	w.function(template, sim.Configuration{Runtime: "python3.12", Handler: "lambda_function.lambda_handler"}, nothing)
	w.schedule(w.secret("a", "x", "rotator:engine", "generic", "rotator:strategy", "single"), template)
	w.schedule(w.secret("b", "x"), template)
	w.schedule(w.secret("c", "x", "rotator:engine", "postgres"), "new")
	w.schedule(w.secret("d", "x"), "new")
	var got []string
	for _, s := range w.list(filter{}) {
		got = append(got, fmt.Sprintf("%s %s %s", s.Name, s.Engine, s.Strategy))
	}
	if want := []string{"a generic single", "b mysql alternating", "c postgres ", "d  "}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFilter(t *testing.T) {
	w := newAccount(t, sim.Options{})
	w.function("new", sim.Configuration{Runtime: "provided.al2023"}, w.rotates)
	w.function("old", sim.Configuration{Runtime: "python3.12"}, nothing)
	begin := w.clock.Now()
	shop := w.secret("shop/postgres", "x", "team", "shop", "tier", "1")
	w.schedule(shop, "new")
	w.clock.Advance(time.Hour)
	w.begin(shop)
	w.schedule(w.secret("shop/mysql", "x", "team", "shopping"), "old")
	w.secret("ship/key", "x", "shop", "team")
	w.secret("odd", "x", "!t", "!v")
	for _, c := range []struct {
		by   filter
		want string
	}{
		{filter{}, "shop/mysql shop/postgres odd ship/key"},
		{filter{Names: []string{"shop/"}}, "shop/mysql shop/postgres"},
		{filter{Names: []string{"shop/p", "ship"}}, "shop/postgres ship/key"},
		{filter{Tags: map[string]string{"team": "shop"}}, "shop/postgres"},
		{filter{Tags: map[string]string{"team": "shop", "tier": "1"}}, "shop/postgres"},
		{filter{Tags: map[string]string{"team": "shop", "tier": "2"}}, ""},
		{filter{Tags: map[string]string{"!t": "!v"}}, "odd"},
		{filter{States: []string{"off"}}, "odd ship/key"},
		{filter{Functions: []string{"old"}}, "shop/mysql"},
		{filter{Functions: []string{functionHead + "new"}}, "shop/postgres"},
		{filter{RotatedBefore: begin.Add(time.Minute)}, "shop/mysql odd ship/key"},
		{filter{RotatedBefore: begin.Add(2 * time.Hour)}, "shop/mysql shop/postgres odd ship/key"},
	} {
		var got []string
		for _, s := range w.list(c.by) {
			got = append(got, s.Name)
			if s.rotates() != strings.HasPrefix(s.Name, "shop/") {
				t.Errorf("%s rotates: %t", s.Name, s.rotates())
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: %q, want %q", c.by, got, c.want)
		}
	}
}

func TestEmptyFilter(t *testing.T) {
	if !(filter{Names: []string{}}).empty() { // --name ""
		t.Error("a filter that selects all secrets is not empty")
	}
	for _, f := range []filter{
		{Names: []string{"x"}}, {Tags: map[string]string{"x": ""}}, {States: []string{"x"}},
		{Functions: []string{"x"}}, {RotatedBefore: time.Now()},
	} {
		if f.empty() {
			t.Errorf("%+v is empty", f)
		}
	}
}
