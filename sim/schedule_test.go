package sim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

const stampForm = "2006-01-02T15:04:05Z"

// rules parses an expression and a duration, unless they are "".
func rules(expression, duration string) (*schedule, error) {
	var r types.RotationRulesType
	if expression != "" {
		r.ScheduleExpression = &expression
	}
	if duration != "" {
		r.Duration = &duration
	}
	return newSchedule(&r)
}

// begin is Tuesday, 2026-02-03.
func TestWindowsFollowTheSchedule(t *testing.T) {
	for _, c := range []struct{ expression, duration, open, end string }{
		{"rate(30 days)", "", "2026-03-05T00:00:00Z", "2026-03-05T23:59:59Z"}, // as measured on AWS
		{"rate(1 day)", "3h", "2026-02-04T00:00:00Z", "2026-02-04T03:00:00Z"},
		{"rate(4 hours)", "", "2026-02-03T12:00:00Z", "2026-02-03T13:00:00Z"},
		{"rate(12 hours)", "2h", "2026-02-03T12:00:00Z", "2026-02-03T14:00:00Z"},
		{"cron(0 /8 * * ? *)", "", "2026-02-03T16:00:00Z", "2026-02-03T17:00:00Z"},
		{"cron(0 2/10 * * ? *)", "", "2026-02-03T12:00:00Z", "2026-02-03T13:00:00Z"},
		{"cron(0 10 * * ? *)", "", "2026-02-04T10:00:00Z", "2026-02-04T23:59:59Z"},
		{"cron(0 18 ? * SAT *)", "", "2026-02-07T18:00:00Z", "2026-02-07T23:59:59Z"},
		{"cron(0 1 ? 1/3 SUN#1 *)", "2h", "2026-04-05T01:00:00Z", "2026-04-05T03:00:00Z"},
		{"cron(0 17 L * ? *)", "", "2026-02-28T17:00:00Z", "2026-02-28T23:59:59Z"},
		{"cron(0 8 ? * MON-FRI *)", "4h", "2026-02-04T08:00:00Z", "2026-02-04T12:00:00Z"},
		{"cron(0 0 SUNL * ? *)", "", "2026-02-22T00:00:00Z", "2026-02-22T23:59:59Z"},
		{"cron(0 0 ? * 6L *)", "", "2026-02-27T00:00:00Z", "2026-02-27T23:59:59Z"},
		{"cron(0 0 1,15 * ? *)", "", "2026-02-15T00:00:00Z", "2026-02-15T23:59:59Z"},
		{"cron(0 0 29 FEB ? *)", "", "2028-02-29T00:00:00Z", "2028-02-29T23:59:59Z"},
		{"cron(0 0 ? FEB SUN#5 *)", "", "2032-02-29T00:00:00Z", "2032-02-29T23:59:59Z"}, // 28 years before the next
		{"cron(0 6,18 * * ? *)", "12h", "2026-02-03T18:00:00Z", "2026-02-04T06:00:00Z"},
	} {
		s, err := rules(c.expression, c.duration)
		if err != nil {
			t.Errorf("%s: %v", c.expression, err)
			continue
		}
		open, end := s.window(begin)
		if next, _ := s.window(open); !next.After(open) || s.days < 1 {
			t.Errorf("%s: the next window opens at %s, after %d days", c.expression, next, s.days)
		}
		if got, want := open.Format(stampForm)+" "+end.Format(stampForm), c.open+" "+c.end; got != want {
			t.Errorf("%s %s: %s, not %s", c.expression, c.duration, got, want)
		}
	}
}

