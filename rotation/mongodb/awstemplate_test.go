package mongodb

import (
	"testing"

	"example.com/rotator/internal/testing/awstemplate"
	"example.com/rotator/internal/testing/testserver"
)

// TestSecretOfAWSTemplate: secrets of AWS's templates are rotated unchanged.
func TestSecretOfAWSTemplate(t *testing.T) {
	s := newFixture(t, testserver.FerretDBOptions{})
	f := awstemplate.New(t, map[string]string{"CA_BUNDLE": string(s.CA.PEM)})
	f.Rotate("MongoDBRotationSingleUser", &harness{fixture: s, mode: "itself"})
	f.Rotate("MongoDBRotationMultiUser", &harness{fixture: s, mode: "alternating"})
}
