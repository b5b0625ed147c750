package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// The rules of PutSecretValue, in the order of its reference page.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html

func (b *bench) putError(in *sm.PutSecretValueInput) error {
	if in.SecretId == nil {
		in.SecretId = aws.String("db")
	}
	_, err := b.client.PutSecretValue(ctx, in)
	return err
}

func TestPutCreatesANewVersionAndAttachesItToTheSecret(t *testing.T) {
	b := newBench(t, Options{})
	arn := b.create("db")
	out, err := b.client.PutSecretValue(ctx, &sm.PutSecretValueInput{
		SecretId: aws.String("db"), SecretString: aws.String("two"), ClientRequestToken: aws.String(id(2)),
	})
	if err != nil || *out.ARN != arn || *out.Name != "db" || *out.VersionId != id(2) ||
		!slices.Equal(out.VersionStages, []string{current}) {
		t.Errorf("%+v, %v", out, err)
	}
	if got, err := b.client.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: aws.String("db")}); err != nil ||
		*got.SecretString != "two" || *got.VersionId != id(2) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestPutAcceptsANameAnARNAndAPartialARN(t *testing.T) {
	b := newBench(t, Options{})
	arn := b.create("app/db-")
	for i, secret := range []string{"app/db-", arn, arn[:len(arn)-7]} {
		b.put(secret, 2+i, "v")
	}
	for _, secret := range []string{
		"app/db", arn[:len(arn)-1], strings.Replace(arn, "us-east-1", "eu-west-1", 1),
		strings.Replace(arn, ":secret:", ":other:", 1),
	} {
		refused(t, b.putError(&sm.PutSecretValueInput{SecretId: &secret, SecretString: aws.String("v")}),
			"ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	}
	for _, secret := range []string{"a b", "db?", "arn:aws:secretsmanager", "d\u00e9"} {
		refused(t, b.putError(&sm.PutSecretValueInput{SecretId: &secret, SecretString: aws.String("v")}),
			"ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters, or any of "+
				"the following: -/_+=.@!")
	}
}

func TestPutOutdatedVersionsAreRemovedWhenThereAreMoreThanAHundred(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	for i := 2; i <= 140; i++ {
		b.put("db", i, fmt.Sprint(i), current)
		b.settle(time.Hour)
	}
	count := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.Sim.at(place{mine, "us-east-1", "db"}).Versions)
	}
	if n := count(); n != 100 {
		t.Errorf("%d versions are kept, not 100", n)
	}
	_, err := b.client.GetSecretValue(ctx, &sm.GetSecretValueInput{
		SecretId: aws.String("db"), VersionId: aws.String(id(40)),
	})
	refused(t, err, "ResourceNotFoundException",
		"Secrets Manager can't find the specified secret value for VersionId: "+id(40))
	if _, err := b.client.GetSecretValue(ctx, &sm.GetSecretValueInput{
		SecretId: aws.String("db"), VersionId: aws.String(id(41)),
	}); err != nil {
		t.Errorf("the oldest of a hundred is gone: %v", err)
	}
}

