package oracle

import (
	"testing"

	"example.com/rotator/internal/testing/awstemplate"
)

// TestSecretOfAWSTemplate: secrets of AWS's templates are rotated unchanged.
func TestSecretOfAWSTemplate(t *testing.T) {
	for users, multi := range map[string]bool{"SingleUser": false, "MultiUser": true} {
		t.Run(users, func(t *testing.T) {
			awstemplate.Rotate(t, "RDSOracleRotation"+users, recorded(newRecorder(), multi), nil)
		})
	}
}
