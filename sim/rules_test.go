package sim

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// answers posts requests, each an operation and its input, and compares the responses. T1 to T3 mean id(1) to id(3),
// and ARN a secret's ARN. An expected response that ends in three dots is a prefix.
func (b *bench) answers(rows [][3]string) {
	b.Helper()
	tokens := strings.NewReplacer(`"T1"`, `"`+id(1)+`"`, `"T2"`, `"`+id(2)+`"`, `"T3"`, `"`+id(3)+`"`)
	for _, r := range rows {
		_, got := raw(b.T, b.url, r[0], tokens.Replace(r[1]))
		got = secretARN.ReplaceAllString(got, `"ARN":"ARN"`)
		want, open := strings.CutSuffix(tokens.Replace(r[2]), "...")
		if got != want && !(open && strings.HasPrefix(got, want)) {
			b.Errorf("%s %s:\n%s\nnot\n%s", r[0], r[1], got, want)
		}
	}
}

var secretARN = regexp.MustCompile(
	`"ARN":"arn:aws:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@!-]+-[A-Za-z0-9]{6}"`)

func TestAnInvalidNameIsRefusedByEveryOperation(t *testing.T) {
	b := newBench(t, Options{})
	const want = `{"__type":"ValidationException","message":"Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"}`
	for _, name := range []string{"Inv Name", " Inv", " Inv*Name? ", ` Inv *?!]Name\\-`} { // as in the recording
		for _, r := range [][2]string{
			{"CreateSecret", `"Name":"%s","ClientRequestToken":"T1"`},
			{"DeleteSecret", `"SecretId":"%s"`},
			{"DeleteSecret", `"SecretId":"%s","ForceDeleteWithoutRecovery":true`},
			{"DescribeSecret", `"SecretId":"%s"`},
			{"GetSecretValue", `"SecretId":"%s"`},
			{"ListSecretVersionIds", `"SecretId":"%s"`},
			{"PutSecretValue", `"SecretId":"%s","ClientRequestToken":"T1","SecretString":"x"`},
			{"TagResource", `"SecretId":"%s","Tags":[]`},
			{"UntagResource", `"SecretId":"%s","TagKeys":["k"]`},
			{"UpdateSecret", `"SecretId":"%s","ClientRequestToken":"T1"`},
			{"ValidateResourcePolicy", `"SecretId":"%s","ResourcePolicy":"{}"`},
		} {
			b.answers([][3]string{{r[0], "{" + fmt.Sprintf(r[1], name) + "}", want}})
		}
	}
}

func TestASecretMarkedForDeletionIsRefused(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	const (
		marked = `{"__type":"InvalidRequestException","Message":"You can't perform this operation on the secret because it was marked for deletion."}`
		badArg = `{"__type":"InvalidParameterException","Message":"`
	)
	b.answers([][3]string{
		{"DeleteSecret", `{"SecretId":"db"}`, `{"ARN":...`},
		{"UpdateSecret", `{"SecretId":"db","ClientRequestToken":"T2"}`, marked},
		{"UpdateSecretVersionStage", `{"SecretId":"db","VersionStage":"x","MoveToVersionId":"T1"}`, marked},
		{"RotateSecret", `{"SecretId":"db","ClientRequestToken":"T2"}`, marked},
		{"CancelRotateSecret", `{"SecretId":"db"}`, marked},
		{"TagResource", `{"SecretId":"db","Tags":[]}`, marked},
		{"UntagResource", `{"SecretId":"db","TagKeys":["k"]}`, marked},
		{"PutResourcePolicy", `{"SecretId":"db","ResourcePolicy":"{}"}`, marked},
		{"DeleteSecret", `{"SecretId":"db"}`, marked},
		{"BatchGetSecretValue", `{"SecretIdList":["db"]}`,
			`{"Errors":[{"ErrorCode":"InvalidRequestException","Message":"You can't perform...`},
		{"DescribeSecret", `{"SecretId":"db"}`, `{"ARN":...`},
		{"DeleteSecret", `{"SecretId":"db","ForceDeleteWithoutRecovery":true}`, `{"ARN":...`},
		{"DeleteSecret", `{"SecretId":"none","ForceDeleteWithoutRecovery":true,"RecoveryWindowInDays":7}`,
			badArg + `You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays."}`},
		{"DeleteSecret", `{"SecretId":"none","RecoveryWindowInDays":31}`,
			badArg + `The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."}`},
	})
}

