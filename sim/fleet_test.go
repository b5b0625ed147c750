package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// fleet is a rotation function for many secrets, in the service's own time: each call and each step has a duration, and
// some steps fail.
type fleet struct {
	*Sim
	clock *ManualClock

	mu     sync.Mutex
	chance *rand.Rand
	fails  float64              // the share of steps that fail
	down   func(time.Time) bool // whether all targets are down
}

func (f *fleet) drawn() float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.chance.Float64()
}

// sleep waits until the clock has moved by d, in a function run by Go.
func (c *ManualClock) sleep(d time.Duration) {
	woken := make(chan struct{})
	c.At(c.Now().Add(d), func() {
		c.rest(1) // before it runs, or the clock could move in between
		close(woken)
	})
	c.rest(-1)
	<-woken
}

// apiCall makes an API call.
func apiCall[In any](f *fleet, do func(*Sim, *caller, *secret, *In) (answer, *fault), id string, in *In) (answer, error) {
	const account = "123456789012"
	c := &caller{account: account, region: "us-east-1", arn: "arn:aws:iam::" + account + ":root"}
	f.clock.sleep(20 * time.Millisecond)
	f.Sim.mu.Lock()
	defer f.Sim.mu.Unlock()
	sec, bad := f.find(c, id)
	if bad != nil {
		return nil, bad
	}
	out, bad := do(f.Sim, c, sec, in)
	if bad != nil {
		return nil, bad
	}
	return out, nil
}

// Invoke makes the rotation function's calls, seven in a rotation.
func (f *fleet) Invoke(_ context.Context, payload []byte) ([]byte, string, error) {
	var r request
	if err := json.Unmarshal(payload, &r); err != nil {
		return nil, "", err
	}
	if f.down(f.clock.Now()) || f.drawn() < f.fails {
		return nil, "", errors.New("the target does not answer")
	}
	d, err := apiCall(f, (*Sim).describeSecret, r.SecretId, &sm.DescribeSecretInput{})
	if err != nil {
		return nil, "", err
	}
	switch r.Step {
	case "createSecret":
		if _, err = apiCall(f, (*Sim).getSecretValue, r.SecretId, &sm.GetSecretValueInput{}); err != nil {
			return nil, "", err
		}
		value := "made for " + r.ClientRequestToken
		_, err = apiCall(f, (*Sim).putSecretValue, r.SecretId, &sm.PutSecretValueInput{
			ClientRequestToken: &r.ClientRequestToken, SecretString: &value,
			VersionStages: []string{pending}, RotationToken: &r.RotationToken,
		})
	case "setSecret", "testSecret":
		f.clock.sleep(200 * time.Millisecond)
	case "finishSecret":
		for v, labels := range d["VersionIdsToStages"].(map[string][]string) {
			for _, l := range labels {
				if l == current && v != r.ClientRequestToken {
					_, err = apiCall(f, (*Sim).updateSecretVersionStage, r.SecretId, &sm.UpdateSecretVersionStageInput{
						VersionStage: &l, MoveToVersionId: &r.ClientRequestToken, RemoveFromVersionId: &v,
					})
				}
			}
		}
	}
	return []byte("null"), "", err
}

// newFleet creates n secrets with a rotation schedule but without an immediate rotation.
func newFleet(tb testing.TB, n int, schedule func(i int) string) *fleet {
	tb.Helper()
	f := &fleet{
		clock: NewManualClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), chance: rand.New(rand.NewPCG(1, 2)),
		fails: 0.002, down: func(time.Time) bool { return false },
	}
	f.Sim = New(Options{Clock: f.clock, History: 4})
	f.RegisterFunction(lambda, f)
	for i := range n {
		f.clock.Advance(50 * time.Millisecond) // 20 a second
		f.must(tb, "CreateSecret",
			fmt.Sprintf(`{"Name":"s%d","ClientRequestToken":"%s","SecretString":"one"}`, i, id(1)))
		f.must(tb, "RotateSecret",
			fmt.Sprintf(`{"SecretId":"s%d","ClientRequestToken":"%s","RotationLambdaARN":"%s","RotateImmediately":false,"RotationRules":{"ScheduleExpression":%q,"Duration":"1h"}}`, i, id(2), lambda, schedule(i)))
	}
	f.clock.Advance(time.Hour)
	return f
}

func (f *fleet) must(tb testing.TB, op, in string) {
	if _, bad := operations[op](f.Sim, &caller{
		account: "123456789012", region: "us-east-1", operation: op,
	}, []byte(in)); bad != nil {
		tb.Fatal(op, bad)
	}
}

// monthly returns a monthly window of one hour, one of 28 × 6 by the secret's number.
func monthly(i int) string { return fmt.Sprintf("cron(0 %d %d * ? *)", i/28%6, i%28+1) }

// BenchmarkFleet simulates a year of many secrets that are each rotated monthly. It reports rotations, retries,
// rotations after their window, and the heap.
//
//	spread   each secret has one of 168 windows of an hour
//	same     all have the same window: the first of the month, 02:00 to 03:00
//	outage   spread, and all targets are down for two days
//	leak     all are rotated together, as after a leak, by a script that calls RotateSecret 20 times a second
func BenchmarkFleet(b *testing.B) {
	year := func(outage time.Duration) func(testing.TB, *fleet) {
		return func(_ testing.TB, f *fleet) {
			began := f.clock.Now().AddDate(0, 5, 9)
			f.down = func(t time.Time) bool { return !t.Before(began) && t.Before(began.Add(outage)) }
			f.clock.Advance(365 * day)
		}
	}
	leak := func(tb testing.TB, f *fleet) {
		f.clock.Advance(12 * time.Hour) // away from all windows
		for i := range len(f.secrets) {
			f.clock.Advance(50 * time.Millisecond)
			f.must(tb, "RotateSecret", fmt.Sprintf(`{"SecretId":"s%d","ClientRequestToken":"%s"}`, i, id(3)))
		}
		f.clock.Advance(time.Hour)
	}
	for _, c := range []struct {
		name     string
		n        int
		schedule func(int) string
		live     func(testing.TB, *fleet)
	}{
		{"spread/1000", 1000, monthly, year(0)},
		{"spread/10000", 10000, monthly, year(0)},
		{"same/10000", 10000, func(int) string { return "cron(0 2 1 * ? *)" }, year(0)},
		{"outage/10000", 10000, monthly, year(48 * time.Hour)},
		{"leak/10000", 10000, monthly, leak},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				f := newFleet(b, c.n, c.schedule)
				before := f.Stats()
				c.live(b, f)
				s := f.Stats()
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				b.ReportMetric(float64(s.Succeeded-before.Succeeded), "rotations")
				b.ReportMetric(float64(s.Retried), "retried")
				b.ReportMetric(float64(s.Late), "late")
				b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MiB")
				runtime.KeepAlive(f)
			}
		})
	}
}

func TestAFleetIsRotatedInItsWindows(t *testing.T) {
	f := newFleet(t, 56, monthly)
	f.fails = 0
	f.clock.Advance(365 * day)
	if s := f.Stats(); s.Succeeded != 56*12 && s.Succeeded != 56*12+2 || s.Late != 0 || s.Retried != 0 {
		t.Errorf("%+v", s)
	}
	for _, sec := range f.secrets {
		if sec.Rotation.Last.Hour() > 6 || strings.Count(fmt.Sprint(sec.byVersion()), current) != 1 {
			t.Errorf("%s was rotated at %s: %v", sec.Name, sec.Rotation.Last, sec.Labels)
		}
	}
}
