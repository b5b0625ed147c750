package mysql_test

import (
	"testing"

	"example.com/rotator/internal/testing/awstemplate"
)

// TestSecretOfAWSTemplate: secrets of AWS's templates are rotated unchanged.
func TestSecretOfAWSTemplate(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		function := awstemplate.New(t, map[string]string{"CA_BUNDLE": string(f.server.CA.PEM)})
		database := f.server.Database(t)
		single, multi := &harness{f, "single", database}, &harness{f, "alternating", database}
		if f.name == "mysql" { // with the build tag mysql
			function.Rotate("RDSMySQLRotationSingleUser", single)
			function.Rotate("RDSMySQLRotationMultiUser", multi)
			return
		}
		function.Rotate("RDSMariaDBRotationSingleUser", single)
		function.Rotate("RDSMariaDBRotationMultiUser", multi)
	})
}
