package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

func TestRotationStagesAPlaceholderSendsFourEventsAndMovesTheLabels(t *testing.T) {
	b := newBench(t, Options{})
	arn := b.create("db")
	var mu sync.Mutex
	var got []request
	hold := make(chan struct{})
	b.RegisterFunction(lambda, b.function(func(r request) error {
		<-hold
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r)
		return nil
	}))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	// RotateSecret has answered and no step has run: the placeholder exists.
	b.wantStages("db", "1:[AWSCURRENT] 2:[AWSPENDING]")
	for _, in := range []*sm.GetSecretValueInput{
		{SecretId: &arn, VersionStage: aws.String(pending)},
		{SecretId: &arn, VersionId: aws.String(id(2))},
		{SecretId: &arn, VersionId: aws.String(id(2)), VersionStage: aws.String(pending)},
	} {
		_, err := b.client.GetSecretValue(ctx, in)
		refused(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for ")
	}
	list, err := b.client.ListSecretVersionIds(ctx, &sm.ListSecretVersionIdsInput{
		SecretId: &arn, IncludeDeprecated: aws.Bool(true),
	})
	if err != nil || len(list.Versions) != 1 {
		t.Errorf("the placeholder is listed: %v, %v", list, err)
	}
	refused(t, b.rotate("db", 3), "InvalidRequestException",
		"A previous rotation isn't complete. That rotation will be reattempted.")
	if err := b.rotate("db", 2); err != nil {
		t.Errorf("a replay of RotateSecret: %v", err)
	}
	close(hold)
	if err := b.WaitRotation(ctx, "db"); err != nil {
		t.Fatal(err)
	}
	b.wantStages("db", "1:[AWSPREVIOUS] 2:[AWSCURRENT]")
	proofs := map[string]bool{}
	for i, r := range got {
		if r.Step != steps[i] || r.SecretId != arn || r.ClientRequestToken != id(2) || len(r.RotationToken) != 36 ||
			r.RotationToken != strings.ToLower(r.RotationToken) {
			t.Errorf("event %d is %+v", i, r)
		}
		proofs[r.RotationToken] = true
	}
	if len(got) != 4 || len(proofs) != 4 {
		t.Errorf("%d events with %d rotation tokens, not 4 and 4", len(got), len(proofs))
	}
	d, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &arn})
	if err != nil || d.LastRotatedDate == nil || !aws.ToBool(d.RotationEnabled) ||
		aws.ToString(d.RotationLambdaARN) != lambda {
		t.Errorf("after the rotation: %+v, %v", d, err)
	}
}

func TestFailedRotationIsRetriedFromCreateSecretWithTheSameToken(t *testing.T) {
	b := newBench(t, Options{MaxAttempts: 3})
	b.create("db")
	var got []request
	fail := 2
	b.RegisterFunction(lambda, b.function(func(r request) error {
		got = append(got, r)
		if r.Step == "setSecret" && fail > 0 {
			fail--
			return errors.New("no route to the host")
		}
		return nil
	}))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	b.settle(99 * time.Second)
	b.wantStages("db", "1:[AWSCURRENT] 2:[AWSPENDING]")
	if len(got) != 2 {
		t.Fatalf("%d invocations before the first retry, not 2", len(got))
	}
	b.settle(102 * time.Second)
	b.wantStages("db", "1:[AWSPREVIOUS] 2:[AWSCURRENT]")
	var seq []string
	for _, r := range got {
		seq = append(seq, r.Step[:1])
		if r.ClientRequestToken != id(2) {
			t.Errorf("token %s", r.ClientRequestToken)
		}
	}
	if s := strings.Join(seq, ""); s != "cscscstf" {
		t.Errorf("the steps were %s", s)
	}
	if st := b.Stats(); st.Retried != 2 || st.Succeeded != 1 {
		t.Errorf("%+v", st)
	}
}

func TestRotationWithoutMovedLabelsFails(t *testing.T) {
	b := newBench(t, Options{MaxAttempts: 2})
	b.create("db")
	n := 0
	b.RegisterFunction(lambda, InvokerFunc(func(context.Context, []byte) ([]byte, string, error) {
		n++
		return []byte("null"), "", nil
	}))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	b.settle(time.Hour)
	if err := b.WaitRotation(ctx, "db"); err == nil || !strings.Contains(err.Error(), "not AWSCURRENT") {
		t.Errorf("the rotation ended with %v", err)
	}
	if n != 8 {
		t.Errorf("%d invocations, not 8", n)
	}
	// The step succeeded; the event says what is wrong.
	h, err := b.History("db")
	if err != nil || len(h) < 2 {
		t.Fatalf("%+v, %v", h, err)
	}
	if step, event := h[len(h)-2], h[len(h)-1]; step.Step != "finishSecret" || step.Message != "" ||
		event.Event != "RotationFailed" || !strings.Contains(event.Message, "not AWSCURRENT") {
		t.Errorf("%+v\n%+v", step, event)
	}
	b.wantStages("db", "1:[AWSCURRENT] 2:[AWSPENDING]")
}

