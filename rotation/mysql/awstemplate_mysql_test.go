//go:build mysql

package mysql_test

import "testing"

func TestSecretOfAWSTemplateForMySQL(t *testing.T) {
	only(t, "mysql", func(t *testing.T, f *fixture) {
		function, single, multi := ofTemplates(t, f)
		function.Rotate("RDSMySQLRotationSingleUser", single)
		function.Rotate("RDSMySQLRotationMultiUser", multi)
	})
}
