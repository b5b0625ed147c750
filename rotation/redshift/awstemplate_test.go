package redshift

import (
	"testing"

	"example.com/rotator/internal/testing/awstemplate"
	"example.com/rotator/rotation/engine"
)

// TestSecretOfAWSTemplate: secrets of AWS's templates are rotated unchanged.
func TestSecretOfAWSTemplate(t *testing.T) {
	for users, strategy := range map[string]engine.Strategy{"SingleUser": engine.SingleUser, "MultiUser": engine.AlternatingUsers} {
		t.Run(users, func(t *testing.T) {
			h := newHarness(t, newCluster(t), strategy)
			awstemplate.Rotate(t, "RedshiftRotation"+users, h, h.CA.PEM)
		})
	}
}
