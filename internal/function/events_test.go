package function

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// TestEventsOfTheFolder: the files in events work as docs/sam.md uses them, as the four steps of a rotation of demo/app
// that began with their token.
func TestEventsOfTheFolder(t *testing.T) {
	if names, err := filepath.Glob("../../events/*Secret*.json"); err != nil || len(names) != len(allSteps) {
		t.Fatalf("%v, %v", names, err)
	}
	w := newWorld(t)
	w.env["ROTATOR_GENERIC_FIELD"] = "key"
	client := secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String(os.Getenv("AWS_ENDPOINT_URL_SECRETS_MANAGER")), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("123456789012", "simulated", "")})
	out, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("demo/app"),
		SecretString: aws.String(`{"engine": "generic", "key": "placeholder"}`)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: out.ARN,
		ClientRequestToken: aws.String(token), RotationLambdaARN: aws.String(functionARN)}); err != nil {
		t.Fatal(err)
	}
	_ = w.sim.WaitRotation(t.Context(), *out.ARN) // its function does nothing
	for _, step := range allSteps {
		text, err := os.ReadFile("../../events/" + step + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.invoke(string(text)); err != nil {
			t.Errorf("%s: %v\n%s", step, err, w.log.String())
		}
	}
	current, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: out.ARN})
	if err != nil || aws.ToString(current.VersionId) != token {
		t.Errorf("AWSCURRENT is on %s, %v", aws.ToString(current.VersionId), err)
	}
}
