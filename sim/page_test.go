package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// fetchPage returns a page without compression.
func (b *bench) fetchPage(path string) (string, http.Header) {
	b.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, b.url+"/"+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		b.Fatalf("%s, %v\n%s", resp.Status, err, text)
	}
	return string(text), resp.Header
}

// keyOf returns the page's key for a secret.
func (b *bench) keyOf(name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	arn := b.Sim.at(place{mine, "us-east-1", name}).ARN
	return arn[len(arn)-6:]
}

func TestThePageShowsLabelsAndTimelinesAndNoValue(t *testing.T) {
	b := newBench(t, Options{MaxAttempts: 1})
	if _, err := b.client.CreateSecret(ctx, &sm.CreateSecretInput{
		Name: aws.String("db"), SecretString: aws.String(`{"password":"hunter22"}`),
		ClientRequestToken: aws.String(id(1)), Description: aws.String("<script>x"),
	}); err != nil {
		t.Fatal(err)
	}
	b.RegisterFunction(lambda, b.function(func(r request) error {
		if r.Step == "testSecret" {
			return fmt.Errorf("<b>hunter22</b> was refused%s", strings.Repeat("é", 100))
		}
		return nil
	}))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	b.settle(0)
	overview, header := b.fetchPage("")
	if !strings.HasPrefix(header.Get("Content-Type"), "text/html") ||
		!strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%v", header)
	}
	detail, _ := b.fetchPage(b.keyOf("db"))
	for _, want := range []string{
		"db", "1 failing", "<strong>Error:</strong>", "was refused" + strings.Repeat("é", 100) + "<", "testSecret, attempt 1",
		"<main>", `role="status"`, "<th",
	} {
		if !strings.Contains(overview, want) {
			t.Errorf("%s is missing in the overview", want)
		}
	}
	for _, want := range []string{
		"db", id(1), id(2), "AWSCURRENT", "AWSPENDING", "RotationStarted", "createSecret", "setSecret", "testSecret",
		"RotationFailed", lambda, "<strong>Error:</strong>",
	} {
		if !strings.Contains(detail, want) {
			t.Errorf("%s is missing in the details", want)
		}
	}
	for _, s := range []string{overview, detail} {
		if strings.Contains(s, "hunter22") || strings.Contains(s, "made for") || strings.Contains(s, "<b>") ||
			strings.Contains(s, "<script>x") || strings.Contains(s, "errorType") {
			t.Error("a value, the markup of someone else, or raw JSON is on the page")
		}
	}
	if missing, _ := b.fetchPage("noSuch"); !strings.Contains(missing, "This secret does not exist.") {
		t.Error(missing)
	}
}

// TestThePageDistinguishesSecretsWithOneARNSuffix: a promoted replica keeps its name and suffix.
func TestThePageDistinguishesSecretsWithOneARNSuffix(t *testing.T) {
	b := newBench(t, Options{})
	arn := b.create("db")
	b.replicate("db", false, ireland, "us-west-2")
	if _, err := b.at(ireland).StopReplicationToReplica(ctx,
		&sm.StopReplicationToReplicaInput{SecretId: aws.String("db")}); err != nil {
		t.Fatal(err)
	}
	key := arn[len(arn)-6:]
	overview, _ := b.fetchPage("")
	for _, want := range []string{
		"<tr id=" + key + ">", "<a href=/" + key + ">db</a>", "<tr id=" + key + "-eu-west-1-" + mine + ">",
		"<a href=/" + key + "-eu-west-1-" + mine + ">db</a> <span class=soft>eu-west-1, account " + mine + "</span>",
	} {
		if strings.Count(overview, want) != 1 {
			t.Errorf("%s is on the overview %d times", want, strings.Count(overview, want))
		}
	}
	for path, want := range map[string][]string{
		key:                        {"<dd>" + arn + "</dd>", "<dt>Replicas</dt><dd><div>us-west-2: InSync</div></dd>"},
		key + "-eu-west-1-" + mine: {"<dd>" + strings.Replace(arn, "us-east-1", ireland, 1) + "</dd>"},
	} {
		detail, _ := b.fetchPage(path)
		for _, w := range want {
			if !strings.Contains(detail, w) {
				t.Errorf("%s is missing at %s", w, path)
			}
		}
	}
	if _, err := b.as("210987654321").CreateSecret(ctx, &sm.CreateSecretInput{
		Name: aws.String("theirs"), SecretString: aws.String("x"),
	}); err != nil {
		t.Fatal(err)
	}
	if overview, _ = b.fetchPage(""); !strings.Contains(overview,
		"-us-east-1-210987654321>theirs</a> <span class=soft>us-east-1, account 210987654321</span>") {
		t.Error("the account is missing")
	}
}

