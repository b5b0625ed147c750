package fleet

import (
	"strings"

	"example.com/rotator/rotation/engine"
)

// template is one of AWS's rotation templates.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_available-rotation-templates.html
type template struct {
	Name     string // without the prefix SecretsManager
	Engine   string
	Strategy engine.Strategy
	Keep     string // why it cannot be replaced, or ""
	Secret   string // what each of its secrets needs, or ""
	Function string // what the new function needs, or ""
}

const (
	single      = engine.SingleUser
	alternating = engine.AlternatingUsers
)

var (
	noDb2       = "Db2 is not supported"
	oracle      = "a build with the engine: make build-RotatorFunction TAGS=with_oracle"
	adopt       = "adopt the second user: rotatorctl adopt SECRET shows the plan, and --yes applies it"
	token       = `a field "token" with the first token, which the template could create`
	generic     = "the tag rotator:engine=generic; if the template's setSecret was filled in, write an engine instead"
	tagged      = "a tag rotator:secret with the secret's ARN on the ElastiCache user"
	directories = "permission to reset users of the directory (DirectoryArns)"
)

// templates are AWS's templates.
var templates = []template{
	{Name: "RDSPostgreSQLRotationSingleUser", Engine: "postgres", Strategy: single},
	{Name: "RDSPostgreSQLRotationMultiUser", Engine: "postgres", Strategy: alternating, Secret: adopt},
	{Name: "RDSMySQLRotationSingleUser", Engine: "mysql", Strategy: single},
	{Name: "RDSMySQLRotationMultiUser", Engine: "mysql", Strategy: alternating},
	{Name: "RDSMariaDBRotationSingleUser", Engine: "mariadb", Strategy: single},
	{Name: "RDSMariaDBRotationMultiUser", Engine: "mariadb", Strategy: alternating},
	{Name: "RDSOracleRotationSingleUser", Engine: "oracle", Strategy: single, Function: oracle},
	{Name: "RDSOracleRotationMultiUser", Engine: "oracle", Strategy: alternating, Function: oracle},
	{Name: "RDSSQLServerRotationSingleUser", Engine: "sqlserver", Strategy: single},
	{Name: "RDSSQLServerRotationMultiUser", Engine: "sqlserver", Strategy: alternating},
	{Name: "RedshiftRotationSingleUser", Engine: "redshift", Strategy: single},
	{Name: "RedshiftRotationMultiUser", Engine: "redshift", Strategy: alternating},
	{Name: "MongoDBRotationSingleUser", Engine: "mongodb", Strategy: single},
	{Name: "MongoDBRotationMultiUser", Engine: "mongodb", Strategy: alternating},
	{Name: "ElasticacheUserRotation", Engine: "elasticache", Strategy: single, Secret: tagged},
	{Name: "InfluxDBRotationSingleUser", Engine: "timestream-influxdb", Strategy: single},
	{Name: "InfluxDBRotationMultiUser", Engine: "timestream-influxdb", Secret: token},
	{Name: "RDSDb2RotationSingleUser", Engine: "db2", Strategy: single, Keep: noDb2},
	{Name: "RDSDb2RotationMultiUser", Engine: "db2", Strategy: alternating, Keep: noDb2},
	{Name: "ActiveDirectoryRotationSingleUser", Engine: "aws-directory", Strategy: single, Function: directories},
	{Name: "ActiveDirectoryAndKeytabRotationSingleUser", Strategy: single, Keep: "keytabs are not generated"},
	{Name: "RotationTemplate", Engine: "generic", Strategy: single, Secret: generic},
}

// unknownTemplate is the name of a template that cannot be identified.
const unknownTemplate = "unknown"

// endpoint is a variable that every template reads.
const endpoint = "SECRETS_MANAGER_ENDPOINT"

// settings lists the other variables that AWS's templates read.
var settings = []string{
	"EXCLUDE_CHARACTERS", "PASSWORD_LENGTH", "EXCLUDE_NUMBERS", "EXCLUDE_PUNCTUATION", "EXCLUDE_UPPERCASE",
	"EXCLUDE_LOWERCASE", "REQUIRE_EACH_INCLUDED_TYPE", "USERNAME_CHARACTER_LIMIT",
}

// template returns the template that a function was created from. Its name is "" if the function is not from a
// template, and unknownTemplate if the template cannot be identified. Templates are Python with a fixed handler. The
// function's name or description contains the template's name, or the description its product and users, unless both
// were changed.
// Source: https://docs.aws.amazon.com/cdk/api/v2/docs/aws-cdk-lib.aws_secretsmanager.SecretRotationApplication.html
func (f *Function) template() template {
	if f == nil || !strings.HasPrefix(f.Runtime, "python") || f.Handler != "lambda_function.lambda_handler" {
		return template{}
	}
	short := strings.NewReplacer("rds", "", "postgres ", "postgresql", "using the ", "using", " ", "")
	description := short.Replace(strings.ToLower(f.Description)) // such as mysqlusingsingleuserrotationscheme
	for _, t := range templates {
		scheme := strings.Replace(short.Replace(strings.ToLower(t.Name)), "rotation", "using", 1)
		if strings.Contains(FunctionName(f.ARN)+" "+f.Description, t.Name) ||
			strings.Contains(scheme, "user") && strings.Contains(description, scheme) {
			return t
		}
	}
	if _, ok := f.Settings[endpoint]; ok {
		return template{Name: unknownTemplate}
	}
	return template{}
}