func TestRotationIsAbandonedByANewCurrentValue(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	b.RegisterFunction(lambda, b.function(func(r request) error {
		if r.Step == "setSecret" {
			return errors.New("refused")
		}
		return nil
	}))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	b.settle(time.Second)
	b.put("db", 3, "by hand")
	if err := b.WaitRotation(ctx, "db"); err == nil {
		t.Error("an abandoned rotation ended well")
	}
	b.wantStages("db", "1:[AWSPREVIOUS] 3:[AWSCURRENT]")
	history, err := b.History("db")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range history {
		if p.Event != "" {
			names = append(names, p.Event)
		}
	}
	if got := strings.Join(names, " "); got != "RotationStarted RotationFailed RotationAbandoned" {
		t.Errorf("events %s", got)
	}
}

func TestRotateImmediatelyFalseOnlyTestsACopyAndRemovesIt(t *testing.T) {
	for _, fails := range []bool{false, true} {
		b := newBench(t, Options{})
		b.create("db")
		var got []string
		b.RegisterFunction(lambda, b.function(func(r request) error {
			v, err := b.client.GetSecretValue(ctx, &sm.GetSecretValueInput{
				SecretId: &r.SecretId, VersionId: &r.ClientRequestToken, VersionStage: aws.String(pending),
			})
			if err != nil {
				return err
			}
			got = append(got, r.Step+" "+*v.SecretString)
			if fails {
				return errors.New("no")
			}
			return nil
		}))
		if err := b.rotate("db", 2, func(in *sm.RotateSecretInput) {
			in.RotateImmediately = aws.Bool(false)
			in.RotationRules = &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)}
		}); err != nil {
			t.Fatal(err)
		}
		b.settle(time.Hour)
		b.wantStages("db", "1:[AWSCURRENT]")
		if len(got) != 1 || got[0] != "testSecret one" {
			t.Errorf("invocations %q", got)
		}
		d, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("db")})
		if err != nil || d.LastRotatedDate != nil || d.NextRotationDate == nil || !aws.ToBool(d.RotationEnabled) {
			t.Errorf("%+v, %v", d, err)
		}
		_, err = b.client.GetSecretValue(ctx, &sm.GetSecretValueInput{
			SecretId: aws.String("db"), VersionId: aws.String(id(2)),
		})
		refused(t, err, "ResourceNotFoundException", "")
		want := "TestRotationSucceeded"
		if fails {
			want = "TestRotationFailed"
		}
		if !strings.Contains(b.trace(), `"TestRotationStarted"`) ||
			!strings.Contains(b.trace(), `"`+want+`"`) || strings.Contains(b.trace(), `"RotationStarted"`) {
			t.Errorf("events %s", b.trace())
		}
	}
}

