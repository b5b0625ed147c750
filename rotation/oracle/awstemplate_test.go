package oracle

import (
	"testing"

	"example.com/rotator/internal/testing/awstemplate"
)

// TestSecretOfAWSTemplate: the secrets of AWS's own templates are rotated as they are.
func TestSecretOfAWSTemplate(t *testing.T) {
	for template, multi := range map[string]bool{"RDSOracleRotationSingleUser": false, "RDSOracleRotationMultiUser": true} {
		t.Run(template, func(t *testing.T) { awstemplate.Rotate(t, template, recorded(newRecorder(), multi)) })
	}
}