// zoo is a service with a secret in every state, for the page.
func zoo(t *testing.T, o Options) *bench {
	t.Helper()
	b := newBench(t, o)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	down := map[string]bool{}
	b.RegisterFunction(lambda, b.function(func(r request) error {
		for name := range down {
			if strings.Contains(r.SecretId, ":secret:"+name+"-") && r.Step == "setSecret" {
				return errors.New(`cannot log in to db.example.com:5432 as "app": connection refused`)
			}
		}
		return nil
	}))
	const slow = lambda + "-slow"
	b.RegisterFunction(slow, InvokerFunc(func(context.Context, []byte) ([]byte, string, error) {
		<-release
		return nil, "Unhandled", nil
	}))
	rotate := func(name, function, schedule string) {
		t.Helper()
		b.create(name)
		in := &sm.RotateSecretInput{
			SecretId: &name, ClientRequestToken: aws.String(id(2)), RotationLambdaARN: &function,
			RotationRules: &types.RotationRulesType{ScheduleExpression: &schedule},
		}
		if _, err := b.client.RotateSecret(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	b.create("shop/unrotated")
	b.create("shop/old")
	if _, err := b.client.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: aws.String("shop/old")}); err != nil {
		t.Fatal(err)
	}
	rotate("shop/orders", lambda, "rate(1 day)")
	for i := range 5 {
		rotate(fmt.Sprintf("shop/api-%d", i), lambda, "rate(30 days)")
	}
	b.settle(0)
	down["shop/orders"] = true
	b.settle(3 * day) // its window ends in between
	down["shop/payments"] = true
	rotate("shop/payments", lambda, "rate(30 days)")
	b.settle(0)
	rotate("shop/session-store", slow, "rate(30 days)") // the clock does not move while it runs
	return b
}

func TestThePageInABrowser(t *testing.T) {
	b := zoo(t, Options{})
	w := newBrowser(t, 1000, 700)
	w.open(b.url + "/")
	w.want("document.querySelector('[role=status]').innerText",
		"2 failing, 1 running, 5 healthy, 1 not rotated, 1 scheduled for deletion")
	w.want("[...document.querySelectorAll('main tbody')].map((b) => b.id).join()",
		"failing,running,healthy,unrotated,deleted")
	w.want("document.querySelectorAll('main').length", 1.0)
	w.want("document.querySelectorAll('tbody tr > th a').length", 10.0)
	w.want("document.querySelector('#failing .failure').innerText", `Error: cannot log in to db.example.com:5432 as "app": connection refused
setSecret, attempt 5`)
	w.want("document.querySelector('#failing strong').innerText", "Error:")
	w.want("[...document.querySelectorAll('#failing tr')].filter((r) => r.innerText.includes('late')).map((r) => "+
		"r.querySelector('a').innerText).join()", "shop/orders")

	w.want("[...document.querySelectorAll('#failing .busy')].map((e) => "+
		"e.parentElement.querySelector('a').innerText).join()", "shop/payments")

	// An anchor leads to a secret's row.
	key := b.keyOf("shop/api-3")
	w.open(b.url + "/#" + key)
	w.want("document.querySelector(':target a').innerText", "shop/api-3")

	// Selection, scroll position, filter and focus survive an update.
	w.run(`filter.value = "shop/"; filter.focus(); filter.dispatchEvent(new Event("input")); window.scrollTo(0, 120);
		window.row = document.getElementById("` + key + `"); getSelection().selectAllChildren(row.querySelector("a"))`)
	w.run("window.before = scrollY")
	b.create("shop/new")
	w.until("document.body.innerText.includes('shop/new')")
	w.until("document.querySelector('[role=status]').innerText.includes('2 not rotated')")
	w.want("scrollY === before && before > 0", true)
	w.want("getSelection().toString()", "shop/api-3")
	w.want("row.isConnected && document.getElementById(row.id) === row", true)
	w.want("filter.value", "shop/")
	w.want("document.activeElement === filter", true)

	// The filter finds names, states and messages.
	for text, want := range map[string]string{
		"payments": "shop/payments", "RUNNING": "shop/payments,shop/session-store", "late refused": "shop/orders",
		"api-1": "shop/api-1", "nonsense": "",
	} {
		w.run(fmt.Sprintf(`filter.value = %q; filter.dispatchEvent(new Event("input"))`, text))
		w.want("[...document.querySelectorAll('tbody tr')].filter((r) => r.checkVisibility()).map((r) => "+
			"r.querySelector('a').innerText).join()", want)
	}

	// The details of a secret.
	w.run(`filter.value = ""; filter.dispatchEvent(new Event("input")); document.querySelector("#failing a[href$='` +
		b.keyOf("shop/payments") + `']").click()`)
	w.until("document.querySelector('h2')?.innerText === 'shop/payments' && document.readyState === 'complete'")
	w.want("document.querySelector('#why').innerText", `Error: cannot log in to db.example.com:5432 as "app": connection refused
setSecret, attempt 1`)
	w.want("document.querySelectorAll('thead th[scope=col]').length", 6.0)
	w.run("window.why = document.querySelector('#why')")
	b.put("shop/payments", 7, "x", "MINE")
	w.until("document.body.innerText.includes('MINE')")
	w.want("why.isConnected", true)

	// A stored filter does not hide the target of an anchor.
	w.run(`sessionStorage.setItem("filter", "nonsense")`)
	w.open(b.url + "/#" + key)
	w.want("document.querySelector(':target').checkVisibility()", true)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.faults) > 0 {
		t.Errorf("on the page: %q", w.faults)
	}
}