func TestCancelStopsAfterTheRunningStepAndKeepsThePendingLabel(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	started, hold := make(chan struct{}), make(chan struct{})
	n := 0
	b.RegisterFunction(lambda, b.function(func(r request) error {
		n++
		close(started)
		<-hold
		return nil
	}))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	<-started
	out, err := b.client.CancelRotateSecret(ctx, &sm.CancelRotateSecretInput{SecretId: aws.String("db")})
	if err != nil || aws.ToString(out.VersionId) != id(2) {
		t.Errorf("%+v, %v", out, err)
	}
	close(hold)
	if err := b.WaitRotation(ctx, "db"); !errors.Is(err, errCanceled) {
		t.Errorf("the rotation ended with %v", err)
	}
	if n != 1 {
		t.Errorf("%d steps, not 1", n)
	}
	b.wantStages("db", "1:[AWSCURRENT] 2:[AWSPENDING]")
	d, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("db")})
	if err != nil || aws.ToBool(d.RotationEnabled) || d.NextRotationDate != nil || d.RotationLambdaARN == nil {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestATestCanceledBeforeItsStepSaysWhy(t *testing.T) {
	var b *bench
	message := ""
	b = newBench(t, Options{Trace: func(p Progress) {
		switch p.Event {
		case "TestRotationStarted":
			sec, _ := b.own("db")
			sec.Rotation.Enabled = false // as CancelRotateSecret does
		case "TestRotationFailed":
			message = p.Message
		}
	}})
	b.create("db")
	b.RegisterFunction(lambda, b.function(func(request) error { return nil }))
	if err := b.rotate("db", 2, func(in *sm.RotateSecretInput) { in.RotateImmediately = aws.Bool(false) }); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitRotation(ctx, "db"); !errors.Is(err, errCanceled) || message != errCanceled.Error() {
		t.Errorf("the rotation ended with %v and the message %q", err, message)
	}
}

func TestAnOperatorMayStartAnewWhileAStepOfTheOldRotationRuns(t *testing.T) {
	events := make(chan string, 20)
	b := newBench(t, Options{Trace: func(p Progress) { events <- p.Event }})
	b.create("db")
	reached, old, new := make(chan string), make(chan struct{}), make(chan struct{})
	b.RegisterFunction(lambda, b.function(func(r request) error {
		switch {
		case r.ClientRequestToken == id(2):
			reached <- r.Step
			<-old
			return errors.New("too late")
		case r.Step == "createSecret":
			reached <- r.Step
			<-new
		}
		return nil
	}))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	<-reached
	if _, err := b.client.UpdateSecretVersionStage(ctx, &sm.UpdateSecretVersionStageInput{
		SecretId: aws.String("db"), VersionStage: aws.String(pending), RemoveFromVersionId: aws.String(id(2)),
	}); err != nil {
		t.Fatal(err)
	}
	if err := b.rotate("db", 3); err != nil {
		t.Fatal(err)
	}
	<-reached
	close(old)
	for name := range events {
		if name == "RotationAbandoned" {
			break
		}
	}
	// The end of the old rotation does not end the new one.
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := b.WaitRotation(gone, "db"); !errors.Is(err, context.Canceled) {
		t.Errorf("while the new rotation runs: %v", err)
	}
	close(new)
	if err := b.WaitRotation(ctx, "db"); err != nil {
		t.Error(err)
	}
	b.wantStages("db", "1:[AWSPREVIOUS] 3:[AWSCURRENT]")
	if st := b.Stats(); st.Succeeded != 1 || st.Abandoned != 1 {
		t.Errorf("%+v", st)
	}
}

func TestRotateSecretRefuses(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	none := func(in *sm.RotateSecretInput) { in.RotationLambdaARN = nil }
	rules := func(r types.RotationRulesType) func(*sm.RotateSecretInput) {
		return func(in *sm.RotateSecretInput) { in.RotationRules = &r }
	}
	refused(t, b.rotate("db", 2, none), "InvalidRequestException",
		"No Lambda rotation function ARN is associated with this secret.")
	refused(t, b.rotate("db", 2), "AccessDeniedException",
		"Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access "+
			"to the principal secretsmanager.amazonaws.com.")
	b.RegisterFunction(lambda, b.function(func(request) error { return nil }))
	refused(t, b.rotate("db", 2, rules(types.RotationRulesType{
		AutomaticallyAfterDays: aws.Int64(3), ScheduleExpression: aws.String("rate(3 days)"),
	})),
		"InvalidParameterException", "You cannot specify both rotation frequency and schedule expression together.")
	refused(t, b.rotate("db", 2, rules(types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(1001)})),
		"ValidationException", "1 validation error detected: Value '1001' at 'rotationRules.automaticallyAfterDays' "+
			"failed to satisfy constraint: Member must have value less than or equal to 1000")
	refused(t, b.rotate("db", 2, rules(types.RotationRulesType{ScheduleExpression: aws.String("rate(1 hour)")})),
		"InvalidParameterException", "Invalid rotation rules")
	refused(t, b.rotate("db", 1), "ResourceExistsException", "You can't use ClientRequestToken "+id(1))
	d, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("db")})
	if err != nil || d.RotationEnabled != nil || d.RotationLambdaARN != nil || d.RotationRules != nil {
		t.Errorf("a refusal changed the secret: %+v, %v", d, err)
	}
	b.wantStages("db", "1:[AWSCURRENT]")
}

func TestNoValueIsInTheErrorOfARotation(t *testing.T) {
	b := newBench(t, Options{MaxAttempts: 1})
	b.create("db")
	b.put("db", 5, `{"username":"alice","password":"hunter22"}`)
	b.RegisterFunction(lambda, b.function(func(request) error {
		return errors.New("alice may not log in with hunter22")
	}))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	b.settle(0)
	h, err := b.History("db")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(h)
	if all := string(text) + b.trace(); strings.Contains(all, "hunter22") ||
		!strings.Contains(all, "alice may not log in with ***") {
		t.Error(all)
	}
}

