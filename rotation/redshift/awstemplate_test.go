package redshift

import (
	"testing"

	"example.com/rotator/internal/testing/awstemplate"
	"example.com/rotator/rotation/engine"
)

// TestSecretOfAWSTemplate: secrets of AWS's templates are rotated unchanged.
func TestSecretOfAWSTemplate(t *testing.T) {
	c := newCluster(t)
	f := awstemplate.New(t, map[string]string{"CA_BUNDLE": string(c.CA.PEM)})
	f.Rotate("RedshiftRotationSingleUser", newHarness(t, c, engine.SingleUser))
	f.Rotate("RedshiftRotationMultiUser", newHarness(t, c, engine.AlternatingUsers))
}
