package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

func (b *bench) names(in *sm.ListSecretsInput) string {
	b.Helper()
	out, err := b.client.ListSecrets(ctx, in)
	if err != nil {
		b.Fatal(err)
	}
	var names []string
	for _, s := range out.SecretList {
		names = append(names, *s.Name)
	}
	return strings.Join(names, " ")
}

func TestListSecretsFiltersByPrefixWordAndNegation(t *testing.T) {
	b := newBench(t, Options{})
	for _, c := range []struct{ name, description, key, value string }{
		{"prod/db", "The Main database", "env", "production"},
		{"prod/cache", "a cache", "Env", "Production"},
		{"test/db", "", "owner", "prod team"},
	} {
		if _, err := b.client.CreateSecret(ctx, &sm.CreateSecretInput{
			Name: &c.name, Description: &c.description, Tags: []types.Tag{{Key: &c.key, Value: &c.value}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		key    string
		values []string
		want   string
	}{
		{"name", []string{"prod"}, "prod/cache prod/db"},
		{"name", []string{"Prod"}, ""},
		{"name", []string{"prod/d", "test"}, "prod/db test/db"},
		{"name", []string{"!prod"}, "test/db"},
		{"tag-key", []string{"env"}, "prod/db"},
		{"tag-value", []string{"prod"}, "prod/db test/db"},
		{"description", []string{"MAIN data"}, "prod/db"},
		{"description", []string{"atabase"}, ""},
		{"all", []string{"prod"}, "prod/cache prod/db test/db"},
		{"all", []string{"owner"}, "test/db"},
		{"owning-service", []string{"rds"}, ""},
		{"primary-region", []string{"us-east-1"}, ""},
	} {
		in := &sm.ListSecretsInput{
			SortBy: "name", SortOrder: "asc", Filters: []types.Filter{
				{Key: types.FilterNameStringType(c.key), Values: c.values},
			},
		}
		if got := b.names(in); got != c.want {
			t.Errorf("%s %q: %q, not %q", c.key, c.values, got, c.want)
		}
	}
	// All filters must match.
	if got := b.names(&sm.ListSecretsInput{
		Filters: []types.Filter{{Key: "name", Values: []string{"prod"}}, {Key: "tag-key", Values: []string{"Env"}}},
	}); got != "prod/cache" {
		t.Errorf("%q", got)
	}
	_, err := b.client.ListSecrets(ctx, &sm.ListSecretsInput{
		Filters: []types.Filter{{Key: "color", Values: []string{"x"}}},
	})
	refused(t, err, "ValidationException",
		"1 validation error detected: Value 'color' at 'filters.1.member.key' failed to satisfy constraint: Member "+
			"must satisfy enum value set: [description, name")
	_, err = b.client.ListSecrets(ctx, &sm.ListSecretsInput{
		Filters: []types.Filter{{Key: "name", Values: []string{"a*b"}}},
	})
	refused(t, err, "ValidationException", "")
}

func TestListSecretsSortsAndHidesTheDeleted(t *testing.T) {
	b := newBench(t, Options{})
	for _, name := range []string{"b", "a", "c"} {
		b.create(name)
		b.settle(time.Minute)
	}
	b.put("b", 2, "two")
	for _, c := range []struct {
		by    types.SortByType
		order types.SortOrderType
		want  string
	}{
		{"", "", "b a c"}, {"created-date", "asc", "b a c"}, {"last-changed-date", "desc", "b c a"},
		{"name", "desc", "c b a"},
	} {
		if got := b.names(&sm.ListSecretsInput{SortBy: c.by, SortOrder: c.order}); got != c.want {
			t.Errorf("%s %s: %s, not %s", c.by, c.order, got, c.want)
		}
	}
	if _, err := b.client.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: aws.String("a")}); err != nil {
		t.Fatal(err)
	}
	if got := b.names(&sm.ListSecretsInput{}); got != "b c" {
		t.Error(got)
	}
	if got := b.names(&sm.ListSecretsInput{IncludePlannedDeletion: aws.Bool(true)}); got != "b a c" {
		t.Error(got)
	}
}

func TestPagesAreCompleteAndForeignTokensAreRefused(t *testing.T) {
	b := newBench(t, Options{})
	for i := range 7 {
		b.create(fmt.Sprint("s", i))
	}
	var got []string
	pages := sm.NewListSecretsPaginator(b.client, &sm.ListSecretsInput{
		MaxResults: aws.Int32(3), SortBy: "name", SortOrder: "asc",
	})
	n := 0
	for ; pages.HasMorePages(); n++ {
		out, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range out.SecretList {
			got = append(got, *s.Name)
		}
	}
	if n != 3 || !slices.Equal(got, []string{"s0", "s1", "s2", "s3", "s4", "s5", "s6"}) {
		t.Errorf("%d pages of %q", n, got)
	}
	_, err := b.client.ListSecrets(ctx, &sm.ListSecretsInput{NextToken: aws.String("nonsense")})
	refused(t, err, "InvalidNextTokenException", "")
}

func TestBatchGetSecretValueReturnsErrorsNextToValues(t *testing.T) {
	b := newBench(t, Options{})
	b.create("a")
	b.create("b")
	out, err := b.client.BatchGetSecretValue(ctx, &sm.BatchGetSecretValueInput{SecretIdList: []string{"a", "none"}})
	if err != nil || len(out.SecretValues) != 1 || *out.SecretValues[0].SecretString != "one" || len(out.Errors) != 1 ||
		*out.Errors[0].Message != "Secrets Manager can't find the specified secret." {
		t.Errorf("%+v, %v", out, err)
	}
	out, err = b.client.BatchGetSecretValue(ctx, &sm.BatchGetSecretValueInput{
		Filters: []types.Filter{{Key: "name", Values: []string{"a", "b"}}}, MaxResults: aws.Int32(1),
	})
	if err != nil || len(out.SecretValues) != 1 || out.NextToken == nil {
		t.Errorf("%+v, %v", out, err)
	}
	_, err = b.client.BatchGetSecretValue(ctx, &sm.BatchGetSecretValueInput{})
	refused(t, err, "InvalidParameterException", "Either 'SecretIdList' or 'Filters' must be provided, but not both.")
	_, err = b.client.BatchGetSecretValue(ctx, &sm.BatchGetSecretValueInput{
		SecretIdList: []string{"a"}, MaxResults: aws.Int32(1),
	})
	refused(t, err, "InvalidParameterException",
		"'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.")
}

func TestLastAccessedDateIsTheMidnightOfARetrieval(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	d, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("db")})
	if err != nil || d.LastAccessedDate != nil {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := b.client.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: aws.String("db")}); err != nil {
		t.Fatal(err)
	}
	d, err = b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("db")})
	if err != nil || d.LastAccessedDate == nil || !d.LastAccessedDate.Equal(midnight(begin)) {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestAWSPENDINGMayStayOnTheCurrentVersion(t *testing.T) {
	b := newBench(t, Options{KeepPending: true})
	b.create("db")
	b.RegisterFunction(lambda, b.function(func(request) error { return nil }))
	for n := 2; n < 4; n++ { // it does not prevent the next rotation
		if err := b.rotate("db", n); err != nil {
			t.Fatal(err)
		}
		if err := b.WaitRotation(ctx, "db"); err != nil {
			t.Fatal(err)
		}
		b.wantStages("db", fmt.Sprintf("%d:[AWSPREVIOUS] %d:[AWSCURRENT AWSPENDING]", n-1, n))
	}
}

func TestListSecretsNamesTheRegionOfASecretWithReplicas(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	b.answers([][3]string{
		{"ListSecrets", `{}`, `{"SecretList":[{"ARN":"ARN","CreatedDate":1770114600,"LastChangedDate":1770114600.001,"Name":"db","SecretVersionsToStages":{"T1":["AWSCURRENT"]}}]}`},
		{"ReplicateSecretToRegions", `{"SecretId":"db","AddReplicaRegions":[{"Region":"eu-west-1"}]}`,
			`{"ARN":"ARN","ReplicationStatus":[{"KmsKeyId":"alias/aws/secretsmanager","Region":"eu-west-1","Status":"InSync","StatusMessage":"Replication succeeded"}]}`},
		{"ListSecrets", `{}`, `{"SecretList":[{"ARN":"ARN","CreatedDate":1770114600,"LastChangedDate":1770114600.002,"Name":"db","PrimaryRegion":"us-east-1","SecretVersionsToStages":{"T1":["AWSCURRENT"]}}]}`},
	})
}