func TestPutALabeledVersionIsNeverRemoved(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	b.put("db", 2, "mine", "keep")
	for i := 3; i <= 140; i++ {
		b.put("db", i, fmt.Sprint(i), current)
		b.settle(time.Hour)
	}
	if got, err := b.client.GetSecretValue(ctx,
		&sm.GetSecretValueInput{SecretId: aws.String("db"), VersionStage: aws.String("keep")}); err != nil ||
		*got.SecretString != "mine" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestPutKeepsTheVersionsOfADay(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	for i := 2; i <= 150; i++ { // all within 24 hours
		b.put("db", i, "v")
		b.settle(9 * time.Minute)
	}
	count := func() int {
		list, err := b.client.ListSecretVersionIds(ctx, &sm.ListSecretVersionIdsInput{
			SecretId: aws.String("db"), IncludeDeprecated: aws.Bool(true), MaxResults: aws.Int32(100),
		})
		if err != nil {
			t.Fatal(err)
		}
		n := len(list.Versions)
		if list.NextToken != nil {
			n++
		}
		return n
	}
	if n := count(); n <= 100 {
		t.Errorf("%d versions of one day", n)
	}
	b.settle(24 * time.Hour)
	b.put("db", 999, "v")
	if n := count(); n > 100 {
		t.Errorf("more than 100 versions a day later")
	}
}

func TestPutWithoutVersionStagesMovesAWSCURRENTAndAWSPREVIOUSFollows(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	b.put("db", 2, "two")
	b.wantStages("db", "1:[AWSPREVIOUS] 2:[AWSCURRENT]")
	b.put("db", 3, "three")
	b.wantStages("db", "2:[AWSPREVIOUS] 3:[AWSCURRENT]")
	list, err := b.client.ListSecretVersionIds(ctx, &sm.ListSecretVersionIdsInput{
		SecretId: aws.String("db"), IncludeDeprecated: aws.Bool(true),
	})
	if err != nil || len(list.Versions) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, v := range list.Versions {
		if *v.VersionId == id(1) && v.VersionStages != nil {
			t.Errorf("the deprecated version has labels %v", v.VersionStages)
		}
		if !slices.Equal(v.KmsKeyIds, []string{"DefaultEncryptionKey"}) {
			t.Errorf("KmsKeyIds %v", v.KmsKeyIds)
		}
	}
}

func TestPutTheFirstVersionGetsAWSCURRENTWhateverItNames(t *testing.T) {
	b := newBench(t, Options{})
	if _, err := b.client.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("db")}); err != nil {
		t.Fatal(err)
	}
	if got := b.put("db", 1, "one", pending); !slices.Equal(got, []string{current, pending}) {
		t.Errorf("the first version has %v", got)
	}
}

func TestPutMovesTheLabelsItNamesAndNoOthers(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	b.put("db", 2, "two", "one", "two", "three")
	b.put("db", 3, "three", "one", "two", "four")
	b.wantStages("db", "1:[AWSCURRENT] 2:[three] 3:[four one two]")
	b.put("db", 4, "four", "three")
	b.wantStages("db", "1:[AWSCURRENT] 3:[four one two] 4:[three]")
	b.put("db", 5, "five", current, "one")
	b.wantStages("db", "1:[AWSPREVIOUS] 3:[four two] 4:[three] 5:[AWSCURRENT one]")
}

func TestPutOverAWSCURRENTRemovesAWSPENDING(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	b.put("db", 2, "two", pending)
	b.put("db", 3, "three")
	b.wantStages("db", "1:[AWSPREVIOUS] 3:[AWSCURRENT]")
	b.put("db", 4, "four", current, pending)
	b.put("db", 5, "five")
	b.wantStages("db", "4:[AWSPREVIOUS] 5:[AWSCURRENT]")
}

func TestPutReplayedWithTheSameDataDoesNothing(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	b.put("db", 2, "two", pending)
	before, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("db")})
	if err != nil {
		t.Fatal(err)
	}
	b.settle(time.Minute)
	if got := b.put("db", 2, "two", current, "other"); !slices.Equal(got, []string{pending}) {
		t.Errorf("the replay answered %v", got)
	}
	b.wantStages("db", "1:[AWSCURRENT] 2:[AWSPENDING]")
	after, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("db")})
	if err != nil || !after.LastChangedDate.Equal(*before.LastChangedDate) {
		t.Errorf("the replay moved LastChangedDate: %v", err)
	}
}

