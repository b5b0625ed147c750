package mongodb

import (
	"testing"

	"example.com/rotator/internal/testing/awstemplate"
)

// TestSecretOfAWSTemplate: secrets of AWS's templates are rotated unchanged.
func TestSecretOfAWSTemplate(t *testing.T) {
	s := newFixture(t, ferretDBOptions{})
	f := awstemplate.New(t, map[string]string{"CA_BUNDLE": string(s.CA.PEM)})
	f.Rotate("MongoDBRotationSingleUser", &harness{fixture: s, mode: "itself"})
	f.Rotate("MongoDBRotationMultiUser", &harness{fixture: s, mode: "alternating"})
}
