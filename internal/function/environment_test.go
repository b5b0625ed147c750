package function

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// caught records where requests would have gone, and with which credentials.
type caught []string

func (c *caught) Do(r *http.Request) (*http.Response, error) {
	scope, _, _ := strings.Cut(r.Header.Get("Authorization"), ", SignedHeaders")
	*c = append(*c, fmt.Sprintf("%s %s %s", r.URL, scope, r.Header.Get("X-Amz-Security-Token")))
	return nil, errors.New("connection refused")
}

// requests returns the requests of one call to each of three services.
func requests(t *testing.T, cfg aws.Config) caught {
	t.Helper()
	var c caught
	cfg.HTTPClient, cfg.RetryMaxAttempts = &c, 1
	_, _ = secretsmanager.NewFromConfig(cfg).GetSecretValue(t.Context(),
		&secretsmanager.GetSecretValueInput{SecretId: aws.String("x")})
	_, _ = sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
	_, _ = iam.NewFromConfig(cfg).ListAccessKeys(t.Context(), nil)
	return c
}

// TestEnvironmentIsTheSDKs: the SDK's own loader would send the same requests to the same hosts, with the same
// credentials.
func TestEnvironmentIsTheSDKs(t *testing.T) {
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	lambda := map[string]string{"AWS_REGION": "us-east-2", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
		"AWS_SECRET_ACCESS_KEY": "hidden", "AWS_SESSION_TOKEN": "session"}
	for name, more := range map[string]map[string]string{
		"Lambda's":      {},
		"older region":  {"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-3"},
		"China":         {"AWS_REGION": "cn-north-1"},
		"FIPS":          {"AWS_USE_FIPS_ENDPOINT": "true"},
		"dual stack":    {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
		"both, and off": {"AWS_USE_FIPS_ENDPOINT": "false", "AWS_USE_DUALSTACK_ENDPOINT": "false"},
		"one endpoint":  {"AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://127.0.0.1:7788"},
		"all endpoints": {"AWS_ENDPOINT_URL": "http://127.0.0.1:7788",
			"AWS_ENDPOINT_URL_IAM": "http://127.0.0.1:7799"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range lambda {
				t.Setenv(k, v)
			}
			for k, v := range more {
				t.Setenv(k, v)
			}
			want, err := config.LoadDefaultConfig(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got, err := loadEnvironment()
			if err != nil {
				t.Fatal(err)
			}
			g, w := requests(t, got), requests(t, want)
			if strings.Join(g, "\n") != strings.Join(w, "\n") || len(g) < 3 {
				t.Errorf("requests\n%s\nwant\n%s", strings.Join(g, "\n"), strings.Join(w, "\n"))
			}
		})
	}
}

// TestBadEnvironmentNamesTheVariable: the error names the variable and shows no credential.
func TestBadEnvironmentNamesTheVariable(t *testing.T) {
	lambda := map[string]string{"AWS_REGION": "us-east-2", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
		"AWS_SECRET_ACCESS_KEY": "hidden-credential"}
	noPEM := filepath.Join(t.TempDir(), "bundle.pem")
	if err := os.WriteFile(noPEM, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_USE_FIPS_ENDPOINT": "perhaps",
		"AWS_USE_DUALSTACK_ENDPOINT": "2", "AWS_CA_BUNDLE": noPEM,
	} {
		t.Run(name, func(t *testing.T) {
			env := maps.Clone(lambda)
			env[name] = value
			for k, v := range env {
				t.Setenv(k, v)
			}
			_, err := loadEnvironment()
			enginetest.WantCause(t, err, engine.InvalidConfiguration, name)
			if strings.Contains(err.Error(), "hidden-credential") {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestOwnCertificateAuthority: AWS_CA_BUNDLE is for a proxy that inspects traffic.
func TestOwnCertificateAuthority(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // for the handshake that fails
	t.Setenv("AWS_ACCESS_KEY_ID", "simulated")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "simulated")
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(bundle, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for file, trusted := range map[string]bool{"": false, bundle: true} {
		t.Setenv("AWS_CA_BUNDLE", file)
		cfg, err := loadEnvironment()
		if err != nil {
			t.Fatal(err)
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := cfg.HTTPClient.Do(request)
		if (err == nil) != trusted {
			t.Errorf("with %q: %v", file, err)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
}
