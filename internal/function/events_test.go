package function

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// TestEventsOfTheFolder: the files in events work as docs/sam.md uses them: as the four steps of a rotation of demo/app
// that began with their token, and as the first step for a secret in another account, with a role there.
func TestEventsOfTheFolder(t *testing.T) {
	names, err := filepath.Glob("../../events/*Secret*.json")
	if err != nil || len(names) != 5 {
		t.Fatalf("%v, %v", names, err)
	}
	for _, account := range []string{"123456789012", secretsAccount} {
		w := newWorld(t)
		w.env["ROTATION_ROLE_ARN"] = "arn:{partition}:iam::{account}:role/rotation"
		theirs := secretsmanager.New(secretsmanager.Options{
			BaseEndpoint: aws.String(os.Getenv("AWS_ENDPOINT_URL_SECRETS_MANAGER")), Region: "us-east-1",
			Credentials: credentials.NewStaticCredentialsProvider(account, "simulated", "")})
		out, err := theirs.CreateSecret(t.Context(),
			&secretsmanager.CreateSecretInput{Name: aws.String("demo/app"),
				SecretString: aws.String(`{"engine": "generic", "key": "placeholder"}`)})
		if err != nil {
			t.Fatal(err)
		}
		w.env["ROTATOR_GENERIC_FIELD"] = "key"
		if _, err := theirs.RotateSecret(t.Context(),
			&secretsmanager.RotateSecretInput{SecretId: out.ARN, ClientRequestToken: aws.String(token),
				RotationLambdaARN: aws.String(functionARN)}); err != nil {
			t.Fatal(err)
		}
		_ = w.sim.WaitRotation(t.Context(), *out.ARN) // its function does nothing
		done := 0
		for _, step := range allSteps {
			for _, name := range names {
				text, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				var e struct{ Step, SecretId string }
				if err := json.Unmarshal(text, &e); err != nil {
					t.Fatal(err)
				}
				if e.Step != step || !strings.Contains(e.SecretId, ":"+account+":") {
					continue
				}
				done++
				if err := w.invoke(string(text)); err != nil {
					t.Errorf("%s: %v\n%s", name, err, w.log.String())
				}
			}
		}
		d, err := theirs.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: out.ARN})
		if err != nil {
			t.Fatal(err)
		}
		switch current := slices.Contains(d.VersionIdsToStages[token], "AWSCURRENT"); {
		case account == secretsAccount && (done != 1 || current):
			t.Errorf("of another account %d events, current: %v", done, current)
		case account != secretsAccount && (done != 4 || !current):
			t.Errorf("%d events, current: %v", done, current)
		}
	}
}
