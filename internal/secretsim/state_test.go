package secretsim

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// again returns a service that begins with a copy of another's state file.
func again(t *testing.T, file string, o Options) *bench {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	o.StateFile = filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(o.StateFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return newBench(t, o)
}

func TestAStateFileOutlivesTheService(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	b := newBench(t, Options{StateFile: file})
	if err := b.Load(); err != nil {
		t.Fatal(err)
	}
	arn := b.create("db")
	b.put("db", 2, "two", pending, "mine")
	if _, err := b.client.TagResource(ctx, &sm.TagResourceInput{SecretId: &arn, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.as(theirs).CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("other"), SecretBinary: []byte{0, 1}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.as(theirs).DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: aws.String("other"), RecoveryWindowInDays: aws.Int64(7)}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
	c := again(t, file, Options{})
	if err := c.Load(); err != nil {
		t.Fatal(err)
	}
	c.wantStages(arn, "1:[AWSCURRENT] 2:[AWSPENDING mine]")
	if v, err := c.client.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: aws.String("db"), VersionStage: aws.String("mine")}); err != nil || *v.SecretString != "two" {
		t.Errorf("%+v, %v", v, err)
	}
	if d, err := c.as(theirs).DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("other")}); err != nil || d.DeletedDate == nil {
		t.Errorf("%+v, %v", d, err)
	}
	c.settle(8 * day)
	_, err := c.as(theirs).DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("other")})
	refused(t, err, "ResourceNotFoundException", "")
}

func TestARotationGoesOnAfterACrashOfTheService(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	b := newBench(t, Options{StateFile: file})
	b.create("db")
	reached, hold := make(chan struct{}), make(chan struct{})
	defer func() { // the first service must be done with its file
		close(hold)
		_ = b.WaitRotation(ctx, "db")
	}()
	b.RegisterFunction(lambda, b.function(func(r request) error {
		if r.Step == "testSecret" {
			close(reached)
			<-hold
		}
		return nil
	}))
	if err := b.rotate("db", 2, func(in *sm.RotateSecretInput) {
		in.RotationRules = &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(1)}
	}); err != nil {
		t.Fatal(err)
	}
	<-reached
	c := again(t, file, Options{})
	var seq []string
	c.RegisterFunction(lambda, c.function(func(r request) error {
		seq = append(seq, r.Step+" "+r.ClientRequestToken[35:])
		return nil
	}))
	if err := c.Load(); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitRotation(ctx, "db"); err != nil {
		t.Fatal(err)
	}
	if s := strings.Join(seq, ", "); s != "createSecret 2, setSecret 2, testSecret 2, finishSecret 2" {
		t.Errorf("the steps were %s", s)
	}
	c.wantStages("db", "1:[AWSPREVIOUS] 2:[AWSCURRENT]")
	c.settle(2 * day)
	if n := c.Stats().Succeeded; n < 2 {
		t.Errorf("%d rotations: the schedule was forgotten", n)
	}
}

func TestAStateFileThatIsNoneIsRefusedAndKept(t *testing.T) {
	for _, text := range []string{"", "not json", `{"Version":2}`} {
		file := filepath.Join(t.TempDir(), "state")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := New(Options{StateFile: file}).Load(); err == nil {
			t.Errorf("%q was taken", text)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != text {
			t.Errorf("it is now %q, %v", got, err)
		}
	}
	if err := New(Options{StateFile: filepath.Join(t.TempDir(), "no", "such", "folder")}).Load(); err == nil {
		t.Error("a place that cannot be written was taken")
	}
}

func TestAWriteThatCannotBeKeptFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, Options{StateFile: filepath.Join(dir, "state")})
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	_, err := b.client.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("db")})
	refused(t, err, "InternalServiceError", "")
}

func TestThePageShowsLabelsAndTimelinesAndNoValue(t *testing.T) {
	b := newBench(t, Options{MaxAttempts: 1})
	if _, err := b.client.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("db"), SecretString: aws.String(`{"password":"hunter22"}`), ClientRequestToken: aws.String(id(1)), Description: aws.String("<script>")}); err != nil {
		t.Fatal(err)
	}
	b.RegisterFunction(lambda, b.function(func(r request) error {
		if r.Step == "testSecret" {
			return fmt.Errorf("<b>hunter22</b> was refused")
		}
		return nil
	}))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	b.settle(0)
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, b.url+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%d %v, %v", resp.StatusCode, resp.Header, err)
	}
	for _, want := range []string{"db", id(1), id(2), "AWSCURRENT", "AWSPENDING", "RotationStarted", "createSecret", "setSecret", "testSecret", "RotationFailed"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is missing", want)
		}
	}
	if s := string(text); strings.Contains(s, "hunter22") || strings.Contains(s, "made for") || strings.Contains(s, "<b>") || strings.Contains(s, "<script>") {
		t.Error("a value, or the markup of someone else, is on the page")
	}
}

func TestServeRefusesAnAddressThatOthersCanReach(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "example.com:80", "nonsense"} {
		if s, err := Serve(New(Options{}), addr); err == nil {
			s.Close()
			t.Errorf("%s was taken", addr)
		}
	}
	s, err := Serve(New(Options{AllowRemote: true}), "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !strings.HasPrefix(s.URL(), "http://127.0.0.1:") {
		t.Errorf("its URL is %s", s.URL())
	}
}

func TestManualClockDoesWhatIsDueInOrderAndWaitsForSleepers(t *testing.T) {
	c := NewManualClock(begin)
	var got []string
	c.At(begin.Add(2*time.Second), func() { got = append(got, "two") })
	c.At(begin.Add(time.Second), func() { got = append(got, "one") })
	stop := c.At(begin.Add(time.Second), func() { got = append(got, "never") })
	stop()
	c.Go(func() {
		for i := range 3 {
			_ = c.Sleep(context.Background(), 700*time.Millisecond)
			got = append(got, fmt.Sprint("slept ", i))
		}
	})
	c.Advance(5 * time.Second)
	if s := strings.Join(got, ", "); s != "slept 0, one, slept 1, two, slept 2" {
		t.Error(s)
	}
	if !c.Now().Equal(begin.Add(5 * time.Second)) {
		t.Error(c.Now())
	}
	wake, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	c.Go(func() { ended <- c.Sleep(wake, time.Hour) })
	cancel()
	if err := <-ended; err == nil {
		t.Error("a sleeper that was woken knows nothing of it")
	}
	c.Advance(2 * time.Hour)
}
