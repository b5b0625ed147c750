package sim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// constraint restricts a member of a request. It bounds the length of a text or a list, or the value of a number.
type constraint struct {
	required bool
	min, max int         // max 0 is no limit
	pattern  string      // of the whole text
	enum     []string    // the possible texts
	each     *constraint // of the members of a list
	secret   bool        // its errors omit the value, and its length is in bytes
}

const filterPattern = `^\!?[a-zA-Z0-9 :_@\/\+\=\.\-\!]*$`

var regionName = constraint{min: 1, max: 128, pattern: `^([a-z]+-)+\d+$`}

// constraints holds the constraints by the member's name, or by structure and name where structures differ.
// Source: botocore's data/secretsmanager/2017-10-17/service-2.json
var constraints = map[string]constraint{
	"AddReplicaRegions":                        {required: true, min: 1},
	"AutomaticallyAfterDays":                   {min: 1, max: 1000},
	"BatchGetSecretValueInput.MaxResults":      {min: 1, max: 20},
	"ClientRequestToken":                       {min: 32, max: 64},
	"CreateSecretInput.AddReplicaRegions":      {min: 1},
	"CreateSecretInput.Tags":                   {},
	"Description":                              {max: 2048},
	"Duration":                                 {min: 2, max: 3, pattern: `[0-9]+h`},
	"ExcludeCharacters":                        {max: 4096},
	"ExternalSecretRotationMetadataItem.Key":   {min: 1, max: 256},
	"ExternalSecretRotationMetadataItem.Value": {min: 1, max: 2048},
	"ExternalSecretRotationRoleArn":            {min: 20, max: 2048},
	"Filter.Key": {enum: []string{"description", "name", "tag-key", "tag-value", "primary-region", "owning-service",
		"all"}},
	"Filter.Values":                    {min: 1, max: 10, each: &constraint{max: 512, pattern: filterPattern}},
	"Filters":                          {max: 10},
	"GetSecretValueInput.VersionStage": {min: 1, max: 256},
	"KmsKeyId":                         {max: 2048},
	"MaxResults":                       {min: 1, max: 100},
	"MoveToVersionId":                  {min: 32, max: 64},
	"Name":                             {required: true, min: 1, max: 512},
	"NextToken":                        {min: 1, max: 4096},
	"PasswordLength":                   {min: 1, max: 4096},
	"Region":                           regionName,
	"RemoveFromVersionId":              {min: 32, max: 64},
	"RemoveReplicaRegions":             {required: true, min: 1, each: &regionName},
	"ResourcePolicy":                   {required: true, min: 1, max: 20480},
	"RotationLambdaARN":                {max: 2048},
	"RotationToken":                    {min: 36, max: 256, pattern: `^[a-zA-Z0-9\-]+$`, secret: true},
	"ScheduleExpression":               {min: 1, max: 256, pattern: `[0-9A-Za-z\(\)#\?\*\-\/, ]+`},
	"SecretBinary":                     {min: 1, max: 65536, secret: true},
	"SecretId":                         {required: true, min: 1, max: 2048},
	"SecretIdList":                     {min: 1, max: 20, each: &constraint{min: 1, max: 2048}},
	"SecretString":                     {min: 1, max: 65536, secret: true},
	"SortBy": {enum: []string{"created-date", "last-accessed-date", "last-changed-date",
		"name"}},
	"SortOrder":                            {enum: []string{"asc", "desc"}},
	"Tag.Key":                              {required: true, min: 1, max: 128},
	"Tag.Value":                            {max: 256},
	"TagKeys":                              {required: true, each: &constraint{min: 1, max: 128}},
	"Tags":                                 {required: true},
	"Type":                                 {max: 256},
	"ValidateResourcePolicyInput.SecretId": {min: 1, max: 2048},
	"VersionId":                            {min: 32, max: 64},
	"VersionStage":                         {required: true, min: 1, max: 256},
	"VersionStages":                        {min: 1, max: 20, each: &constraint{min: 1, max: 256}},
}

