// Package awstemplate provides the secret formats of AWS's rotation templates, for tests that rotate the same secrets.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
package awstemplate

import (
	"fmt"
	"slices"
	"strings"
)

// Forms maps the names of AWS's templates, without the prefix SecretsManager, to their secrets' formats. Tests fill in
// the names in braces. Every database's format ends with fields that no template reads.
var Forms = func() map[string]string {
	forms := map[string]string{
		"RotationTemplate": `{password}`,
		"ActiveDirectoryRotationSingleUser": `{"awsSeamlessDomainDirectoryId": "{directory}",` +
			` "awsSeamlessDomainUsername": "{username}", "awsSeamlessDomainPassword": "{password}"}`,
		"ElasticacheUserRotation": `{"password": "{password}", "username": "{username}", "user_arn": "{user_arn}"}`,
		"InfluxDBRotationSingleUser": `{"engine": "timestream-influxdb", "username": "{username}",` +
			` "password": "{password}", "dbIdentifier": "{instance}"}`,
		"InfluxDBRotationMultiUser": `{"engine": "timestream-influxdb", "org": "{org}",` +
			` "adminSecretArn": "{superuser}", "type": "custom", "dbIdentifier": "{instance}", "token": "{token}", "writeBuckets": [],` +
			` "readBuckets": [], "permissions": []}`,
	}
	const form = `{"engine": %q, "host": "{host}", "username": "{username}", "password": "{password}",` +
		` "dbname": "{dbname}", "port": {port}%s, "dbInstanceIdentifier": "shop", "dbClusterIdentifier": ""}`
	for name, engine := range map[string]string{
		"RDSPostgreSQL": "postgres", "RDSMySQL": "mysql", "RDSMariaDB": "mariadb", "RDSOracle": "oracle",
		"RDSSQLServer": "sqlserver", "Redshift": "redshift", "MongoDB": "mongo",
	} {
		forms[name+"RotationSingleUser"] = fmt.Sprintf(form, engine, "")
		forms[name+"RotationMultiUser"] = fmt.Sprintf(form, engine, `, "masterarn": "{superuser}"`)
	}
	return forms
}()

// NoDropIn lists the templates whose secrets are rejected, or need another format here.
var NoDropIn = []string{"RDSDb2RotationSingleUser", "RDSDb2RotationMultiUser",
	"ActiveDirectoryAndKeytabRotationSingleUser"}

// Secret returns a template's secret filled with values, given as pairs of a name and a value.
func Secret(template string, values ...string) string {
	pairs := slices.Clone(values)
	for i := 0; i < len(pairs); i += 2 {
		pairs[i] = "{" + pairs[i] + "}"
	}
	return strings.NewReplacer(pairs...).Replace(Forms[template])
}
