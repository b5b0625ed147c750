package sim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

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

func TestStopEndsARotationAndNothingFailsAfterwards(t *testing.T) {
	for _, attempts := range []int{1, 5} {
		b := newBench(t, Options{MaxAttempts: attempts})
		b.create("db")
		f, reached := slowly(b.function(func(request) error { return errors.New("a step after the stop") }))
		b.RegisterFunction(lambda, f)
		if err := b.rotate("db", 2); err != nil {
			t.Fatal(err)
		}
		<-reached
		b.Stop()
		if err := b.WaitRotation(ctx, "db"); !errors.Is(err, errStopped) {
			t.Errorf("the rotation ended with %v", err)
		}
		b.settle(time.Hour)
		if st := b.Stats(); st.Failed != 0 || strings.Contains(b.trace(), "RotationFailed") {
			t.Errorf("the rotation failed: %+v\n%s", st, b.trace())
		}
	}
}

func TestADeletionEndsARunningRotation(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	reached, hold := make(chan struct{}), make(chan struct{})
	b.RegisterFunction(lambda, b.function(func(r request) error {
		if r.Step == "setSecret" {
			close(reached)
			<-hold
		}
		return nil
	}))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	<-reached
	if _, err := b.client.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: aws.String("db")}); err != nil {
		t.Fatal(err)
	}
	close(hold)
	if err := b.WaitRotation(ctx, "db"); !errors.Is(err, errDeleted) {
		t.Errorf("the rotation ended with %v", err)
	}
	// The secret can be restored and deleted again.
	if _, err := b.client.RestoreSecret(ctx, &sm.RestoreSecretInput{SecretId: aws.String("db")}); err != nil {
		t.Error(err)
	}
	if _, err := b.client.CancelRotateSecret(ctx, &sm.CancelRotateSecretInput{SecretId: aws.String("db")}); err != nil {
		t.Error(err)
	}
	b.put("db", 3, "three")
	if _, err := b.client.DeleteSecret(ctx, &sm.DeleteSecretInput{
		SecretId: aws.String("db"), ForceDeleteWithoutRecovery: aws.Bool(true),
	}); err != nil {
		t.Error(err)
	}
}