func TestAForcedDeletionOfAMissingSecretSucceeds(t *testing.T) {
	b := newBench(t, Options{})
	b.answers([][3]string{
		{"DeleteSecret", `{"SecretId":"none","ForceDeleteWithoutRecovery":true}`,
			`{"ARN":"ARN","DeletionDate":1770114600,"Name":"none"}`},
		{"DeleteSecret", `{"SecretId":"arn:aws:secretsmanager:us-east-1:123456789012:secret:gone-AbCdEf","ForceDeleteWithoutRecovery":true}`,
			`{"ARN":"ARN","DeletionDate":1770114600,"Name":"gone"}`},
	})
}

func TestAWholeMonthIsTheDefaultRecoveryWindow(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	out, err := b.client.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: aws.String("db")})
	if err != nil || !out.DeletionDate.Equal(begin.AddDate(0, 0, 30)) {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestARequestWithoutATokenIsRefusedBeforeTheSecretIsLookedUp(t *testing.T) {
	b := newBench(t, Options{})
	const want = `{"__type":"InvalidRequestException","Message":"You must provide a ClientRequestToken value. We recommend a UUID-type value."}`
	b.answers([][3]string{
		{"CreateSecret", `{"Name":"db"}`, want},
		{"UpdateSecret", `{"SecretId":"none"}`, want},
		{"PutSecretValue", `{"SecretId":"none","SecretString":"x"}`, want},
		{"RotateSecret", `{"SecretId":"none"}`, strings.Replace(want, "InvalidRequest", "InvalidParameter", 1)},
	})
}

func TestEmptyMembersAreLeftOutAndDatesAreNumbers(t *testing.T) {
	b := newBench(t, Options{})
	b.settle(1500 * time.Millisecond)
	b.answers([][3]string{
		{"CreateSecret", `{"Name":"db","Description":"","ClientRequestToken":"T1"}`, `{"ARN":"ARN","Name":"db"}`},
		{"DescribeSecret", `{"SecretId":"db"}`,
			`{"ARN":"ARN","CreatedDate":1770114601.5,"LastChangedDate":1770114601.5,"Name":"db"}`},
		{"PutSecretValue", `{"SecretId":"db","SecretString":"1","ClientRequestToken":"T1"}`, `{"ARN":...`},
		{"PutSecretValue", `{"SecretId":"db","SecretString":"2","ClientRequestToken":"T2"}`, `{"ARN":...`},
		{"PutSecretValue", `{"SecretId":"db","SecretString":"3","ClientRequestToken":"T3"}`, `{"ARN":...`},
		{"GetSecretValue", `{"SecretId":"db","VersionId":"T1"}`,
			`{"ARN":"ARN","CreatedDate":1770114601.501,"Name":"db","SecretString":"1","VersionId":"T1"}`},
		{"ListSecretVersionIds", `{"SecretId":"db","IncludeDeprecated":true}`, `{"ARN":"ARN","Name":"db","Versions":[` +
			`{"CreatedDate":1770114601.503,"KmsKeyIds":["DefaultEncryptionKey"],"VersionId":"T3","VersionStages":["AWSCURRENT"]},` +
			`{"CreatedDate":1770114601.502,"KmsKeyIds":["DefaultEncryptionKey"],"VersionId":"T2","VersionStages":["AWSPREVIOUS"]},` +
			`{"CreatedDate":1770114601.501,"KmsKeyIds":["DefaultEncryptionKey"],"LastAccessedDate":1770076800,"VersionId":"T1"}]}`},
		{"TagResource", `{"SecretId":"db","Tags":[{"Key":"k","Value":"v"}]}`, `{}`},
		{"UntagResource", `{"SecretId":"db","TagKeys":["k"]}`, `{}`},
		{"DescribeSecret", `{"SecretId":"db"}`,
			`{"ARN":"ARN","CreatedDate":1770114601.5,"LastAccessedDate":1770076800,"LastChangedDate":1770114601.505,"Name":"db","Tags":[],"VersionIdsToStages":{"T2":["AWSPREVIOUS"],"T3":["AWSCURRENT"]}}`},
	})
}

func TestLastChangedDateMovesWithEachChangeAndNotWithAReplay(t *testing.T) {
	b := newBench(t, Options{}) // with a stopped clock
	b.create("db")
	changed := func() time.Time {
		d, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("db")})
		if err != nil {
			t.Fatal(err)
		}
		return *d.LastChangedDate
	}
	last := changed()
	for _, r := range []struct {
		op, in string
		stays  bool
	}{
		{"PutSecretValue", `"SecretString":"2","ClientRequestToken":"T2"`, false},
		{"PutSecretValue", `"SecretString":"2","ClientRequestToken":"T2"`, true},
		{"UpdateSecret", `"SecretString":"3","ClientRequestToken":"T3"`, false},
		{"UpdateSecret", `"SecretString":"3","ClientRequestToken":"T3"`, true},
		{"UpdateSecret", `"Description":"d","ClientRequestToken":"T1"`, false},
		{"UpdateSecretVersionStage", `"VersionStage":"l","MoveToVersionId":"T2"`, false},
		{"TagResource", `"Tags":[{"Key":"k","Value":"v"}]`, false},
		{"UntagResource", `"TagKeys":["k"]`, false},
		{"PutResourcePolicy", `"ResourcePolicy":"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"123456789012\"},\"Action\":\"*\",\"Resource\":\"*\"}}"`, false},
		{"DeleteResourcePolicy", ``, false},
		{"DeleteSecret", ``, false},
		{"RestoreSecret", ``, false},
		{"RestoreSecret", ``, true},
		{"ReplicateSecretToRegions", `"AddReplicaRegions":[{"Region":"eu-west-1"}]`, false},
		{"RemoveRegionsFromReplication", `"RemoveReplicaRegions":["eu-west-1"]`, false},
		{"GetSecretValue", ``, true},
	} {
		in := `{"SecretId":"db"}`
		if r.in != "" {
			in = `{"SecretId":"db",` + r.in + `}`
		}
		b.answers([][3]string{{r.op, in, `{...`}})
		if now := changed(); now.After(last) == r.stays {
			t.Errorf("%s %s: LastChangedDate was %s and is %s", r.op, in, last, now)
		} else {
			last = now
		}
	}
}