func TestBadSchedulesAreRefused(t *testing.T) {
	for _, c := range []struct{ expression, duration string }{
		{"rate(0 days)", ""}, {"rate(3 hours)", ""}, {"rate(10 minutes)", ""}, {"rate(1 day", ""}, {"every day", ""},
		{"rate(99999999999999999999 days)", ""},
		{"cron(5 1 * * ? *)", ""}, {"cron(0 1 * * ? 2026)", ""}, {"cron(0 1 * * * *)", ""}, {"cron(0 1 ? * ? *)", ""},
		{"cron(0 1 * * ?)", ""},
		{"cron(0 24 * * ? *)", ""}, {"cron(0 * * * ? *)", ""}, {"cron(0 /3 * * ? *)", ""}, {"cron(0 1,3 * * ? *)", ""},
		{"cron(0 0,22 * * ? *)", ""},
		{"cron(0 1 32 * ? *)", ""}, {"cron(0 1 0 * ? *)", ""}, {"cron(0 1 30 2 ? *)", ""}, {"cron(0 1 ? 13 MON *)", ""},
		{"cron(0 1 ? * MON#6 *)", ""}, {"cron(0 1 ? * NOD *)", ""}, {"cron(0 1 ? * FRI-MON *)", ""},
		{"cron(0 1/0 * * ? *)", ""},
		{"cron(0 1 1/9223372036854775807 * ? *)", ""},
		{"rate(4 hours)", "5h"}, {"cron(0 20 * * ? *)", "5h"}, {"cron(0 /8 * * ? *)", "9h"}, {"rate(1 day)", "25h"},
		{"rate(1 day)", "0h"}, {"", "3h"},
	} {
		if s, err := rules(c.expression, c.duration); err == nil {
			t.Errorf("%q %q was accepted: %+v", c.expression, c.duration, s)
		}
	}
}

func FuzzSchedule(f *testing.F) {
	f.Add("rate(30 days)", "3h")
	f.Add("cron(0 1 ? 1/3 SUN#1 *)", "")
	f.Add("cron(0 2/10 L * ? *)", "2h")
	f.Fuzz(func(t *testing.T, expression, duration string) {
		s, err := rules(expression, duration)
		if err != nil || s == nil {
			return
		}
		open, end := s.window(begin)
		next, _ := s.window(open)
		if !open.After(begin) || !end.After(open) || !next.After(open) || next.Before(end) && end.Sub(next) > 0 &&
			s.length == 0 {
			t.Errorf("%q %q: %s to %s, then %s", expression, duration, open, end, next)
		}
		if s.days < 1 {
			t.Errorf("%q: %d days", expression, s.days)
		}
	})
}

// scheduled returns a service with a secret on a schedule, first rotated by hand at begin.
func scheduled(t *testing.T, o Options, r types.RotationRulesType, each func(request) error) *bench {
	t.Helper()
	b := newBench(t, o)
	b.create("db")
	b.RegisterFunction(lambda, b.function(each))
	if err := b.rotate("db", 2, func(in *sm.RotateSecretInput) { in.RotationRules = &r }); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitRotation(ctx, "db"); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) next() string {
	b.Helper()
	d, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("db")})
	if err != nil {
		b.Fatal(err)
	}
	if d.NextRotationDate == nil {
		return "never"
	}
	return d.NextRotationDate.UTC().Format(stampForm)
}

func TestAScheduledRotationHappensInsideItsWindow(t *testing.T) {
	var at []time.Time
	var b *bench
	b = scheduled(t, Options{}, types.RotationRulesType{
		ScheduleExpression: aws.String("cron(0 10 * * ? *)"), Duration: aws.String("2h"),
	}, func(r request) error {
		if r.Step == "createSecret" && b != nil {
			at = append(at, b.clock.Now())
		}
		return nil
	})
	b.settle(4 * time.Hour) // the day's window must not be open
	for i := range 5 {
		if got, want := b.next(), fmt.Sprintf("2026-02-%02dT12:00:00Z", 4+i); got != want {
			t.Errorf("NextRotationDate is %s, not %s", got, want)
		}
		b.settle(day)
	}
	if len(at) != 5 {
		t.Fatalf("%d rotations in five days", len(at))
	}
	different := map[string]bool{}
	for _, when := range at {
		if when.Hour() < 10 || when.Hour() > 11 {
			t.Errorf("rotated at %s", when)
		}
		different[when.Format("15:04:05")] = true
	}
	if len(different) < 2 {
		t.Error("every rotation was at the same moment of its window")
	}
	if s := b.Stats(); s.Late != 0 || s.Succeeded != 6 {
		t.Errorf("%+v", s)
	}
}