func TestPutReplayedWithOtherDataFailsAndChangesNothing(t *testing.T) {
	b := newBench(t, Options{})
	arn := b.create("db")
	text := "You can't use ClientRequestToken " +
		id(1) + " because that value is already in use for a version of secret " + arn + "."
	refused(t, b.putError(&sm.PutSecretValueInput{
		SecretString: aws.String("other"), ClientRequestToken: aws.String(id(1)),
	}), "ResourceExistsException", text)
	// A string and a binary of the same bytes are different data.
	refused(t, b.putError(&sm.PutSecretValueInput{
		SecretBinary: []byte("one"), ClientRequestToken: aws.String(id(1)),
	}), "ResourceExistsException", text)
	if got, err := b.client.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: aws.String("db")}); err != nil ||
		*got.SecretString != "one" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestPutClientRequestTokenIsOf32To64Characters(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	for _, n := range []int{31, 65} {
		refused(t, b.putError(&sm.PutSecretValueInput{SecretString: aws.String("v"),
			ClientRequestToken: aws.String(strings.Repeat("t", n))}), "ValidationException",
			"1 validation error detected: Value '"+strings.Repeat("t",
				n)+"' at 'clientRequestToken' failed to satisfy constraint: Member must have length ")
	}
	for _, n := range []int{32, 64} {
		if err := b.putError(&sm.PutSecretValueInput{
			SecretString: aws.String("v"), ClientRequestToken: aws.String(strings.Repeat("t", n)),
		}); err != nil {
			t.Errorf("%d: %v", n, err)
		}
	}
}

func TestPutAcceptsSecretStringOrSecretBinaryButNotBoth(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	const none = "You must provide either SecretString or SecretBinary"
	refused(t, b.putError(&sm.PutSecretValueInput{}), "InvalidRequestException", none)
	const empty = "' failed to satisfy constraint: Member must have length greater than or equal to 1"
	refused(t, b.putError(&sm.PutSecretValueInput{SecretString: aws.String("")}), "ValidationException",
		"1 validation error detected: Value at 'secretString"+empty)
	refused(t, b.putError(&sm.PutSecretValueInput{SecretBinary: []byte{}}), "ValidationException",
		"1 validation error detected: Value at 'secretBinary"+empty)
	refused(t, b.putError(&sm.PutSecretValueInput{SecretString: aws.String("x"), SecretBinary: []byte("x")}),
		"InvalidParameterException",
		"You can't specify both a binary secret value and a string secret value in the same secret.")
	b.wantStages("db", "1:[AWSCURRENT]")
}

func TestPutKeepsBinaryBytes(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	if err := b.putError(&sm.PutSecretValueInput{SecretBinary: []byte{0, 255, 10}}); err != nil {
		t.Fatal(err)
	}
	if got, err := b.client.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: aws.String("db")}); err != nil ||
		string(got.SecretBinary) != "\x00\xff\n" || got.SecretString != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestPutAValueHasAtMost65536Bytes(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	for _, size := range []int{65536, 65537} {
		for _, in := range []*sm.PutSecretValueInput{
			{SecretString: aws.String(strings.Repeat("é", size/2) + strings.Repeat("x", size%2))},
			{SecretBinary: make([]byte, size)},
		} {
			err := b.putError(in)
			if size == 65536 && err != nil {
				t.Error(err)
			}
			if size > 65536 {
				refused(t, err, "ValidationException", "1 validation error detected: Value at 'secret")
			}
		}
	}
}

func TestPutNamesAtMostTwentyLabels(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	names := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprint("l", i))
		}
		return all
	}
	refused(t, b.putError(&sm.PutSecretValueInput{SecretString: aws.String("v"), VersionStages: names(21)}),
		"ValidationException", "1 validation error detected: Value '[l0, l1")
	// Twenty is also the limit for the whole secret, and AWSCURRENT is one.
	refused(t, b.putError(&sm.PutSecretValueInput{
		SecretString: aws.String("v"), VersionStages: names(20),
	}), "LimitExceededException", "")
	b.put("db", 3, "v", names(19)...)
	// for AWSPREVIOUS
	refused(t, b.putError(&sm.PutSecretValueInput{SecretString: aws.String("v")}), "LimitExceededException", "")
	refused(t, b.putError(&sm.PutSecretValueInput{SecretString: aws.String("v"),
		VersionStages: []string{strings.Repeat("l", 257)}}), "ValidationException", "1 validation error detected: ")
	refused(t, b.putError(&sm.PutSecretValueInput{SecretString: aws.String("v"), VersionStages: []string{}}),
		"ValidationException", "1 validation error detected: Value '[]' at 'versionStages' failed to satisfy "+
			"constraint: Member must have length greater than or equal to 1")
}