func TestGetRandomPasswordHasItsClasses(t *testing.T) {
	b := newBench(t, Options{})
	const no = `{"__type":"InvalidParameterException","Message":"`
	b.answers([][3]string{
		{"GetRandomPassword", `{"ExcludeCharacters":"0123456789"}`,
			no + `All characters of the desired type have been excluded"}`},
		{"GetRandomPassword", `{"ExcludeCharacters":"0123456789","RequireEachIncludedType":false}`,
			`{"RandomPassword":"...`},
		{"GetRandomPassword", `{"PasswordLength":3}`,
			no + `Password length is too short based on the required types"}`},
		{"GetRandomPassword", `{"PasswordLength":1,"RequireEachIncludedType":false}`, `{"RandomPassword":"...`},
		{"GetRandomPassword", `{"ExcludeLowercase":true,"ExcludeUppercase":true,"ExcludeNumbers":true,"ExcludePunctuation":true}`, no + `All characters have been excluded from selection"}`},
		{"GetRandomPassword", `{"ExcludeLowercase":true,"ExcludeUppercase":true,"ExcludeNumbers":true,"ExcludePunctuation":true,"IncludeSpace":true,"PasswordLength":2}`, `{"RandomPassword":"  "}`},
	})
	for range 50 {
		out, err := b.client.GetRandomPassword(ctx, &sm.GetRandomPasswordInput{PasswordLength: aws.Int64(4)})
		if err != nil {
			t.Fatal(err)
		}
		for _, class := range []string{"[A-Z]", "[a-z]", "[0-9]", "[^A-Za-z0-9 ]"} {
			if len(regexp.MustCompile(class).FindAllString(*out.RandomPassword, -1)) != 1 {
				t.Errorf("%s: %s", class, *out.RandomPassword)
			}
		}
	}
}

func TestCancelWithoutAFunctionIsRefusedAndARotationNeedsNoParameters(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	b.answers([][3]string{
		{"CancelRotateSecret", `{"SecretId":"db"}`,
			`{"__type":"InvalidRequestException","Message":"No Lambda rotation function ARN is associated with this secret."}`},
	})
	b.RegisterFunction(lambda, b.function(func(request) error { return nil }))
	for n := 2; n < 4; n++ {
		if err := b.rotate("db", n, func(in *sm.RotateSecretInput) {
			if n > 2 {
				in.RotationLambdaARN = nil
			}
		}); err != nil {
			t.Fatal(err)
		}
		if err := b.WaitRotation(ctx, "db"); err != nil {
			t.Fatal(err)
		}
	}
	b.wantStages("db", "2:[AWSPREVIOUS] 3:[AWSCURRENT]")
	out, err := b.client.CancelRotateSecret(ctx, &sm.CancelRotateSecretInput{SecretId: aws.String("db")})
	if err != nil || out.VersionId != nil {
		t.Errorf("%+v, %v", out, err)
	}
}
