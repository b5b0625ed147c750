package ctl

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"example.com/rotator/rotation/engine"
)

// template is one of AWS's rotation templates.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_available-rotation-templates.html
type template struct {
	Name     string // without the prefix SecretsManager
	Engine   string
	Strategy engine.Strategy
	Verdict  string // keep, unknown or, if it depends on Needs and the secret, ""
	Needs    string // what each of its secrets needs, or why it cannot be replaced, or ""
}

const (
	single      = engine.SingleUser
	alternating = engine.AlternatingUsers
)

const (
	noDb2       = "Db2 is not supported"
	oracle      = "a build with the engine: make build-RotatorFunction TAGS=with_oracle"
	adopt       = "adopt the second user: rotatorctl adopt SECRET shows the plan, and --yes applies it"
	token       = `a field "token" with the first token, which the template could create`
	generic     = "the tag rotator:engine=generic; if the template's setSecret was filled in, write an engine instead"
	tagged      = "a tag rotator:secret with the secret's ARN on the ElastiCache user"
	directories = "permission to reset users of the directory (DirectoryArns)"
)

var templates = []template{
	{Name: "RDSPostgreSQLRotationSingleUser", Engine: "postgres", Strategy: single},
	{Name: "RDSPostgreSQLRotationMultiUser", Engine: "postgres", Strategy: alternating, Needs: adopt},
	{Name: "RDSMySQLRotationSingleUser", Engine: "mysql", Strategy: single},
	{Name: "RDSMySQLRotationMultiUser", Engine: "mysql", Strategy: alternating},
	{Name: "RDSMariaDBRotationSingleUser", Engine: "mariadb", Strategy: single},
	{Name: "RDSMariaDBRotationMultiUser", Engine: "mariadb", Strategy: alternating},
	{Name: "RDSOracleRotationSingleUser", Engine: "oracle", Strategy: single, Needs: oracle},
	{Name: "RDSOracleRotationMultiUser", Engine: "oracle", Strategy: alternating, Needs: oracle},
	{Name: "RDSSQLServerRotationSingleUser", Engine: "sqlserver", Strategy: single},
	{Name: "RDSSQLServerRotationMultiUser", Engine: "sqlserver", Strategy: alternating},
	{Name: "RedshiftRotationSingleUser", Engine: "redshift", Strategy: single},
	{Name: "RedshiftRotationMultiUser", Engine: "redshift", Strategy: alternating},
	{Name: "MongoDBRotationSingleUser", Engine: "mongodb", Strategy: single},
	{Name: "MongoDBRotationMultiUser", Engine: "mongodb", Strategy: alternating},
	{Name: "ElasticacheUserRotation", Engine: "elasticache", Strategy: single, Needs: tagged},
	{Name: "InfluxDBRotationSingleUser", Engine: "timestream-influxdb", Strategy: single},
	{Name: "InfluxDBRotationMultiUser", Engine: "timestream-influxdb", Needs: token},
	{Name: "RDSDb2RotationSingleUser", Engine: "db2", Strategy: single, Verdict: keep, Needs: noDb2},
	{Name: "RDSDb2RotationMultiUser", Engine: "db2", Strategy: alternating, Verdict: keep, Needs: noDb2},
	{Name: "ActiveDirectoryRotationSingleUser", Engine: "aws-directory", Strategy: single, Needs: directories},
	{Name: "ActiveDirectoryAndKeytabRotationSingleUser", Strategy: single, Verdict: keep,
		Needs: "keytabs are not generated"},
	{Name: "RotationTemplate", Engine: "generic", Strategy: single, Needs: generic},
}

// The templates of functions that are not known to be from a template, and may be.
var (
	unknownTemplate = template{Name: "unknown", Verdict: unknown,
		Needs: "find out what to replace: the function's name and description do not name its template"}
	unreadTemplate = template{Name: "unknown", Verdict: unknown,
		Needs: "find out what to replace: the function's configuration cannot be read"}
)

// templateOf returns the template that a function was created from, or one without a name. Templates are Python with a
// fixed handler, and read SECRETS_MANAGER_ENDPOINT. The function's name or description contains the template's name, or
// the description its product and users, unless both were changed.
// Source: https://docs.aws.amazon.com/cdk/api/v2/docs/aws-cdk-lib.aws_secretsmanager.SecretRotationApplication.html
func templateOf(f types.FunctionConfiguration) template {
	if !strings.HasPrefix(string(f.Runtime), "python") || aws.ToString(f.Handler) != "lambda_function.lambda_handler" {
		return template{}
	}
	name, description := functionName(aws.ToString(f.FunctionArn)), aws.ToString(f.Description)
	short := strings.NewReplacer("rds", "", "postgres ", "postgresql", "using the ", "using", " ", "")
	scheme := short.Replace(strings.ToLower(description)) // such as mysqlusingsingleuserrotationscheme
	for _, t := range templates {
		users := strings.Replace(short.Replace(strings.ToLower(t.Name)), "rotation", "using", 1)
		if strings.Contains(name+" "+description, t.Name) ||
			strings.Contains(users, "user") && strings.Contains(scheme, users) {
			return t
		}
	}
	if f.Environment != nil && f.Environment.Variables["SECRETS_MANAGER_ENDPOINT"] != "" {
		return unknownTemplate
	}
	return template{}
}

