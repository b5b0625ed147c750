package redshift

import (
	"testing"

	"example.com/rotator/internal/testing/awstemplate"
	"example.com/rotator/rotation/engine"
)

// TestSecretOfAWSTemplate: the secrets of AWS's own templates are rotated as they are.
func TestSecretOfAWSTemplate(t *testing.T) {
	for users, strategy := range map[string]engine.Strategy{"SingleUser": engine.SingleUser, "MultiUser": engine.AlternatingUsers} {
		t.Run(users, func(t *testing.T) {
			h := newHarness(t, strategy, strategy == engine.AlternatingUsers)
			awstemplate.Rotate(t, "RedshiftRotation"+users, h, h.CA.PEM)
		})
	}
}
