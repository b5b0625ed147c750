package sim

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

func TestFaultsAreReadAndPrintedTheSame(t *testing.T) {
	for _, args := range [][]string{
		{"all"}, {"seed=7", "all"}, {"all=0.3", "slow=0"}, {"crash"}, {"duplicate=0.5", "slow=1", "seed=3"},
		{"throttle,stale-read=0.2"},
	} {
		f, err := ParseFaults(args)
		if err != nil || f == nil {
			t.Errorf("%q: %v", args, err)
			continue
		}
		again, err := ParseFaults([]string{f.String()})
		if err != nil || again.String() != f.String() {
			t.Errorf("%q: %s is read as %s, %v", args, f, again, err)
		}
		for _, k := range AllFaults {
			want := map[string]float64{"all": lowRate, "all=0.3": 0.3}[args[0]]
			if k == Slow && len(args) > 1 {
				want = 0
			}
			if strings.HasPrefix(args[0], "all") && f.rate(k) != want {
				t.Errorf("%q: %s has the rate %g", args, k, f.rate(k))
			}
		}
	}
	if f, err := ParseFaults(nil); f != nil || err != nil || f.String() != "none" {
		t.Errorf("no arguments are %v, %v", f, err)
	}
	for _, bad := range []string{
		"nonsense", "crash=2", "crash=-1", "crash=NaN", "crash=x", "seed=x", "all=2", "none", "",
	} {
		if _, err := ParseFaults([]string{bad}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func (b *bench) setStaleFor(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.staleFor = d
}

func only(k Fault) Options { return Options{Faults: NewFaults(1, map[Fault]float64{k: 1})} }

func TestTheSameSeedGivesTheSameFaults(t *testing.T) {
	run := func() (out string) {
		f := NewFaults(42, map[Fault]float64{Throttle: 0.3})
		for range 50 {
			out += fmt.Sprint(f.hit(Throttle))
		}
		return out
	}
	if a := run(); a != run() || !strings.Contains(a, "true") || !strings.Contains(a, "false") {
		t.Error("two runs differ, or nothing was hit")
	}
}

func TestFaultThrottleRefusesBeforeAnythingIsDone(t *testing.T) {
	b := newBench(t, only(Throttle))
	_, err := b.client.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("db")})
	refused(t, err, "ThrottlingException", "Rate exceeded")
	if b.count() != 0 {
		t.Error("the secret was created")
	}
}

func TestFaultLostAnswerDoesItsWorkAndTheSDKRetries(t *testing.T) {
	b := newBench(t, Options{Faults: NewFaults(2, map[Fault]float64{LostAnswer: 0.4})})
	for i := range 20 {
		if _, err := b.client.CreateSecret(ctx, &sm.CreateSecretInput{
			Name: aws.String(fmt.Sprint("s", i)), SecretString: aws.String("v"),
		}, patient); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.count(); n != 20 {
		t.Errorf("%d secrets, not 20", n)
	}
	b = newBench(t, only(LostAnswer))
	if _, err := b.client.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("db")}); err == nil {
		t.Error("there was an answer")
	}
	if b.count() != 1 {
		t.Error("the call was not done")
	}
}

func TestFaultStaleReadMissesTheLastWriteForAWhile(t *testing.T) {
	b := newBench(t, only(StaleRead))
	b.setStaleFor(time.Hour)
	b.create("db")
	b.settle(time.Minute)
	b.put("db", 2, "two", pending)
	_, err := b.client.GetSecretValue(ctx, &sm.GetSecretValueInput{
		SecretId: aws.String("db"), VersionStage: aws.String(pending),
	})
	refused(t, err, "ResourceNotFoundException",
		"Secrets Manager can't find the specified secret value for staging label: AWSPENDING")
	b.wantStages("db", "1:[AWSCURRENT]")
	b.setStaleFor(0)
	b.wantStages("db", "1:[AWSCURRENT] 2:[AWSPENDING]")
}

func TestFaultSlowHoldsACallUp(t *testing.T) {
	b := newBench(t, Options{Faults: NewFaults(1, map[Fault]float64{Slow: 1})})
	begin := time.Now()
	for range 3 {
		if _, err := b.client.ListSecrets(ctx, &sm.ListSecretsInput{}); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begin); took < 100*time.Millisecond {
		t.Errorf("three slow calls took %s", took)
	}
}

func TestFaultDuplicateRunsEachStepTwiceWithTheSameTokenAndFreshProofs(t *testing.T) {
	b := newBench(t, only(DuplicateStep))
	b.create("db")
	var got []string
	proofs := map[string]bool{}
	b.RegisterFunction(lambda, b.function(func(r request) error {
		got = append(got, r.Step[:1]+r.ClientRequestToken[35:])
		proofs[r.RotationToken] = true
		return nil
	}))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitRotation(ctx, "db"); err != nil {
		t.Fatal(err)
	}
	if s := strings.Join(got, " "); s != "c2 c2 s2 s2 t2 t2 f2 f2" || len(proofs) != 8 {
		t.Errorf("%s with %d rotation tokens", s, len(proofs))
	}
}

func TestFaultsCrashAndDeadlineEndTheFunction(t *testing.T) {
	for _, k := range []Fault{Crash, Deadline} {
		o := only(k)
		o.MaxAttempts = 1
		b := newBench(t, o)
		b.create("db")
		b.RegisterFunction(lambda, InvokerFunc(func(ctx context.Context, _ []byte) ([]byte, string, error) {
			if _, limited := ctx.Deadline(); limited != (k == Deadline) {
				t.Errorf("%s: whether the function has a deadline: %t", k, limited)
			}
			<-ctx.Done()
			return nil, "", ctx.Err()
		}))
		if err := b.rotate("db", 2); err != nil {
			t.Fatal(err)
		}
		if err := b.WaitRotation(ctx, "db"); err == nil || !strings.Contains(err.Error(), "during createSecret step") {
			t.Errorf("%s: %v", k, err)
		}
		b.wantStages("db", "1:[AWSCURRENT] 2:[AWSPENDING]")
	}
}

func TestStaleReadsFollowTheClientsTimeNotTheClock(t *testing.T) {
	b := newBench(t, only(StaleRead))
	b.setStaleFor(time.Hour)
	b.create("db")
	b.put("db", 2, "two", pending)
	b.settle(day)
	b.wantStages("db", "1:[AWSCURRENT]")
}
