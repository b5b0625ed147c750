// Package awstemplate rotates secrets in the formats of AWS's rotation templates, for tests of engines.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
package awstemplate

import (
	"fmt"

	"example.com/rotator/rotation/engine"
)

// Forms maps the names of AWS's templates, without the prefix SecretsManager, to their secrets' formats. Every
// database's format ends with fields that no template reads.
var Forms = func() map[string]string {
	forms := map[string]string{
		"RotationTemplate": `a bare string`,
		"ActiveDirectoryRotationSingleUser": `{"awsSeamlessDomainDirectoryId": "",` +
			` "awsSeamlessDomainUsername": "", "awsSeamlessDomainPassword": ""}`,
		"ElasticacheUserRotation": `{"password": "", "username": "", "user_arn": ""}`,
		"InfluxDBRotationSingleUser": `{"engine": "timestream-influxdb", "username": "",` +
			` "password": "", "dbIdentifier": ""}`,
		"InfluxDBRotationMultiUser": `{"engine": "timestream-influxdb", "org": "", "adminSecretArn": "",` +
			` "type": "custom", "dbIdentifier": "", "token": "", "writeBuckets": [], "readBuckets": [], "permissions": []}`,
	}
	const form = `{"engine": %q, "host": "", "username": "", "password": "", "dbname": "", "port": 1%s,` +
		` "dbInstanceIdentifier": "shop", "dbClusterIdentifier": ""}`
	for name, engine := range map[string]string{
		"RDSPostgreSQL": "postgres", "RDSMySQL": "mysql", "RDSMariaDB": "mariadb", "RDSOracle": "oracle",
		"RDSSQLServer": "sqlserver", "Redshift": "redshift", "MongoDB": "mongo",
	} {
		forms[name+"RotationSingleUser"] = fmt.Sprintf(form, engine, "")
		forms[name+"RotationMultiUser"] = fmt.Sprintf(form, engine, `, "masterarn": ""`)
	}
	return forms
}()

// NoDropIn lists the templates whose secrets are rejected, or need another format here.
var NoDropIn = []string{"RDSDb2RotationSingleUser", "RDSDb2RotationMultiUser",
	"ActiveDirectoryAndKeytabRotationSingleUser"}

// secret returns v in a template's format, without the fields that the format lacks.
func secret(template string, v engine.Value) engine.Value {
	form := engine.StringValue(Forms[template])
	if !form.IsObject() {
		return v
	}
	for _, name := range form.Names() {
		if raw := v.JSON(name); raw != nil && name != "engine" {
			form = form.WithJSON(name, raw)
		}
	}
	return form
}