func TestAValueSetByHandPostponesTheNextRotation(t *testing.T) {
	b := scheduled(t, Options{}, types.RotationRulesType{
		AutomaticallyAfterDays: aws.Int64(30),
	}, func(request) error { return nil })
	if got := b.next(); got != "2026-03-05T23:59:59Z" {
		t.Errorf("next is %s", got)
	}
	b.settle(10 * day)
	d, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("db")})
	if err != nil {
		t.Fatal(err)
	}
	b.put("db", 3, "by hand")
	if got := b.next(); got != "2026-03-15T23:59:59Z" {
		t.Errorf("next is %s", got)
	}
	after, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("db")})
	if err != nil || !after.LastRotatedDate.Equal(*d.LastRotatedDate) {
		t.Errorf("LastRotatedDate moved to %v, %v", after, err)
	}
}

func TestAutomaticallyAfterDaysIsDerivedAndShownWithTheExpression(t *testing.T) {
	for expression, want := range map[string]int64{
		"rate(10 days)": 10, "rate(12 hours)": 1, "rate(30 hours)": 2, "cron(0 8 ? * SAT *)": 7,
		"cron(0 0 ? FEB SUN#5 *)": 28*365 + 7,
	} {
		b := scheduled(t, Options{}, types.RotationRulesType{
			ScheduleExpression: aws.String(expression),
		}, func(request) error { return nil })
		d, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("db")})
		if err != nil || aws.ToInt64(d.RotationRules.AutomaticallyAfterDays) != want ||
			aws.ToString(d.RotationRules.ScheduleExpression) != expression {
			t.Errorf("%s: %+v, %v", expression, d, err)
		}
	}
}

func TestAFailedRotationIsReattemptedInTheNextWindowWithItsToken(t *testing.T) {
	broken, tokens := false, map[string]bool{}
	b := scheduled(t, Options{MaxAttempts: 2}, types.RotationRulesType{
		AutomaticallyAfterDays: aws.Int64(1),
	}, func(r request) error {
		if broken {
			tokens[r.ClientRequestToken] = true
			return fmt.Errorf("down")
		}
		return nil
	})
	broken = true
	b.settle(3*day + 13*time.Hour + 30*time.Minute) // to midnight
	if got := b.next(); got != "2026-02-04T23:59:59Z" {
		t.Errorf("NextRotationDate is %s, which must be in the past", got)
	}
	if len(tokens) != 1 {
		t.Errorf("%d tokens, not one", len(tokens))
	}
	broken = false
	b.settle(24 * time.Hour)
	if s := b.Stats(); s.Succeeded != 2 || s.Late != 1 {
		t.Errorf("%+v", s)
	}
	if got := b.next(); !strings.HasPrefix(got, "2026-02-0") || got < "2026-02-08" {
		t.Errorf("next is %s", got)
	}
}

func TestARotationThatFailsAfterItsPromotionWaitsForTheNextWindow(t *testing.T) {
	b := newBench(t, Options{MaxAttempts: 1})
	b.create("db")
	n, template := 0, b.function(func(request) error { return nil })
	b.RegisterFunction(lambda, InvokerFunc(func(ctx context.Context, payload []byte) ([]byte, string, error) {
		body, functionError, err := template(ctx, payload)
		if strings.Contains(string(payload), "finishSecret") {
			if n++; n < 20 { // do not fail forever: Advance waits until nothing is due
				err = errors.New("down")
			}
		}
		return body, functionError, err
	}))
	if err := b.rotate("db", 2, func(in *sm.RotateSecretInput) {
		in.RotationRules = &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(1)}
	}); err != nil {
		t.Fatal(err)
	}
	b.settle(3*day + 13*time.Hour + 30*time.Minute) // to midnight
	if s := b.Stats(); n != 4 || s.Started != 4 || s.Failed != 4 {
		t.Errorf("%d rotations in three windows and one by hand: %+v", n, s)
	}
}

func TestCancelRemovesNextRotationDateAndDeletedSecretsAreNotRotated(t *testing.T) {
	n := 0
	b := scheduled(t, Options{}, types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(1)}, func(request) error {
		n++
		return nil
	})
	n = 0
	if _, err := b.client.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: aws.String("db")}); err != nil {
		t.Fatal(err)
	}
	b.settle(3 * day)
	if n != 0 {
		t.Errorf("%d steps for a deleted secret", n)
	}
	if _, err := b.client.RestoreSecret(ctx, &sm.RestoreSecretInput{SecretId: aws.String("db")}); err != nil {
		t.Fatal(err)
	}
	b.settle(2*day + 13*time.Hour + 30*time.Minute) // to midnight
	if n != 8 {
		t.Errorf("%d steps in two days after it was restored", n)
	}
	if _, err := b.client.CancelRotateSecret(ctx, &sm.CancelRotateSecretInput{SecretId: aws.String("db")}); err != nil {
		t.Fatal(err)
	}
	b.settle(3 * day)
	if got := b.next(); got != "never" || n != 8 {
		t.Errorf("next is %s, %d steps", got, n)
	}
}