// check returns all rules of a constraint, and the first one that a value breaks or "".
func (c *constraint) check(v reflect.Value) (rules []string, broken string) {
	n, what := 0, "length"
	switch {
	case v.CanInt():
		n, what = int(v.Int()), "value"
	case v.Kind() == reflect.String && !c.secret:
		n = utf8.RuneCountInString(v.String())
	case v.Kind() == reflect.String || v.Kind() == reflect.Slice:
		n = v.Len()
	}
	rule := func(applies, ok bool, text string, arg any) {
		if applies {
			text = fmt.Sprintf("Member must "+text, arg)
			rules = append(rules, text)
			if !ok && broken == "" {
				broken = text
			}
		}
	}
	rule(c.max > 0, n <= c.max, "have "+what+" less than or equal to %d", c.max)
	rule(c.min > 0, n >= c.min, "have "+what+" greater than or equal to %d", c.min)
	rule(c.pattern != "", regexp.MustCompile("^(?:"+c.pattern+")$").MatchString(v.String()),
		"satisfy regular expression pattern: %s", c.pattern)
	rule(c.enum != nil, slices.Contains(c.enum, v.String()),
		"satisfy enum value set: [%s]", strings.Join(c.enum, ", "))
	for i := 0; c.each != nil && i < v.Len(); i++ {
		all, bad := c.each.check(v.Index(i))
		rule(true, bad == "", "satisfy constraint: [%s]", strings.Join(all, ", "))
	}
	return rules, broken
}

// decode decodes a request into an input of the SDK. It matches members by their exact names at every depth and ignores
// unknown ones, as AWS does. It then checks their constraints, and that operations that create a version have a token
// and at most one value. Unknown: whether AWS checks the value before it looks up the secret.
func decode(operation string, body []byte, in any) *fault {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return &fault{"SerializationException", "the request is not a JSON object"}
	}
	var d decoding
	v := reflect.ValueOf(in).Elem()
	d.fill("", raw, v)
	switch n := len(d.broken); {
	case d.mistyped != "":
		return &fault{"SerializationException", "the member " + d.mistyped + " has another type"}
	case n == 1:
		return validation("1 validation error detected: %s", d.broken[0])
	case n > 1:
		return validation("%d validation errors detected: %s", n, strings.Join(d.broken, "; "))
	}
	given := func(name string) bool { return v.FieldByName(name).IsValid() && !v.FieldByName(name).IsNil() }
	const noToken = "You must provide a ClientRequestToken value. We recommend a UUID-type value."
	switch {
	case given("SecretString") && given("SecretBinary"):
		return invalidParameter("You can't specify both a binary secret value and a string secret value in the same " +
			"secret.")
	case !v.FieldByName("ClientRequestToken").IsValid() || given("ClientRequestToken"):
		return nil
	case operation == "RotateSecret":
		return invalidParameter(noToken)
	}
	return invalidRequest(noToken)
}

// decoding collects the violations of a request, and the first member of the wrong type.
type decoding struct {
	broken   []string
	mistyped string
}

// fill decodes the members of a structure. A null member counts as absent; an empty one does not.
func (d *decoding) fill(path string, raw map[string]json.RawMessage, v reflect.Value) {
	for i := range v.NumField() {
		name, value := v.Type().Field(i).Name, v.Field(i)
		if !value.CanSet() {
			continue
		}
		at := path + strings.ToLower(name[:1]) + name[1:]
		limits, ok := constraints[v.Type().Name()+"."+name]
		if !ok {
			limits = constraints[name]
		}
		text, ok := raw[name]
		if !ok || string(text) == "null" {
			if limits.required {
				d.violation("null ", at, "Member must not be null")
			}
			continue
		}
		if value.Kind() == reflect.Pointer {
			value.Set(reflect.New(value.Type().Elem()))
			value = value.Elem()
		}
		var members map[string]json.RawMessage
		var list []map[string]json.RawMessage
		var err error
		switch {
		case value.Kind() == reflect.Struct:
			err = json.Unmarshal(text, &members)
		case value.Kind() == reflect.Slice && value.Type().Elem().Kind() == reflect.Struct:
			if err = json.Unmarshal(text, &list); err == nil {
				value.Set(reflect.MakeSlice(value.Type(), len(list), len(list)))
			}
		default:
			err = json.Unmarshal(text, value.Addr().Interface())
		}
		if err != nil {
			d.mistyped = cmp.Or(d.mistyped, name)
			continue
		}
		if _, rule := limits.check(value); rule != "" {
			d.violation(limits.show(value), at, rule)
		}
		if members != nil {
			d.fill(at+".", members, value)
		}
		for j := range list {
			d.fill(fmt.Sprintf("%s.%d.member.", at, j+1), list[j], value.Index(j))
		}
	}
}

func (d *decoding) violation(shown, at, rule string) {
	d.broken = append(d.broken, "Value "+shown+"at '"+at+"' failed to satisfy constraint: "+rule)
}

// show formats a value as AWS does, where that is known. Unknown: how AWS shows a list of structures; this omits it.
func (c *constraint) show(v reflect.Value) string {
	list, isList := v.Interface().([]string)
	switch {
	case c.secret:
		return ""
	case isList:
		return "'[" + strings.Join(list, ", ") + "]' "
	case v.Kind() == reflect.Slice:
		return ""
	}
	return fmt.Sprintf("'%v' ", v)
}
