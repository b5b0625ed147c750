package postgres_test

import (
	"testing"

	"example.com/rotator/internal/testing/awstemplate"
	"example.com/rotator/internal/testing/testserver"
)

// TestSecretOfAWSTemplate: secrets of AWS's templates are rotated unchanged.
func TestSecretOfAWSTemplate(t *testing.T) {
	pg := testserver.SharedPostgres(t, testserver.PostgresOptions{})
	f := awstemplate.New(t, map[string]string{"CA_BUNDLE": string(pg.CA.PEM)})
	admin := pg.Connect(t, "postgres")
	f.Rotate("RDSPostgreSQLRotationSingleUser", &harness{pg: pg, admin: admin})
	f.Rotate("RDSPostgreSQLRotationMultiUser", &harness{pg: pg, admin: admin, alternating: true})
}
