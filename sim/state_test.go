package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// again returns a service that starts from a copy of another's state file.
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
	if _, err := b.client.TagResource(ctx, &sm.TagResourceInput{
		SecretId: &arn, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.as(theirs).CreateSecret(ctx, &sm.CreateSecretInput{
		Name: aws.String("other"), SecretBinary: []byte{0, 1},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.as(theirs).DeleteSecret(ctx, &sm.DeleteSecretInput{
		SecretId: aws.String("other"), RecoveryWindowInDays: aws.Int64(7),
	}); err != nil {
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
	if v, err := c.client.GetSecretValue(ctx, &sm.GetSecretValueInput{
		SecretId: aws.String("db"), VersionStage: aws.String("mine"),
	}); err != nil || *v.SecretString != "two" {
		t.Errorf("%+v, %v", v, err)
	}
	if d, err := c.as(theirs).DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("other")}); err != nil ||
		d.DeletedDate == nil {
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
	defer func() { // the first service must have finished with its file
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

func TestAnInvalidStateFileIsRejectedAndKept(t *testing.T) {
	for _, text := range []string{"", "not json", `{"Version":2}`} {
		file := filepath.Join(t.TempDir(), "state")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := New(Options{StateFile: file}).Load(); err == nil {
			t.Errorf("%q was accepted", text)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != text {
			t.Errorf("it is now %q, %v", got, err)
		}
	}
	if err := New(Options{StateFile: filepath.Join(t.TempDir(), "no", "such", "folder")}).Load(); err == nil {
		t.Error("a path that cannot be written was accepted")
	}
}

func TestAWriteFailsIfTheStateCannotBeSaved(t *testing.T) {
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

func TestManualClockDoesWhatIsDueInOrderAndWaitsForSleepers(t *testing.T) {
	c := NewManualClock(begin)
	var got []string
	c.At(begin.Add(2*time.Second), func() { got = append(got, "two") })
	c.At(begin.Add(time.Second), func() { got = append(got, "one") })
	stop := c.At(begin.Add(time.Second), func() { got = append(got, "never") })
	if !stop() || stop() {
		t.Error("stop does not report whether it prevented the call")
	}
	c.Go(func() {
		for i := range 3 {
			c.sleep(700 * time.Millisecond)
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
}

func TestADeletionOutlivesACrashWhileTheRotationRuns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	b := newBench(t, Options{StateFile: file})
	b.create("db")
	reached, hold := make(chan struct{}), make(chan struct{})
	defer func() {
		close(hold)
		_ = b.WaitRotation(ctx, "db")
	}()
	b.RegisterFunction(lambda, b.function(func(request) error { close(reached); <-hold; return nil }))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	<-reached
	if _, err := b.client.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: aws.String("db")}); err != nil {
		t.Fatal(err)
	}
	c := again(t, file, Options{})
	c.RegisterFunction(lambda, c.function(func(request) error { return errors.New("a step of a deleted secret") }))
	if err := c.Load(); err != nil {
		t.Fatal(err)
	}
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := c.WaitRotation(wait, "db"); !errors.Is(err, errDeleted) {
		t.Errorf("the rotation ended with %v", err)
	}
	// The secret can be restored and deleted again.
	if _, err := c.client.RestoreSecret(ctx, &sm.RestoreSecretInput{SecretId: aws.String("db")}); err != nil {
		t.Error(err)
	}
	if _, err := c.client.CancelRotateSecret(ctx, &sm.CancelRotateSecretInput{SecretId: aws.String("db")}); err != nil {
		t.Error(err)
	}
	c.put("db", 3, "three")
	if _, err := c.client.DeleteSecret(ctx, &sm.DeleteSecretInput{
		SecretId: aws.String("db"), ForceDeleteWithoutRecovery: aws.Bool(true),
	}); err != nil {
		t.Error(err)
	}
}

func TestAFailedRotationWaitsForItsWindowAlsoAfterARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	b := newBench(t, Options{StateFile: file, MaxAttempts: 1})
	b.create("db")
	down := false
	b.RegisterFunction(lambda, b.function(func(request) error {
		if down {
			return errors.New("down")
		}
		return nil
	}))
	if err := b.rotate("db", 2, func(in *sm.RotateSecretInput) {
		in.RotationRules = &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(10)}
	}); err != nil {
		t.Fatal(err)
	}
	b.settle(time.Hour)
	down = true
	b.settle(10*day + 14*time.Hour) // past the window
	if n := b.Stats().Failed; n != 1 {
		t.Fatalf("%d attempts failed, not one", n)
	}
	clock := NewManualClock(b.clock.Now())
	c := again(t, file, Options{Clock: clock})
	n := 0
	c.RegisterFunction(lambda, c.function(func(request) error { n++; return nil }))
	if err := c.Load(); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Hour)
	if n != 0 {
		t.Errorf("%d steps within an hour of the restart; the next window is days away", n)
	}
	clock.Advance(11 * day)
	if got := c.Stats().Succeeded; got != 1 {
		t.Errorf("%d rotations in the next window, not one", got)
	}
}

func TestOnlyOwnTemporaryFilesOfCrashesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, Options{StateFile: filepath.Join(dir, "state")})
	// A crash between creating and renaming a temporary file leaves it behind.
	mine := ".secretsim-state"
	others := []string{".secretsim-other", ".secretsim-state-1", "notes"}
	for _, name := range append(others, mine) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Load(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, mine)); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", mine, err)
	}
	for _, name := range others {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestTheClockDoesNotGoBackAtARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	ahead := time.Now().AddDate(1, 0, 0).UTC()
	b := newBench(t, Options{StateFile: file, Clock: FastTime(ahead, 1000)})
	b.create("db")
	c := again(t, file, Options{Clock: FastTime(time.Now(), 1000)})
	if err := c.Load(); err != nil {
		t.Fatal(err)
	}
	if now := c.Sim.clock.Now(); now.Before(ahead) {
		t.Errorf("it is %s, a year before the secret's date", now)
	}
	d := again(t, file, Options{Clock: FastTime(ahead.AddDate(1, 0, 0), 1)})
	if err := d.Load(); err != nil {
		t.Fatal(err)
	}
	if now := d.Sim.clock.Now(); now.After(ahead.AddDate(1, 0, 1)) {
		t.Errorf("a clock that is ahead of the file was moved to %s", now)
	}
}

// slowly returns a function whose first invocation blocks until it is canceled, and a channel that signals its start.
func slowly(then Invoker) (InvokerFunc, chan struct{}) {
	reached := make(chan struct{})
	var once sync.Once
	return func(ctx context.Context, payload []byte) ([]byte, string, error) {
		held := false
		once.Do(func() { held = true; close(reached) })
		if held {
			<-ctx.Done()
			return nil, "", ctx.Err()
		}
		return then.Invoke(ctx, payload)
	}, reached
}

func TestARotationGoesOnAfterTheServiceWasStopped(t *testing.T) {
	for _, attempts := range []int{1, 5} {
		file := filepath.Join(t.TempDir(), "state")
		var events strings.Builder
		b := newBench(t, Options{StateFile: file, MaxAttempts: attempts, Events: &events})
		b.create("db")
		f, reached := slowly(b.function(func(request) error { return errors.New("a step after the stop") }))
		b.RegisterFunction(lambda, f)
		if err := b.rotate("db", 2); err != nil {
			t.Fatal(err)
		}
		<-reached
		if err := b.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := b.WaitRotation(ctx, "db"); !errors.Is(err, errStopped) {
			t.Errorf("the rotation ended with %v", err)
		}
		b.settle(time.Hour)
		if st := b.Stats(); st.Failed != 0 || strings.Contains(events.String(), "RotationFailed") {
			t.Errorf("the rotation was abandoned: %+v\n%s", st, events.String())
		}
		c := again(t, file, Options{})
		c.RegisterFunction(lambda, c.function(func(request) error { return nil }))
		if err := c.Load(); err != nil {
			t.Fatal(err)
		}
		if err := c.WaitRotation(ctx, "db"); err != nil {
			t.Error(err)
		}
		c.wantStages("db", "1:[AWSPREVIOUS] 2:[AWSCURRENT]")
	}
}

func TestNoStepRunsWhileTheStateCannotBeSaved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	b := newBench(t, Options{
		StateFile: filepath.Join(dir, "state"), MaxAttempts: 1, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	b.create("db")
	n := 0
	b.RegisterFunction(lambda, b.function(func(request) error { n++; return nil }))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	refused(t, b.rotate("db", 2), "InternalServiceError", "")
	b.settle(0)
	if err := b.WaitRotation(ctx, "db"); err == nil || !strings.Contains(err.Error(), "cannot save the state") ||
		n != 0 {
		t.Errorf("%d steps ran, and the rotation ended with %v", n, err)
	}
	if !strings.Contains(log.String(), "the state file cannot be written") {
		t.Errorf("the log says %q", log.String())
	}
}