// settings lists the variables that AWS's templates read, besides their endpoint.
var settings = []string{
	"EXCLUDE_CHARACTERS", "PASSWORD_LENGTH", "EXCLUDE_NUMBERS", "EXCLUDE_PUNCTUATION", "EXCLUDE_UPPERCASE",
	"EXCLUDE_LOWERCASE", "REQUIRE_EACH_INCLUDED_TYPE", "USERNAME_CHARACTER_LIMIT", "DICT_KEY_DIRECTORY",
	"DICT_KEY_USERNAME", "DICT_KEY_PASSWORD",
}

// inherits returns what a new function needs to replace an old one from a template.
func inherits(old types.FunctionConfiguration, t template) (needs []string) {
	if t.Strategy == alternating {
		needs = append(needs, "permission to read the superusers' secrets (SuperuserSecretArns)")
	}
	for _, name := range settings {
		if old.Environment != nil && old.Environment.Variables[name] != "" {
			needs = append(needs, "the old function's setting, unless it is the default: "+name+"="+
				old.Environment.Variables[name])
		}
	}
	if v := old.VpcConfig; v != nil && len(v.SubnetIds) > 0 {
		needs = append(needs, "a route to the network of the old function: subnets "+strings.Join(v.SubnetIds, ",")+
			", security groups "+strings.Join(v.SecurityGroupIds, ","))
	}
	return needs
}

// Whether a secret can switch to this project's function, in the order in which it is shown.
const (
	ready   = "ready"   // as it is
	needs   = "needs"   // once move.Needs is done
	keep    = "keep"    // no: its template cannot be replaced
	unknown = "unknown" // its template is not known
)

var readiness = []string{ready, needs, keep, unknown}

// move describes how to switch one secret from one of AWS's templates.
type move struct {
	Secret   string   `json:"secret"`
	ARN      string   `json:"arn"`
	Template string   `json:"template"` // its name, or unknown
	Verdict  string   `json:"verdict"`
	Needs    []string `json:"needs,omitempty"`
	// Switch and Back are the commands to switch and to go back.
	Switch []string `json:"switch,omitempty"`
	Back   []string `json:"back,omitempty"`

	inherits []string // the secret's
}

// migrate returns how to switch each secret that an AWS template rotates to the function $NEW, and how many secrets
// none rotates. Call readFunctions first.
func migrate(secrets []secret) (moves []move, others int) {
	moves = []move{}
	for i := range secrets {
		if s := &secrets[i]; s.rotates() && s.template.Name != "" {
			moves = append(moves, newMove(s))
		}
	}
	slices.SortStableFunc(moves, func(a, b move) int {
		return cmp.Compare(slices.Index(readiness, a.Verdict), slices.Index(readiness, b.Verdict))
	})
	return moves, len(secrets) - len(moves)
}

func newMove(s *secret) move {
	t, name := s.template, quote(s.Name)
	if strings.HasPrefix(name, "-") { // a command would take it for an option
		name = s.ARN
	}
	m := move{Secret: s.Name, ARN: s.ARN, Template: t.Name, Verdict: t.Verdict}
	if t.Verdict == keep || t == unreadTemplate { // its function may be from no template
		m.Needs = []string{t.Needs}
		return m
	}
	switch s.State {
	case stateRunning:
		m.Needs = append(m.Needs, "wait until the rotation under way has ended")
	case stateStuck, stateFailing:
		m.Needs = append(m.Needs, "end the rotation under way: rotatorctl recover "+name)
	case stateOff:
		m.Needs = append(m.Needs, "decide whether to rotate it: rotation is off, and the switch turns it on")
	}
	if t.Needs != "" && !(t.Engine == "generic" && s.tags["rotator:engine"] != "") {
		m.Needs = append(m.Needs, strings.ReplaceAll(t.Needs, "SECRET", name))
	}
	if s.Key != "" {
		m.Needs = append(m.Needs, "permission to use the key "+s.Key+" (KmsKeyArns)")
	}
	if m.Verdict != unknown {
		m.Verdict, m.inherits = ready, s.inherits
		if len(m.Needs) > 0 {
			m.Verdict = needs
		}
	}
	m.Switch = []string{"rotatorctl rotate " + name + ` --function "$NEW" --test`, "rotatorctl rotate " + name}
	m.Back = []string{"aws secretsmanager rotate-secret --secret-id " + name + " --rotation-lambda-arn " + s.Function +
		" --no-rotate-immediately"}
	return m
}

func printMigration(out *report, secrets []secret) error {
	moves, others := migrate(secrets)
	counts, inherited := make(map[string]int), make(map[string]int)
	for _, m := range moves {
		counts[m.Verdict]++
		out.note(m.Verdict, m.Secret+" ("+m.Template+")")
		for _, need := range m.Needs {
			out.note("", "needs: "+need)
		}
		for _, command := range m.Switch {
			out.note("", "switch: "+command)
		}
		for _, command := range m.Back {
			out.note("", "back: "+command)
		}
		for _, need := range m.inherits {
			inherited[need]++
		}
	}
	for _, need := range slices.Sorted(maps.Keys(inherited)) {
		out.note("new function", "needs: "+need+" ("+plural(inherited[need], "secret")+")")
	}
	text := tally(plural(len(moves), "secret")+" of AWS's templates", counts, readiness)
	return out.end(map[string]any{"secrets": moves, "function_needs": inherited, "others": others}, fmt.Sprintf("%s; %d others", text, others))
}

var plain = regexp.MustCompile(`^[\w/.@:+=-]+$`)

// quote quotes a word for a shell, if necessary.
func quote(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
