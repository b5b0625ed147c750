package awserror

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// TestBrief: the text keeps codes, messages and request ids but drops the layers, and the error keeps its type.
func TestBrief(t *testing.T) {
	const foreign = "the answer, with HTTP status %d, broke off or did not come from the service"
	answer := func(status int, id, body string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Amzn-Requestid", id)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	static := credentials.NewStaticCredentialsProvider("simulated", "simulated", "")
	describeBy := func(ctx context.Context, url string, c aws.CredentialsProvider) error {
		_, err := secretsmanager.New(secretsmanager.Options{
			BaseEndpoint: &url, Region: "us-east-1", Credentials: c, RetryMaxAttempts: 1,
		}).
			DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String("app")})
		return err
	}
	describe := func(url string, c aws.CredentialsProvider) error { return describeBy(t.Context(), url, c) }
	absent := describe(answer(400, "r-1", `{"__type":"ResourceNotFoundException","message":"it is not there"}`), static)
	role := sts.New(sts.Options{
		BaseEndpoint: aws.String(answer(403, "r-2",
			`<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error><RequestId>r-2</RequestId></ErrorResponse>`)), Region: "us-east-1", Credentials: static, RetryMaxAttempts: 1,
	})
	short := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte(`{"ARN":`))
	}))
	t.Cleanup(short.Close)
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(silent.Close)
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	t.Cleanup(cancel)
	for _, c := range []struct {
		err  error
		want string
	}{
		{absent, "ResourceNotFoundException: it is not there"},
		{describe("http://127.0.0.1:1", stscreds.NewAssumeRoleProvider(role, "arn:aws:iam::123456789012:role/r")),
			"AssumeRole: AccessDenied: not you"},
		{describe(answer(500, "r-3", `{"__type":"InternalServiceError","message":"later"}`), static),
			"InternalServiceError: later [request r-3]"},
		{describe(answer(403, "", "proxy"), static), fmt.Sprintf(foreign, 403)},
		{describe(short.URL, static), fmt.Sprintf(foreign, 200)},
		{describe("http://127.0.0.1:1", static),
			"http://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused"},
		{errors.New("another"), "another"},
	} {
		if got := Brief(c.err).Error(); got != c.want {
			t.Errorf("%q, want %q, of %v", got, c.want, c.err)
		}
	}
	late := Brief(describeBy(soon, silent.URL, static)).Error()
	if late != "no answer in time" && late != fmt.Sprintf(foreign, 200) {
		t.Errorf("%q of an answer that does not end", late)
	}
	if _, ok := errors.AsType[*types.ResourceNotFoundException](Brief(absent)); !ok ||
		strings.Contains(Brief(absent).Error(), "StatusCode") {
		t.Errorf("%v", Brief(absent))
	}
}
