// Package deploy tests the templates that deploy the function.
package deploy

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// load reads a template. It replaces CloudFormation's short functions with their arguments.
func load(t *testing.T, name string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(data, &node); err != nil {
		t.Fatal(err)
	}
	var untag func(*yaml.Node)
	untag = func(n *yaml.Node) {
		if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
			n.Tag = map[yaml.Kind]string{
				yaml.ScalarNode: "!!str", yaml.SequenceNode: "!!seq", yaml.MappingNode: "!!map",
			}[n.Kind]
		}
		for _, c := range n.Content {
			untag(c)
		}
	}
	untag(&node)
	var out map[string]any
	if err := node.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// statements returns every policy statement in a template.
func statements(x any) []map[string]any {
	var out []map[string]any
	switch x := x.(type) {
	case map[string]any:
		if x["Effect"] != nil && x["Action"] != nil {
			out = append(out, x)
		}
		for _, v := range x {
			out = append(out, statements(v)...)
		}
	case []any:
		for _, v := range x {
			out = append(out, statements(v)...)
		}
	}
	return out
}

func list(x any) []string {
	if s, ok := x.(string); ok {
		return []string{s}
	}
	var out []string
	for _, v := range x.([]any) {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

// given holds parameters that enable everything in the templates.
var given = map[string]string{
	"KmsKeyArns":           "arn:aws:kms:us-east-1:123456789012:key/1,arn:aws:kms:us-east-1:123456789012:key/2",
	"SuperuserKmsKeyArns":  "arn:aws:kms:us-east-1:123456789012:key/3",
	"SuperuserSecretArns":  superuserARN,
	"RedshiftSuperusers":   "true",
	"ElastiCacheUserArns":  "arn:aws:elasticache:us-east-1:123456789012:user:app",
	"MemoryDbUserArns":     "arn:aws:memorydb:us-east-1:123456789012:user/app",
	"InfluxDbInstanceArns": "arn:aws:timestream-influxdb:us-east-1:123456789012:db-instance/a",
	"IamUserArns":          "arn:aws:iam::123456789012:user/app",
	"DirectoryArns":        "arn:aws:ds:us-east-1:123456789012:directory/d-0123456789",
}

// resolve evaluates a template like CloudFormation, with its parameters from given and more.
func resolve(t *testing.T, name string, more map[string]string) map[string]created {
	t.Helper()
	parameters := load(t, name)["Parameters"].(map[string]any)
	values := maps.Clone(given)
	maps.DeleteFunc(values, func(name, _ string) bool { return parameters[name] == nil })
	maps.Copy(values, more)
	resources, err := evaluate(name, values)
	if err != nil {
		t.Fatal(err)
	}
	return resources
}

// everything returns what template.yaml creates if everything is enabled.
func everything(t *testing.T) map[string]created {
	t.Helper()
	return resolve(t, "../template.yaml", map[string]string{
		"RotationRoleArn": "arn:{partition}:iam::{account}:role/rotation", "RotationRoleExternalId": "external",
		"RotationRoleOrganizationId": "o-exampleorg1",
		"VpcSubnetIds":               "subnet-1,subnet-2", "VpcSecurityGroupIds": "sg-1", "Tracing": "Active",
		"AlarmTopicArn":           "arn:aws:sns:us-east-1:123456789012:alarms",
		"PermissionsBoundaryArn":  "arn:aws:iam::123456789012:policy/boundary",
		"RotatorFunctionRole.Arn": "arn:aws:iam::123456789012:role/role", "RotatorLogGroup": "/aws/lambda/rotator",
		"RotatorFunction": "rotator",
	})
}

// services returns the statements that services.yaml adds to the function's role.
func services(t *testing.T, more map[string]string) []map[string]any {
	t.Helper()
	values := map[string]string{"RoleName": "role"}
	maps.Copy(values, more)
	return statements(resolve(t, "services.yaml", values)["ServicesPolicy"].Properties)
}

// crossRole returns what cross-account-role.yaml creates for the function of everything.
func crossRole(t *testing.T) map[string]created {
	t.Helper()
	function := fmt.Sprintf("arn:aws:lambda:us-east-1:123456789012:function:%s",
		everything(t)["RotatorFunction"].Properties["FunctionName"])
	return resolve(t, "cross-account-role.yaml", map[string]string{
		"FunctionRoleArn": "arn:aws:iam::123456789012:role/role", "FunctionArn": function, "ExternalId": "external",
		"OrganizationId": "o-exampleorg1",
	})
}

// resource returns the properties of a resource of one of three templates.
func resource(t *testing.T, name string) map[string]any {
	t.Helper()
	for _, template := range []string{"../template.yaml", "monitoring.yaml", "after-rotation.yaml"} {
		if r, ok := load(t, template)["Resources"].(map[string]any)[name].(map[string]any); ok {
			return r["Properties"].(map[string]any)
		}
	}
	t.Fatalf("no resource %s", name)
	return nil
}

// variables returns the function's variables, with the source of each value.
func variables(t *testing.T) map[string]any {
	t.Helper()
	all := resource(t, "RotatorFunction")["Environment"].(map[string]any)["Variables"].(map[string]any)
	for name, value := range all {
		if choice, ok := value.([]any); ok && len(choice) == 3 && choice[2] == "AWS::NoValue" {
			all[name] = choice[1] // omitted if the parameter is empty
		}
	}
	return all
}

// causeAlarms returns the alarms on causes of failures, with the causes of each.
func causeAlarms(t *testing.T) map[string][]string {
	t.Helper()
	out := make(map[string][]string)
	for name, r := range load(t, "monitoring.yaml")["Resources"].(map[string]any) {
		properties := r.(map[string]any)["Properties"].(map[string]any)
		queries, ok := properties["Metrics"].([]any)
		if r.(map[string]any)["Type"] != "AWS::CloudWatch::Alarm" || !ok {
			continue
		}
		for _, q := range queries {
			stat, ok := q.(map[string]any)["MetricStat"].(map[string]any)
			if !ok {
				continue
			}
			metric := stat["Metric"].(map[string]any)
			dimensions := make(map[string]string)
			for _, d := range metric["Dimensions"].([]any) {
				d := d.(map[string]any)
				dimensions[fmt.Sprint(d["Name"])] = fmt.Sprint(d["Value"])
			}
			if metric["Namespace"] != "Rotator" || metric["MetricName"] != "Failures" || len(dimensions) != 2 ||
				dimensions["function_name"] != "FunctionName" {
				t.Errorf("%s watches %v, not a cause of this function", name, metric)
			}
			out[name] = append(out[name], dimensions["cause"])
		}
	}
	return out
}

// TestEveryCauseHasAnAlarm: each cause has exactly one, and no alarm watches a cause that the function does not report.
func TestEveryCauseHasAnAlarm(t *testing.T) {
	template, err := os.ReadFile("monitoring.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(template), "Value: FunctionName") { // load cannot distinguish it from !Ref
		t.Error("an alarm watches a function of the name FunctionName")
	}
	text, err := os.ReadFile("../rotation/engine/error.go")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, m := range regexp.MustCompile(`(?m)^\t\w+ +Cause = "(\w+)"`).FindAllStringSubmatch(string(text), -1) {
		want = append(want, m[1])
	}
	for _, causes := range causeAlarms(t) {
		got = append(got, causes...)
	}
	slices.Sort(want)
	slices.Sort(got)
	if len(want) < 10 || !slices.Equal(got, want) {
		t.Errorf("alarms on\n%v\nthe function reports\n%v", got, want)
	}
}

// metricsPage returns docs/metrics.md, and each metric's dimensions from its table, in order.
// internal/function tests that the table is correct.
func metricsPage(t *testing.T) (text string, dimensions map[string]string) {
	t.Helper()
	data, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	dimensions = make(map[string]string)
	row := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| \\w+ \\| ([`\\w, ]+) \\|")
	for _, m := range row.FindAllStringSubmatch(string(data), -1) {
		dimensions[m[1]] = strings.NewReplacer("`", "", " ", "").Replace(m[2])
	}
	if len(dimensions) < 6 {
		t.Fatalf("docs/metrics.md has only the metrics %v", dimensions)
	}
	return string(data), dimensions
}

// TestDashboardShowsEveryMetric: each search has the dimensions of its metric, without which CloudWatch finds nothing,
// and is only for this function.
func TestDashboardShowsEveryMetric(t *testing.T) {
	_, want := metricsPage(t)
	body := resource(t, "RotatorDashboard")["DashboardBody"].(string)
	got := make(map[string]string)
	search := regexp.MustCompile(
		`SEARCH\('\{Rotator,([\w,]+)\} MetricName=\\"(\w+)\\" function_name=\\"\$\{FunctionName\}\\"'`)
	for _, m := range search.FindAllStringSubmatch(body, -1) {
		got[m[2]] = m[1]
	}
	if !maps.Equal(got, want) {
		t.Errorf("the dashboard searches\n%v\nthe function writes\n%v", got, want)
	}
}

// TestMetricsPageHasEveryAlarm: each alarm has links to the runbook's sections about its causes.
func TestMetricsPageHasEveryAlarm(t *testing.T) {
	page, _ := metricsPage(t)
	causes := causeAlarms(t)
	for name, r := range load(t, "monitoring.yaml")["Resources"].(map[string]any) {
		if r.(map[string]any)["Type"] != "AWS::CloudWatch::Alarm" {
			continue
		}
		row := regexp.MustCompile(`(?m)^\| ` + name + ` \|.*$`).FindString(page)
		var want, got []string
		for _, cause := range causes[name] {
			want = append(want, "["+cause+"](runbook.md#"+strings.ToLower(cause)+")")
		}
		if want == nil {
			want = []string{"[the first five minutes](runbook.md#the-first-five-minutes)"}
		}
		got = regexp.MustCompile(`\[[^]]+\]\([^)]+\)`).FindAllString(row, -1)
		if !slices.Equal(got, want) {
			t.Errorf("%s leads to %v, want %v", name, got, want)
		}
	}
}

// TestParametersAreUsed: each parameter is used, and each variable of the function is set from the
// parameter of its name, except the endpoints that only the simulator needs.
func TestParametersAreUsed(t *testing.T) {
	template := load(t, "../template.yaml")
	parameters := template["Parameters"].(map[string]any)
	text, err := os.ReadFile("../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range parameters {
		if p := p.(map[string]any); p["Description"] == nil || p["Default"] == nil {
			t.Errorf("parameter %s lacks a description or a default", name)
		}
		if !regexp.MustCompile(`!Ref ` + name + `\b`).Match(text) {
			t.Errorf("parameter %s is not used", name)
		}
	}
	for name, value := range variables(t) {
		if strings.HasPrefix(name, "AWS_ENDPOINT_URL_") {
			continue
		}
		want := strings.ReplaceAll(strings.TrimPrefix(name, "ROTATOR_"), "_", "")
		if !strings.EqualFold(fmt.Sprint(value), want) || parameters[fmt.Sprint(value)] == nil {
			t.Errorf("%s is set from %v, not from the parameter of its name", name, value)
		}
	}
}

// TestTemplateForProduction: the template sets what a platform team needs, and the alarms notify somebody.
func TestTemplateForProduction(t *testing.T) {
	function := resource(t, "RotatorFunction")
	for _, property := range []string{
		"Architectures", "MemorySize", "Timeout", "ReservedConcurrentExecutions", "Tracing",
		"VpcConfig", "LoggingConfig",
	} {
		if function[property] == nil {
			t.Errorf("the function has no %s", property)
		}
	}
	if resource(t, "RotatorLogGroup")["RetentionInDays"] != "LogRetentionDays" {
		t.Error("the log is kept forever")
	}
	rule := resource(t, "RotationFailedRule")
	if !strings.Contains(fmt.Sprint(rule["EventPattern"]), "RotationFailed") ||
		!strings.Contains(fmt.Sprint(rule["Targets"]), "AlarmTopicArn") {
		t.Errorf("nobody is notified of failed rotations: %v", rule)
	}
	alarms := 0
	for name, r := range load(t, "monitoring.yaml")["Resources"].(map[string]any) {
		r := r.(map[string]any)
		if r["Type"] != "AWS::CloudWatch::Alarm" {
			continue
		}
		alarms++
		// RotationFailedAlarm needs no action: the EventBridge rule notifies.
		if p := r["Properties"].(map[string]any); name != "RotationFailedAlarm" &&
			fmt.Sprint(p["AlarmActions"]) != "[AlarmTopicArn]" {
			t.Errorf("%s notifies nobody", name)
		}
	}
	if alarms < 3 {
		t.Errorf("%d alarms", alarms)
	}
	for _, name := range []string{
		"../template.yaml", "monitoring.yaml", "services.yaml", "cross-account-role.yaml",
		"after-rotation.yaml", "example-secret.yaml", "../examples/sam/template.yaml",
	} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "cfn-lint") {
			t.Errorf("%s silences cfn-lint", name)
		}
	}
}

// TestExampleOfSAM: examples/sam passes only parameters that the templates have, and all those without a default, and
// takes the function's ARN from an output that exists.
func TestExampleOfSAM(t *testing.T) {
	example := load(t, "../examples/sam/template.yaml")
	for name, r := range example["Resources"].(map[string]any) {
		properties := r.(map[string]any)["Properties"].(map[string]any)
		inner := load(t, filepath.Join("../examples/sam", fmt.Sprint(properties["Location"])))
		passed, known := properties["Parameters"].(map[string]any), inner["Parameters"].(map[string]any)
		for parameter, value := range passed {
			if known[parameter] == nil {
				t.Errorf("%s passes %s, which its template lacks", name, parameter)
			}
			if output, ok := strings.CutPrefix(fmt.Sprint(value), "Function.Outputs."); ok && load(t, "../template.yaml")["Outputs"].(map[string]any)[output] == nil {
				t.Errorf("the function has no output %s", output)
			}
		}
		for parameter, p := range known {
			if p.(map[string]any)["Default"] == nil && passed[parameter] == nil {
				t.Errorf("%s does not pass %s", name, parameter)
			}
		}
	}
}

// TestRepositoryMetadata: the metadata has what the Serverless Application Repository requires, with existing files and
// the changelog's first version.
// Source: https://docs.aws.amazon.com/serverlessrepo/latest/devguide/sam-metadata-properties
func TestRepositoryMetadata(t *testing.T) {
	all := load(t, "../template.yaml")["Metadata"].(map[string]any)
	metadata := all["AWS::ServerlessRepo::Application"].(map[string]any)
	for _, name := range []string{
		"Name", "Description", "Author", "SpdxLicenseId", "LicenseUrl", "ReadmeUrl", "SemanticVersion", "Labels",
	} {
		if metadata[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	for _, name := range []string{"LicenseUrl", "ReadmeUrl"} {
		if _, err := os.Stat(filepath.Join("..", fmt.Sprint(metadata[name]))); err != nil {
			t.Error(err)
		}
	}
	text, err := os.ReadFile("../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	newest := regexp.MustCompile(`(?m)^## \[(\d+\.\d+\.\d+)\]`).FindStringSubmatch(string(text))
	if newest == nil || newest[1] != metadata["SemanticVersion"] {
		t.Errorf("the template has version %v, the changelog begins with %v", metadata["SemanticVersion"], newest)
	}
}

// TestLeastPrivilege: the function may use only secrets that name it, keys only through Secrets
// Manager for the secrets' ARNs, and only roles that the operator names.
func TestLeastPrivilege(t *testing.T) {
	for _, name := range []string{
		"../template.yaml", "services.yaml", "cross-account-role.yaml", "after-rotation.yaml",
	} {
		found := statements(load(t, name))
		if len(found) < 3 {
			t.Fatalf("%s: %d statements found", name, len(found))
		}
		for _, s := range found {
			id := fmt.Sprintf("%s: statement %v", filepath.Base(name), s["Sid"])
			condition := fmt.Sprint(s["Condition"])
			for _, action := range list(s["Action"]) {
				if strings.Contains(action, "*") {
					t.Errorf("%s allows %s", id, action)
				}
				if s["Effect"] == "Allow" && s["Resource"] == "*" && !takesNoARN(found, s, action) {
					t.Errorf("%s allows %s on everything", id, action)
				}
				switch action {
				case "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage":
					if !strings.Contains(condition, "secretsmanager:resource/AllowRotationLambdaArn") {
						t.Errorf("%s allows %s on secrets of other functions", id, action)
					}
				case "kms:Decrypt", "kms:GenerateDataKey":
					if !strings.Contains(condition, "kms:ViaService") ||
						!strings.Contains(condition, "kms:EncryptionContext:SecretARN") {
						t.Errorf("%s allows %s outside Secrets Manager", id, action)
					}
				case "elasticache:ModifyUser", "memorydb:UpdateUser":
					if !strings.Contains(condition, "aws:ResourceTag/rotator:secret") {
						t.Errorf("%s allows %s on users that the operator has not tagged", id, action)
					}
				case "sts:AssumeRole":
					if p, ok := s["Principal"].(map[string]any); ok && p["Service"] != nil {
						// Lambda needs no such condition: a deployer needs permission to pass the role to it.
						if p["Service"] != "lambda.amazonaws.com" && !strings.Contains(condition, "aws:SourceAccount") {
							t.Errorf("%s may be assumed for other accounts", id)
						}
					} else if s["Principal"] != nil &&
						(!strings.Contains(condition, "sts:ExternalId") ||
							!strings.Contains(condition, "aws:PrincipalOrgID")) {
						t.Errorf("%s may be assumed without external ID or from outside the organization", id)
					}
				}
			}
		}
	}
	if role := resource(t, "RotatorFunctionRole"); role["ManagedPolicyArns"] != nil {
		t.Errorf("the role has %v, which allow more than the function does", role["ManagedPolicyArns"])
	}
	permission := resource(t, "RotatorPermission")
	if permission["Principal"] != "secretsmanager.amazonaws.com" || permission["SourceAccount"] != "AWS::AccountId" {
		t.Errorf("the function may be called by %v for account %v", permission["Principal"],
			permission["SourceAccount"])
	}
}

// TestOneSecretNeedsNoTag: a function whose variables name one secret and one user, as in AWS's
// template, may change that user without a tag.
func TestOneSecretNeedsNoTag(t *testing.T) {
	found := 0
	for _, s := range services(t, map[string]string{
		"SecretArn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:app-AbCdEf",
	}) {
		if a := list(s["Action"])[0]; a == "elasticache:ModifyUser" || a == "memorydb:UpdateUser" {
			if found++; s["Condition"] != nil {
				t.Errorf("%s requires %v", a, s["Condition"])
			}
		}
	}
	if found != 2 {
		t.Errorf("%d statements are about users of caches", found)
	}
}

// takesNoARN reports whether a statement may allow an action on all resources: the action only lists, writes traces, or
// manages network interfaces and is denied to the function's code.
func takesNoARN(all []map[string]any, s map[string]any, action string) bool {
	switch s["Sid"] {
	case "RedshiftHostsOfSuperusers", "Directories":
		return regexp.MustCompile(`:(Describe|List)[A-Za-z]+$`).MatchString(action)
	case "Traces":
		return strings.HasPrefix(action, "xray:Put")
	case "NetworkInterfaces":
		return slices.ContainsFunc(all, func(other map[string]any) bool {
			return other["Effect"] == "Deny" && other["Resource"] == "*" &&
				slices.Contains(list(other["Action"]), action) &&
				strings.Contains(fmt.Sprint(other["Condition"]), "map[ArnEquals:map[lambda:SourceFunctionArn:")
		})
	}
	return false
}

// TestRoleOfAnotherAccountMayWhatTheFunctionMay: if there is such a role, engines use it for all their calls.
func TestRoleOfAnotherAccountMayWhatTheFunctionMay(t *testing.T) {
	role := make(map[string]map[string]any)
	ours := everything(t)
	for _, s := range statements(crossRole(t)["RotationRole"].Properties) {
		role[fmt.Sprint(s["Sid"])] = s
	}
	for _, s := range append(statements(ours["RotatorFunctionRole"].Properties["Policies"]), services(t, nil)...) {
		sid := fmt.Sprint(s["Sid"])
		switch sid {
		case "Log", "NetworkInterfaces", "NetworkInterfacesNotByTheCode", "Traces":
			continue // for Lambda itself
		case "SecretsThatNameThisFunction": // the ARN is composed in one template and a parameter in the other
			sid = "SecretsThatNameTheFunction"
		case "RoleOfTheSecretsAccounts":
			continue
		}
		s["Sid"] = sid
		if fmt.Sprint(s) != fmt.Sprint(role[sid]) {
			t.Errorf("the function has\n%v\nthe role\n%v", s, role[sid])
		}
		delete(role, sid)
	}
	delete(role, "<nil>")            // the trust policy
	delete(role, "KeysOfSuperusers") // the function has one statement for both kinds of secrets
	if len(role) > 0 {
		t.Errorf("the role additionally has %v", role)
	}
}

// TestVariablesAreSettings: every variable that the code reads can be set in ROTATOR_SETTINGS and is in
// docs/configuration.md, and an engine's settings are on the engine's page.
func TestVariablesAreSettings(t *testing.T) {
	known := pages(t, "../internal/function/settings.go")
	configuration := pages(t, "../docs/configuration.md")
	getenv := regexp.MustCompile(`(?:getenv|settings)\("([A-Z_]+)"\)`)
	option := regexp.MustCompile(`o\.(?:text|bool)\("([a-z-]+)"`)
	own := regexp.MustCompile(`Option +=? *"([a-z-]+)"`)
	var read, engines []string
	for _, pattern := range []string{"../internal/function/*.go", "../rotation/*.go", "../rotation/*/*.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all := strings.ReplaceAll(string(text), "cfg.Getenv(", "getenv(")
			for _, m := range getenv.FindAllStringSubmatch(all, -1) {
				read = append(read, m[1])
			}
			all = strings.ReplaceAll(string(text), "options.text", "o.text")
			for _, m := range option.FindAllStringSubmatch(all, -1) {
				read = append(read, strings.ToUpper(strings.ReplaceAll(m[1], "-", "_")))
			}
			for _, m := range own.FindAllStringSubmatch(string(text), -1) {
				engines = append(engines, "ROTATOR_"+strings.ToUpper(strings.ReplaceAll(m[1], "-", "_")))
			}
		}
	}
	if !slices.Contains(read, "PASSWORD_LENGTH") || !slices.Contains(read, "CA_BUNDLE") ||
		!slices.Contains(engines, "ROTATOR_GENERIC_KIND") {
		t.Fatalf("the variables were not found in the code: %v, %v", read, engines)
	}
	for _, m := range regexp.MustCompile(`"(ROTATOR_[A-Z_]+)"`).FindAllStringSubmatch(known, -1) {
		if m[1] != "ROTATOR_SETTINGS" && !slices.Contains(engines, m[1]) {
			t.Errorf("no engine reads the setting %s", m[1])
		}
	}
	text := pages(t, "../docs/engines/*.md")
	for _, name := range engines {
		if !strings.Contains(known, `"`+name+`"`) {
			t.Errorf("an engine reads %s, which is not a setting", name)
		}
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("an engine reads %s, which no engine's page documents", name)
		}
	}
	for _, name := range read {
		if strings.HasPrefix(name, "AWS_LAMBDA_") {
			continue // only Lambda can set them
		}
		if !strings.Contains(known, `"`+name+`"`) {
			t.Errorf("the code reads %s, which is not a setting", name)
		}
		if !strings.Contains(configuration, "`"+name+"`") {
			t.Errorf("the code reads %s, which docs/configuration.md does not explain", name)
		}
	}
}

// pages returns the text of all files that match one of the patterns.
func pages(t *testing.T, patterns ...string) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range patterns {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
	}
	return all.String()
}

// TestTemplateIsForReaders: the template is short, has few parameters, and `sam deploy --guided` works with Enter
// alone. SAM would keep asking for a NoEcho parameter without a value, and would ask for a signing profile if there
// were a property CodeSigningConfigArn.
func TestTemplateIsForReaders(t *testing.T) {
	text := pages(t, "../template.yaml")
	if n := strings.Count(text, "\n"); n > 350 {
		t.Errorf("%d lines", n)
	}
	template := load(t, "../template.yaml")
	if n := len(template["Parameters"].(map[string]any)); n > 20 {
		t.Errorf("%d parameters", n)
	}
	for _, trap := range []string{"NoEcho", "CodeSigningConfigArn"} {
		if strings.Contains(text, trap) {
			t.Errorf("the template has %s", trap)
		}
	}
	group := template["Resources"].(map[string]any)["RotatorLogGroup"].(map[string]any)
	if group["DeletionPolicy"] != "RetainExceptOnCreate" {
		t.Error("the log group of a failed creation blocks the next one")
	}
	for _, output := range []string{"RotationLambdaARN", "RotatorRoleArn", "RotatorRoleName"} {
		if template["Outputs"].(map[string]any)[output] == nil {
			t.Errorf("no output %s", output)
		}
	}
}

// TestParametersThatAreRejected: CloudFormation rejects them before it creates anything. A backslash is rejected
// because the SAM CLI drops it together with what follows.
func TestParametersThatAreRejected(t *testing.T) {
	resources := map[string]string{
		"RotatorFunctionRole.Arn": "role", "RotatorFunctionRole": "role", "RotatorLogGroup": "log",
		"RotatorFunction": "function",
	}
	for _, c := range []struct {
		name, value string
		taken       bool
	}{
		{"Settings", `STRATEGY=single`, false},
		{"Settings", `{"EXCLUDE_CHARACTERS":"\""}`, false},
		{"Settings", `{"EXCLUDE_CHARACTERS":"/@\u0022'\u005c", "STRATEGY": "single"}`, true},
		{"ExcludeCharacters", `/@"'\`, false},
		{"ExcludeCharacters", `/@"'`, true},
		{"PasswordLength", "-1", false},
		{"PasswordLength", "40", true},
		{"Timeout", "901", false},
		{"LogLevel", "LOUD", false},
		{"FunctionName", "a b", false},
		{"FunctionName", strings.Repeat("a", 48), true},
		{"FunctionName", strings.Repeat("a", 49), false}, // a rule's name has at most 64 characters
		{"AlarmTopicArn", "alarms", false},
		{"RotationRoleArn", "rotation", false},
		{"RotationRoleArn", "arn:{partition}:iam::{account}:role/rotation", true},
		{"RotationRoleOrganizationId", "org", false},
	} {
		values := maps.Clone(resources)
		values[c.name] = c.value
		if _, err := evaluate("../template.yaml", values); (err == nil) != c.taken {
			t.Errorf("%s=%s: %v", c.name, c.value, err)
		}
	}
}

// TestNoMetricsNoDashboard: without the function's metrics, nothing that needs them is created.
func TestNoMetricsNoDashboard(t *testing.T) {
	var got []string
	for name := range resolve(t, "monitoring.yaml", map[string]string{
		"AlarmTopicArn": "arn:aws:sns:us-east-1:123456789012:alarms", "Metrics": "off",
	}) {
		got = append(got, name)
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"ErrorAlarm", "RotationFailedAlarm"}) {
		t.Errorf("without metrics there are %v", got)
	}
}

// TestParametersAreExplained: every parameter of a template is on some page, and template.yaml's
// are in the table of docs/deploy.md.
func TestParametersAreExplained(t *testing.T) {
	for template, text := range map[string]string{
		"../template.yaml":        pages(t, "../docs/deploy.md"),
		"monitoring.yaml":         pages(t, "../docs/deploy.md"),
		"services.yaml":           pages(t, "../docs/deploy.md"),
		"cross-account-role.yaml": pages(t, "../docs/*.md", "../docs/engines/*.md"),
		"after-rotation.yaml":     pages(t, "../docs/after-a-rotation.md"),
	} {
		for name := range load(t, template)["Parameters"].(map[string]any) {
			if !regexp.MustCompile("[`\"]" + name + "[`\"]|[^A-Za-z]" + name + "=").MatchString(text) {
				t.Errorf("%s: no page explains the parameter %s", template, name)
			}
		}
	}
	// A parameter that an engine's rights depend on is also on the engine's page.
	for page, names := range map[string][]string{
		"elasticache": {"ElastiCacheUserArns", "Timeout"}, "memorydb": {"MemoryDbUserArns", "Timeout"},
		"iam": {"IamUserArns", "IAM_BY_ROLE"}, "timestream-influxdb": {"InfluxDbInstanceArns"},
		"active-directory": {"DirectoryArns"},
	} {
		for _, name := range names {
			if !strings.Contains(pages(t, "../docs/engines/"+page+".md"), "`"+name+"`") {
				t.Errorf("the page of %s does not name %s", page, name)
			}
		}
	}
}

// TestContradictionsReachLambda: a function outside the VPC that its security groups belong to would only time out.
func TestContradictionsReachLambda(t *testing.T) {
	for parameter, want := range map[string]bool{"VpcSubnetIds": true, "VpcSecurityGroupIds": true, "KmsKeyArns": false} {
		function := resolve(t, "../template.yaml", map[string]string{parameter: "x-1", "RotatorFunction": "rotator",
			"RotatorFunctionRole.Arn": "role", "RotatorLogGroup": "log"})["RotatorFunction"]
		if got := function.Properties["VpcConfig"] != nil; got != want {
			t.Errorf("only %s: VpcConfig is there: %v", parameter, got)
		}
	}
}

// TestRotationFailedRuleNeedsNoTopic: the alarm of another stack counts the rule's events.
func TestRotationFailedRuleNeedsNoTopic(t *testing.T) {
	rule, ok := resolve(t, "../template.yaml", map[string]string{"RotatorFunction": "rotator",
		"RotatorFunctionRole.Arn": "role", "RotatorLogGroup": "log"})["RotationFailedRule"]
	if !ok || rule.Properties["Targets"] != nil {
		t.Errorf("%v, %+v", ok, rule.Properties)
	}
	if everything(t)["RotationFailedRule"].Properties["Targets"] == nil {
		t.Error("with a topic, the rule has no target")
	}
}