func TestPutValidatesTheRotationToken(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	for _, token := range []string{"short", strings.Repeat("x", 257), strings.Repeat("!", 40)} {
		err := b.putError(&sm.PutSecretValueInput{SecretString: aws.String("v"), RotationToken: &token})
		refused(t, err, "ValidationException",
			"1 validation error detected: Value at 'rotationToken' failed to satisfy constraint: Member must ")
		if strings.Contains(err.Error(), token) {
			t.Error("the rotation token is in the error")
		}
	}
	if err := b.putError(&sm.PutSecretValueInput{
		SecretString: aws.String("v"), RotationToken: aws.String(id(7)),
	}); err != nil {
		t.Errorf("outside of a rotation: %v", err)
	}
}

func TestPutFillsThePlaceholderOfARotation(t *testing.T) {
	b := newBench(t, Options{MaxAttempts: 1})
	b.create("db")
	b.RegisterFunction(lambda, b.function(func(request) error { return fmt.Errorf("no") }))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	b.settle(0)
	if got := b.put("db", 2, "filled", pending); !slices.Equal(got, []string{pending}) {
		t.Errorf("labels %v", got)
	}
	refused(t, b.putError(&sm.PutSecretValueInput{
		SecretString: aws.String("other"), ClientRequestToken: aws.String(id(2)),
	}), "ResourceExistsException", "")
}

func TestPutIsRefusedForASecretThatIsMarkedForDeletion(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	if _, err := b.client.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: aws.String("db")}); err != nil {
		t.Fatal(err)
	}
	refused(t, b.putError(&sm.PutSecretValueInput{SecretString: aws.String("v")}), "InvalidRequestException",
		"You can't perform this operation on the secret because it was marked for deletion.")
}

func TestPutTheTokenIsCheckedBeforeTheSecretIsLookedUp(t *testing.T) {
	b := newBench(t, Options{})
	code, body := raw(t, b.url, "PutSecretValue", `{"SecretId":"none","SecretString":"v","Unknown":1}`)
	const want = `{"__type":"InvalidRequestException",` +
		`"Message":"You must provide a ClientRequestToken value. We recommend a UUID-type value."}`
	if code != 400 || body != want {
		t.Errorf("%d %s", code, body)
	}
	if _, body := raw(t, b.url, "RotateSecret", `{"SecretId":"none"}`); !strings.HasPrefix(body,
		`{"__type":"InvalidParameterException","Message":"You must provide a ClientRequestToken value.`) {
		t.Error(body)
	}
}

func TestPutAnUnknownOrMisspelledMemberIsIgnored(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	_, body := raw(t, b.url, "PutSecretValue", `{"SecretId":"db","secretString":"v","ClientRequestToken":"`+id(2)+`"}`)
	if !strings.Contains(body, "You must provide either SecretString or SecretBinary") {
		t.Error(body)
	}
	_, body = raw(t, b.url, "PutSecretValue", `{"SecretString":"v","ClientRequestToken":"`+id(2)+`"}`)
	if !strings.Contains(body,
		"1 validation error detected: Value null at 'secretId' failed to satisfy constraint: Member must not be null") {
		t.Error(body)
	}
}

func TestConcurrentPutsOfOneTokenHaveOneOutcome(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := map[string]int{}
	for i := range 40 {
		wg.Go(func() {
			value := fmt.Sprint("v", i%4)
			err := b.putError(&sm.PutSecretValueInput{SecretString: &value, ClientRequestToken: aws.String(id(7))})
			if exists := (*types.ResourceExistsException)(nil); err != nil && !errors.As(err, &exists) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				taken[value]++
			}
		})
	}
	wg.Wait()
	got, err := b.client.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: aws.String("db")})
	if err != nil || len(taken) != 1 || taken[*got.SecretString] != 10 {
		t.Errorf("the accepted calls: %v; the value: %+v, %v", taken, got, err)
	}
	b.wantStages("db", "1:[AWSPREVIOUS] 7:[AWSCURRENT]")
}

func TestPutReplayedForAVersionWithoutLabelsAnswersNone(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	b.put("db", 2, "two")
	b.put("db", 3, "three")
	b.answers([][3]string{
		{"PutSecretValue", `{"SecretId":"db","SecretString":"one","ClientRequestToken":"T1"}`,
			`{"ARN":"ARN","Name":"db","VersionId":"T1"}`},
	})
}

