package mysql_test

import (
	"testing"

	"example.com/rotator/internal/testing/awstemplate"
)

// TestSecretOfAWSTemplate: secrets of AWS's templates are rotated unchanged.
func TestSecretOfAWSTemplate(t *testing.T) {
	only(t, "mariadb", func(t *testing.T, f *fixture) {
		function, single, multi := ofTemplates(t, f)
		function.Rotate("RDSMariaDBRotationSingleUser", single)
		function.Rotate("RDSMariaDBRotationMultiUser", multi)
	})
}

func ofTemplates(t *testing.T, f *fixture) (function *awstemplate.Function, single, multi *harness) {
	database := f.server.Database(t)
	function = awstemplate.New(t, map[string]string{"CA_BUNDLE": string(f.server.CA.PEM)})
	return function, &harness{f, "single", database}, &harness{f, "alternating", database}
}
