package oracle

import (
	"testing"

	"example.com/rotator/internal/testing/awstemplate"
)

// TestSecretOfAWSTemplate: secrets of AWS's templates are rotated unchanged.
func TestSecretOfAWSTemplate(t *testing.T) {
	f := awstemplate.New(t, nil)
	f.Rotate("RDSOracleRotationSingleUser", recorded(newRecorder(), false))
	f.Rotate("RDSOracleRotationMultiUser", recorded(newRecorder(), true))
}