func TestNoFormOfAValueIsInTheErrorOfARotation(t *testing.T) {
	for _, c := range []struct {
		name, text string
		binary     []byte
		said, leak string
	}{
		{"escaped as JSON", `{"password":"hun\"xyz<22>&é"}`, nil, "no login with hun\"xyz<22>&é", "xyz"},
		{"quoted once more", `{"password":"hun\"xyz<22>&"}`, nil, fmt.Sprintf("no login with %q", `hun"xyz<22>&`),
			"xyz"},
		{"JSON quoted for Go", `{"password":"hun\"xyz"}`, nil, fmt.Sprintf("no login with %q", `{"pw":"hun\"xyz"}`),
			"xyz"},
		{"one that begins another", `{"a":"pass","password":"passw0rd1234"}`, nil, "no login with passw0rd1234",
			"w0rd1234"},
		{"one that begins with the host's name", `{"host":"hunter","password":"hunter22xyz"}`, nil,
			"no login with hunter22xyz", "xyz"},
		{"a number", `{"password":83920123}`, nil, "no login with 83920123", "83920123"},
		{"a great number", `{"password":12345678901234567890123}`, nil, "no login with 12345678901234567890123",
			"0123"},
		{"a value in a value", `{"config":"{\"password\":\"hunter22xyz\"}"}`, nil, "no login with hunter22xyz", "xyz"},
		{"no JSON", "hunter22xyz", nil, "no login with hunter22xyz", "xyz"},
		{"binary", "", []byte(`{"password":"hunter22xyz"}`), "no login with hunter22xyz", "xyz"},
		{"binary in base64", "", []byte("hunter22xyz"), "no login with aHVudGVyMjJ4eXo=", "yMjJ4eX"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, Options{MaxAttempts: 1})
			b.create("db")
			in := &sm.PutSecretValueInput{ClientRequestToken: aws.String(id(5)), SecretBinary: c.binary}
			if c.binary == nil {
				in.SecretString = &c.text
			}
			if err := b.putError(in); err != nil {
				t.Fatal(err)
			}
			b.RegisterFunction(lambda, b.function(func(request) error { return errors.New(c.said) }))
			if err := b.rotate("db", 2); err != nil {
				t.Fatal(err)
			}
			b.settle(0)
			h, err := b.History("db")
			if err != nil || len(h) == 0 {
				t.Fatalf("%v, %v", h, err)
			}
			var page strings.Builder
			b.mu.Lock()
			sec := b.Sim.at(place{mine, "us-east-1", "db"})
			row := sec.row(begin)
			err = pageTemplate.Execute(&page, pageData{Detail: &row})
			b.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			if all := fmt.Sprint(h) + page.String() + b.trace(); strings.Contains(all, c.leak) ||
				!strings.Contains(all, "no login with ") {
				t.Error(all)
			}
		})
	}
}