func TestThePageFitsAPhone(t *testing.T) {
	b := zoo(t, Options{})
	w := newBrowser(t, 360, 740)
	for _, query := range []string{"", b.keyOf("shop/payments")} {
		w.open(b.url + "/" + query)
		w.want("document.documentElement.scrollWidth", 360.0)
	}
}

func TestThePageWithoutSecretsSaysHowToBegin(t *testing.T) {
	b := newBench(t, Options{Clock: RealTime()})
	w := newBrowser(t, 1000, 700)
	w.open(b.url + "/")
	w.want("document.querySelector('[role=status]').innerText", "No secrets yet")
	w.call("Browser.grantPermissions", map[string]any{
		"permissions": []string{"clipboardReadWrite", "clipboardSanitizedWrite"},
	}, nil)
	w.call("Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true}, nil)
	w.run("document.querySelector('button[data-copy]').click()")
	w.until("document.querySelector('button[data-copy]').innerText === 'Copied'")
	command, _ := w.run("navigator.clipboard.readText()").(string)
	if !strings.Contains(command, "AWS_ENDPOINT_URL_SECRETS_MANAGER="+b.url+" ") ||
		!strings.Contains(command, "\naws secretsmanager create-secret ") {
		t.Errorf("copied: %s", command)
	}
	w.want("document.querySelector('#filter').hidden", true)
	b.create("db")
	w.until("document.querySelector('[role=status]').innerText === '1 not rotated'")
	w.want("document.querySelector('#filter').hidden", false)
	b.server.Close()
	w.until("document.querySelector('[role=status]').innerText === 'The simulator does not answer.'")
}

func TestThePageOfAThousandSecretsIsSmallAndFast(t *testing.T) {
	b := newBench(t, Options{History: 8})
	b.RegisterFunction(lambda, b.function(func(r request) error {
		if r.Step == "setSecret" {
			return errors.New(strings.Repeat("cannot log in ", 40))
		}
		return nil
	}))
	for i := range 1000 {
		name := fmt.Sprintf("service-%03d", i)
		b.create(name)
		if err := b.rotate(name, 2, func(in *sm.RotateSecretInput) {
			in.RotationRules = &types.RotationRulesType{ScheduleExpression: aws.String("rate(30 days)")}
		}); err != nil {
			t.Fatal(err)
		}
	}
	b.settle(time.Hour)
	fastest := time.Hour
	var text string
	// On a busy machine, one fast response is enough.
	for deadline := time.Now().Add(patience); fastest > 200*time.Millisecond && time.Now().Before(deadline); {
		start := time.Now()
		text, _ = b.fetchPage("")
		fastest = min(fastest, time.Since(start))
	}
	if !strings.Contains(text, "1000 failing") || !strings.Contains(text, "cannot log in") {
		t.Error("the failures are not on the page")
	}
	if len(text) > 100_000 || fastest > 200*time.Millisecond || strings.Count(text, "<tr id=") != 1000 {
		t.Errorf("%d bytes in %v with %d secrets", len(text), fastest, strings.Count(text, "<tr id="))
	}
	t.Logf("%d bytes in %v", len(text), fastest)
}

// TestScreenshot writes the documentation's screenshot to the file that ROTATOR_SCREENSHOT names;
// see `make screenshot`.
func TestScreenshot(t *testing.T) {
	b := zoo(t, Options{})
	w := newBrowser(t, 1000, 640)
	w.open(b.url + "/")
	picture := w.screenshot()
	if c, err := png.DecodeConfig(bytes.NewReader(picture)); err != nil || c.Width != 1000 {
		t.Errorf("%v, %v", c, err)
	}
	if name := os.Getenv("ROTATOR_SCREENSHOT"); name != "" {
		if err := os.WriteFile(name, picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
