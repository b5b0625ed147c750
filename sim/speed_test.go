package sim

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// TestAFastClockMakesNothingLate: at this speed the function's 20 ms are 5 hours and a timer's
// millisecond is a quarter of an hour, but rotations still start within their windows of an hour.
func TestAFastClockMakesNothingLate(t *testing.T) {
	b := newBench(t, Options{Clock: FastTime(begin, 1e6), RetryDelay: time.Millisecond})
	t.Cleanup(b.Stop)
	// A pause before a retry may exceed the window, which is not an error of the clock.
	var failed sync.Map
	b.RegisterFunction(lambda, b.function(func(r request) error {
		time.Sleep(5 * time.Millisecond)
		if r.Step == "setSecret" && r.ClientRequestToken[0] < '4' { // a quarter of all rotations
			if _, again := failed.LoadOrStore(r.ClientRequestToken, true); !again {
				return errors.New("the target is down")
			}
		}
		return nil
	}))
	for i := range 10 {
		name := fmt.Sprintf("app%d", i)
		b.create(name)
		if _, err := b.client.RotateSecret(ctx,
			&sm.RotateSecretInput{SecretId: &name, RotationLambdaARN: aws.String(lambda),
				ClientRequestToken: aws.String(id(2)),
				RotationRules: &types.RotationRulesType{
					ScheduleExpression: aws.String("rate(4 hours)"), Duration: aws.String("1h"),
				}}); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(patience); b.Stats().Succeeded < 100; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("too few rotations: %+v", b.Stats())
		}
	}
	if s := b.Stats(); s.Late != 0 || s.Retried == 0 {
		t.Errorf("%+v", s)
	}
}