func TestPutCountsTheLabelThatItRemoves(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	b.put("db", 2, "two", pending)
	var all []string
	for i := range 18 {
		all = append(all, fmt.Sprint("l", i))
	}
	b.put("db", 3, "three", all...) // with AWSCURRENT and AWSPENDING, that is twenty
	b.put("db", 4, "four")          // AWSPENDING is removed, and AWSPREVIOUS added
	refused(t, b.putError(&sm.PutSecretValueInput{
		SecretString: aws.String("v"), VersionStages: []string{"one more"},
	}), "LimitExceededException", "")
}

func TestPutChecksTheSizeBeforeItLooksUpTheSecret(t *testing.T) {
	b := newBench(t, Options{})
	const long = "1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length " +
		"less than or equal to 65536"
	// Its size is counted in bytes.
	err := b.putError(&sm.PutSecretValueInput{
		SecretId: aws.String("none"), SecretString: aws.String(strings.Repeat("é", 32769)),
	})
	refused(t, err, "ValidationException", fmt.Sprintf(long, "secretString"))
	err = b.putError(&sm.PutSecretValueInput{SecretId: aws.String("none"), SecretBinary: make([]byte, 65537)})
	refused(t, err, "ValidationException", fmt.Sprintf(long, "secretBinary"))
	err = b.putError(&sm.PutSecretValueInput{
		SecretId: aws.String("none"), SecretString: aws.String(strings.Repeat("é", 32768)),
	})
	refused(t, err, "ResourceNotFoundException", "")
}

// TestPutAcceptsTheExamplesOfTheReferencePage sends, byte for byte, what the AWS CLI sends for the
// examples on its page and for the ways to name a file.
// Source: https://awscli.amazonaws.com/v2/documentation/api/latest/reference/secretsmanager/put-secret-value.html
func TestPutAcceptsTheExamplesOfTheReferencePage(t *testing.T) {
	const creds = `{
  "engine": "mysql",
  "username": "saanvis",
  "password": "EXAMPLE-PASSWORD",
  "host": "my-database-endpoint.us-west-2.rds.amazonaws.com",
  "dbname": "myDatabase",
  "port": "3306"
}
`
	binary := []byte("\x00\xff\xfe keys\r\n")
	quoted := func(x any) string {
		text, err := json.Marshal(x) // and bytes in base64
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, c := range []struct{ name, member, sent, kept string }{
		{`example 1: --secret-string "{...}"`, "SecretString",
			`"{\"user\":\"diegor\",\"password\":\"EXAMPLE-PASSWORD\"}"`,
			`"{\"user\":\"diegor\",\"password\":\"EXAMPLE-PASSWORD\"}"`},
		{"example 2: --secret-string file://mycreds.json", "SecretString", quoted(creds), quoted(creds)},
		// The CLI reads a file as is for fileb://, and as base64 for file://.
		{"--secret-binary fileb://keys", "SecretBinary", quoted(binary), quoted(binary)},
		{"--secret-binary file://keys.base64", "SecretBinary", `"AP/+IGtleXMNCg=="`, quoted(binary)},
		{"--secret-binary fileb://mycreds.json", "SecretBinary", quoted([]byte(creds)), quoted([]byte(creds))},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, Options{Region: "us-west-2"})
			b.create("MyTestSecret")
			b.answers([][3]string{
				{"PutSecretValue", `{"SecretId":"MyTestSecret","` + c.member + `":` + c.sent +
					`,"ClientRequestToken":"T2"}`,
					`{"ARN":"ARN","Name":"MyTestSecret","VersionId":"T2","VersionStages":["AWSCURRENT"]}`},
				{"GetSecretValue", `{"SecretId":"MyTestSecret"}`,
					`{"ARN":"ARN","CreatedDate":1770114600.002,"Name":"MyTestSecret","` + c.member + `":` + c.kept +
						`,"VersionId":"T2","VersionStages":["AWSCURRENT"]}`},
			})
		})
	}
}
