package rotation

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"example.com/rotator/rotation/engine"
)

// Step is one of the four calls of a rotation.
type Step string

// The steps, in the order and spelling in which Secrets Manager sends them.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html
const (
	CreateSecret Step = "createSecret"
	SetSecret    Step = "setSecret"
	TestSecret   Step = "testSecret"
	FinishSecret Step = "finishSecret"
)

// Event is what Secrets Manager sends for one step. Unknown members of its JSON are ignored.
type Event struct {
	Step     Step
	SecretID string // the secret's full ARN, suffix included
	// ClientRequestToken is the id of the pending version, of 32 to 64 characters.
	ClientRequestToken string
	// RotationToken proves to Secrets Manager that a PutSecretValue by an assumed role belongs to this rotation. It is
	// sensitive and differs in every call. Older deployments do not send it.
	RotationToken engine.Value
}

// UnmarshalJSON decodes an event and rejects it if no step could act on it. The error has the cause InvalidEvent and
// lists every fault.
func (e *Event) UnmarshalJSON(data []byte) error {
	var raw struct {
		Step, SecretId, ClientRequestToken, RotationToken string
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		// The decoder's error may quote the input, including the rotation token.
		return engine.Errorf(engine.InvalidEvent, adviceEvent, "the event is not a JSON object with text members")
	}
	var faults []string
	// The user guide's parameter list writes create_secret where the service sends createSecret.
	step := Step(strings.Replace(raw.Step, "_s", "S", 1))
	if !slices.Contains([]Step{CreateSecret, SetSecret, TestSecret, FinishSecret}, step) {
		faults = append(faults, "Step is not createSecret, setSecret, testSecret or finishSecret")
	}
	if a, err := arn.Parse(raw.SecretId); err != nil || a.Service != "secretsmanager" ||
		!strings.HasPrefix(a.Resource, "secret:") {
		faults = append(faults, "SecretId is not the ARN of a secret")
	}
	if n := len(raw.ClientRequestToken); n < 32 || n > 64 {
		faults = append(faults, "ClientRequestToken is not a version id of 32 to 64 characters")
	}
	// Source for RotationToken: the API model, "36 to 256 of [a-zA-Z0-9-]".
	if n := len(raw.RotationToken); n != 0 && (n < 36 || n > 256) {
		faults = append(faults, "RotationToken does not have 36 to 256 characters")
	}
	if faults != nil {
		return engine.Errorf(engine.InvalidEvent, adviceEvent, "%s", strings.Join(faults, "; "))
	}
	*e = Event{Step: step, SecretID: raw.SecretId, ClientRequestToken: raw.ClientRequestToken,
		RotationToken: engine.StringValue(raw.RotationToken)}
	return nil
}

const adviceEvent = "send the event that Secrets Manager sends; `rotatorctl event STEP SECRET` prints one"