func TestAVersionCreatedByATestStaysIfItGetsALabel(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	b.RegisterFunction(lambda, b.function(func(r request) error {
		_, err := b.client.UpdateSecretVersionStage(ctx, &sm.UpdateSecretVersionStageInput{
			SecretId: &r.SecretId, VersionStage: aws.String(current), MoveToVersionId: &r.ClientRequestToken,
			RemoveFromVersionId: aws.String(id(1)),
		})
		return err
	}))
	if err := b.rotate("db", 2, func(in *sm.RotateSecretInput) { in.RotateImmediately = aws.Bool(false) }); err != nil {
		t.Fatal(err)
	}
	b.settle(time.Hour)
	b.wantStages("db", "1:[AWSPREVIOUS] 2:[AWSCURRENT]")
	if v, err := b.client.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: aws.String("db")}); err != nil ||
		*v.SecretString != "one" {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestAWSCURRENTDoesNotGoToAVersionWithoutAValue(t *testing.T) {
	b := newBench(t, Options{MaxAttempts: 1})
	b.create("db")
	b.RegisterFunction(lambda, InvokerFunc(func(_ context.Context, payload []byte) ([]byte, string, error) {
		var r request
		err := json.Unmarshal(payload, &r)
		if err == nil && r.Step == "finishSecret" { // createSecret has stored nothing
			_, err = b.client.UpdateSecretVersionStage(ctx, &sm.UpdateSecretVersionStageInput{
				SecretId: &r.SecretId, VersionStage: aws.String(current), MoveToVersionId: &r.ClientRequestToken,
				RemoveFromVersionId: aws.String(id(1)),
			})
		}
		return nil, "", err
	}))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	b.settle(time.Hour)
	if err := b.WaitRotation(ctx, "db"); err == nil ||
		!strings.Contains(err.Error(), "Secrets Manager can't find the specified secret version: "+id(2)) {
		t.Errorf("the rotation ended with %v", err)
	}
	b.wantStages("db", "1:[AWSCURRENT] 2:[AWSPENDING]")
	// AWSPENDING can be removed, to abandon a rotation by hand.
	if _, err := b.client.UpdateSecretVersionStage(ctx, &sm.UpdateSecretVersionStageInput{
		SecretId: aws.String("db"), VersionStage: aws.String(pending), RemoveFromVersionId: aws.String(id(2)),
	}); err != nil {
		t.Error(err)
	}
}

func TestRotateSecretWithTheTokenOfAStoppedRotationResumesIt(t *testing.T) {
	for _, canceled := range []bool{false, true} {
		b := newBench(t, Options{MaxAttempts: 1})
		b.create("db")
		down := true
		b.RegisterFunction(lambda, b.function(func(request) error {
			if down {
				return errors.New("down")
			}
			return nil
		}))
		if err := b.rotate("db", 2); err != nil {
			t.Fatal(err)
		}
		b.settle(time.Hour)
		if canceled {
			if _, err := b.client.CancelRotateSecret(ctx,
				&sm.CancelRotateSecretInput{SecretId: aws.String("db")}); err != nil {
				t.Fatal(err)
			}
		}
		refused(t, b.rotate("db", 3), "InvalidRequestException", "A previous rotation isn't complete.")
		refused(t, b.rotate("db", 2, func(in *sm.RotateSecretInput) {
			in.RotateImmediately = aws.Bool(false)
		}), "InvalidRequestException", "A previous rotation isn't complete.")
		down = false
		if err := b.rotate("db", 2); err != nil {
			t.Fatal(err)
		}
		b.settle(time.Hour)
		b.wantStages("db", "1:[AWSPREVIOUS] 2:[AWSCURRENT]")
		d, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("db")})
		if err != nil || !aws.ToBool(d.RotationEnabled) {
			t.Errorf("%+v, %v", d, err)
		}
	}
}

func TestASecretThatNeverHadAValueIsRotated(t *testing.T) {
	b := newBench(t, Options{})
	if _, err := b.client.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("db")}); err != nil {
		t.Fatal(err)
	}
	b.RegisterFunction(lambda, b.function(func(request) error { return nil }))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitRotation(ctx, "db"); err != nil {
		t.Fatal(err)
	}
	b.wantStages("db", "2:[AWSCURRENT]")
}

func TestTheEndOfARotationDoesNotTouchARecreatedSecret(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	reached, hold := make(chan struct{}), make(chan struct{})
	b.RegisterFunction(lambda, b.function(func(request) error { close(reached); <-hold; return nil }))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	<-reached
	if _, err := b.client.DeleteSecret(ctx, &sm.DeleteSecretInput{
		SecretId: aws.String("db"), ForceDeleteWithoutRecovery: aws.Bool(true),
	}); err != nil {
		t.Fatal(err)
	}
	b.create("db")
	close(hold)
	b.settle(time.Hour)
	b.wantStages("db", "1:[AWSCURRENT]")
}

func TestTheProgramsOwnCallsNeedNoPermission(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	policy := `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*",` +
		`"NotAction":"secretsmanager:PutResourcePolicy","Resource":"*"}}`
	if _, err := b.client.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{
		SecretId: aws.String("db"), ResourcePolicy: &policy,
	}); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitRotation(ctx, "db"); err != nil {
		t.Error(err)
	}
	if _, err := b.History("db"); err != nil {
		t.Error(err)
	}
}

func TestAFailureWithoutATextHasAMessage(t *testing.T) {
	b := newBench(t, Options{MaxAttempts: 1})
	b.create("db")
	b.RegisterFunction(lambda, InvokerFunc(func(context.Context, []byte) ([]byte, string, error) {
		return nil, "Unhandled", nil
	}))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	b.settle(0)
	h, err := b.History("db")
	if err != nil || len(h) != 3 || h[1].Step != "createSecret" ||
		h[1].Message != "Error when executing lambda "+lambda+" during createSecret step" {
		t.Errorf("%+v, %v", h, err)
	}
}
