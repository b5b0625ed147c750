package sqlserver

import (
	"testing"

	"example.com/rotator/internal/testing/awstemplate"
)

// TestSecretOfAWSTemplate: secrets of AWS's templates are rotated unchanged.
func TestSecretOfAWSTemplate(t *testing.T) {
	f := awstemplate.New(t, map[string]string{"CA_BUNDLE": string(certificates(t).PEM)})
	f.Rotate("RDSSQLServerRotationSingleUser", newHarness(t, false))
	f.Rotate("RDSSQLServerRotationMultiUser", newHarness(t, true))
}