func TestARestoredSecretKeepsItsNextRotation(t *testing.T) {
	b := scheduled(t, Options{}, types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)},
		func(request) error { return nil })
	b.settle(25 * day)
	db := aws.String("db")
	if _, err := b.client.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: db}); err != nil {
		t.Fatal(err)
	}
	b.settle(day)
	if _, err := b.client.RestoreSecret(ctx, &sm.RestoreSecretInput{SecretId: db}); err != nil {
		t.Fatal(err)
	}
	b.settle(5 * day)
	if s := b.Stats(); s.Succeeded != 2 || s.Late != 0 || b.next() < "2026-04-03" {
		t.Errorf("%+v, then %s", s, b.next())
	}
}

func TestTheEndOfTheRecoveryWindowErasesTheSecret(t *testing.T) {
	b := newBench(t, Options{})
	arn := b.create("db")
	if _, err := b.client.DeleteSecret(ctx, &sm.DeleteSecretInput{
		SecretId: &arn, RecoveryWindowInDays: aws.Int64(7),
	}); err != nil {
		t.Fatal(err)
	}
	b.settle(7*day - time.Second)
	d, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &arn})
	if err != nil || d.DeletedDate == nil || !d.DeletedDate.Equal(begin.AddDate(0, 0, 7)) {
		t.Errorf("%+v, %v", d, err)
	}
	b.settle(time.Second)
	_, err = b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &arn})
	refused(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	if !strings.Contains(b.trace(), "StartSecretVersionDelete") ||
		!strings.Contains(b.trace(), "EndSecretVersionDelete") {
		t.Error(b.trace())
	}
}

func TestAFastClockRunsSchedulesInRealTime(t *testing.T) {
	done := make(chan struct{}, 100)
	b := newBench(t, Options{Clock: FastTime(begin, 3600*24)}) // a day in a second
	b.create("db")
	b.RegisterFunction(lambda, b.function(func(r request) error {
		if r.Step == "finishSecret" {
			done <- struct{}{}
		}
		return nil
	}))
	if err := b.rotate("db", 2, func(in *sm.RotateSecretInput) {
		in.RotationRules = &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(1)}
	}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Fatal("no rotation came")
		}
	}
}

func TestAWindowThatOpensWhileATestRunsIsNotLost(t *testing.T) {
	b := newBench(t, Options{Clock: FastTime(begin, 3600*24)}) // a day in a second
	defer b.Stop()
	b.create("db")
	b.RegisterFunction(lambda, b.function(func(r request) error {
		if r.ClientRequestToken == id(2) {
			time.Sleep(500 * time.Millisecond) // twelve hours, and three windows
		}
		return nil
	}))
	if err := b.rotate("db", 2, func(in *sm.RotateSecretInput) {
		in.RotateImmediately = aws.Bool(false)
		in.RotationRules = &types.RotationRulesType{ScheduleExpression: aws.String("rate(4 hours)")}
	}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); b.Stats().Succeeded == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no rotation in ten days of rate(4 hours): %+v", b.Stats())
		}
	}
}

func TestWindowsOfARateInHoursAreOneIntervalApart(t *testing.T) {
	for _, hours := range []int{4, 5, 7, 12, 30, 36, 48} {
		s, err := rules(fmt.Sprintf("rate(%d hours)", hours), "")
		if err != nil {
			t.Fatal(err)
		}
		open, _ := s.window(begin)
		if open.Sub(begin) > time.Duration(hours)*time.Hour {
			t.Errorf("%d hours: the first window opens at %s", hours, open)
		}
		for range 10 {
			next, _ := s.window(open.Add(20 * time.Minute)) // a rotation inside the window
			if got := next.Sub(open); got != time.Duration(hours)*time.Hour {
				t.Errorf("%d hours: the windows %s and %s are %s apart", hours, open.Format(stampForm),
					next.Format(stampForm), got)
			}
			open = next
		}
	}
}
