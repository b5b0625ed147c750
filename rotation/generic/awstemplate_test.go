package generic_test

import (
	"testing"

	"example.com/rotator/internal/testing/awstemplate"
)

// TestSecretOfAWSTemplate: a secret of AWS's template is rotated unchanged.
func TestSecretOfAWSTemplate(t *testing.T) {
	f := awstemplate.New(t, map[string]string{"ENGINE": "generic"})
	f.Rotate("RotationTemplate", barePassword())
}
