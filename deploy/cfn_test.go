package deploy

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// created is a resource of a template, with every function evaluated.
type created struct {
	Type       string
	Properties map[string]any
}

// template is evaluated as CloudFormation would. It supports the functions that the project's templates use, and
// rejects all others.
type template struct {
	Parameters map[string]parameter            `yaml:"Parameters"`
	Conditions map[string]yaml.Node            `yaml:"Conditions"`
	Resources  map[string]map[string]yaml.Node `yaml:"Resources"`

	values map[string]any
}

type parameter struct {
	Type           string   `yaml:"Type"`
	Default        *string  `yaml:"Default"`
	AllowedValues  []string `yaml:"AllowedValues"`
	AllowedPattern string   `yaml:"AllowedPattern"`
	MinValue       *float64 `yaml:"MinValue"`
	MaxValue       *float64 `yaml:"MaxValue"`
	MinLength      int      `yaml:"MinLength"`
}

// absent is AWS::NoValue, which removes the property or the item.
type absent struct{}

// evaluate returns the resources that a template creates. values holds parameters, pseudo parameters, and the results
// of references to resources: "Name" for Ref and "Name.Attribute" for GetAtt. An unknown parameter or a value that is
// not allowed is an error.
//
// Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
func evaluate(path string, values map[string]string) (map[string]created, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var t template
	if err := yaml.Unmarshal(text, &t); err != nil {
		return nil, err
	}
	t.values = map[string]any{
		"AWS::NoValue": absent{}, "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com",
		"AWS::Region": "us-east-1", "AWS::AccountId": "123456789012", "AWS::StackName": "stack",
	}
	given := maps.Clone(values)
	for name, p := range t.Parameters {
		v, ok := given[name]
		if !ok {
			if p.Default == nil {
				return nil, fmt.Errorf("parameter %s has no value", name)
			}
			v = *p.Default
		}
		if t.values[name], err = p.value(v); err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
		delete(given, name)
	}
	for name, v := range given {
		resource, _, _ := strings.Cut(name, ".")
		if _, ok := t.Resources[resource]; !ok && !strings.HasPrefix(name, "AWS::") {
			return nil, fmt.Errorf("there is no parameter %s", name)
		}
		t.values[name] = v
	}
	return t.resources()
}

// failure is an evaluation error. The functions that evaluate panic with it, and resources returns it.
type failure struct{ error }

func fail(n *yaml.Node, format string, args ...any) {
	panic(failure{fmt.Errorf("line %d: "+format, append([]any{n.Line}, args...)...)})
}

// resources evaluates the resources whose condition is met.
func (t *template) resources() (out map[string]created, err error) {
	defer func() {
		if p := recover(); p != nil {
			f, ok := p.(failure)
			if !ok {
				panic(p)
			}
			out, err = nil, f.error
		}
	}()
	out = make(map[string]created)
	for name, fields := range t.Resources {
		kind, properties, condition := fields["Type"], fields["Properties"], fields["Condition"]
		if condition.Value != "" && !t.condition(&condition) {
			continue
		}
		r := created{Type: kind.Value}
		r.Properties, _ = t.eval(&properties).(map[string]any)
		out[name] = r
	}
	return out, nil
}

// value validates a parameter's value as CloudFormation does before it creates anything.
func (p parameter) value(v string) (any, error) {
	if len(p.AllowedValues) > 0 && !slices.Contains(p.AllowedValues, v) {
		return nil, fmt.Errorf("%q is not allowed", v)
	}
	if p.AllowedPattern != "" {
		if ok, err := regexp.MatchString("^(?:"+p.AllowedPattern+")$", v); err != nil || !ok {
			return nil, errors.Join(fmt.Errorf("the value does not match %s", p.AllowedPattern), err)
		}
	}
	if len(v) < p.MinLength {
		return nil, fmt.Errorf("the value is shorter than %d", p.MinLength)
	}
	switch p.Type {
	case "String":
		return v, nil
	case "Number":
		n, err := strconv.ParseFloat(v, 64)
		if err != nil || p.MinValue != nil && n < *p.MinValue || p.MaxValue != nil && n > *p.MaxValue {
			return nil, fmt.Errorf("%s is not a number or out of range", v)
		}
		return v, nil
	case "CommaDelimitedList":
		var list []any
		for item := range strings.SplitSeq(v, ",") {
			list = append(list, strings.TrimSpace(item))
		}
		return list, nil
	}
	return nil, fmt.Errorf("type %s is not known", p.Type)
}

func (t *template) condition(n *yaml.Node) bool {
	node, ok := t.Conditions[n.Value]
	if !ok {
		fail(n, "there is no condition %s", n.Value)
	}
	met, ok := t.eval(&node).(bool)
	if !ok {
		fail(n, "condition %s is neither true nor false", n.Value)
	}
	return met
}

// eval evaluates the functions in a part of the template.
func (t *template) eval(n *yaml.Node) any {
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		return t.call(n)
	}
	switch n.Kind {
	case yaml.MappingNode:
		if len(n.Content) == 2 && n.Content[0].Value == "Condition" && n.Content[1].Kind == yaml.ScalarNode {
			return t.condition(n.Content[1])
		}
		out := make(map[string]any)
		for i := 0; i < len(n.Content); i += 2 {
			name := n.Content[i].Value
			if name == "Ref" || strings.HasPrefix(name, "Fn::") {
				fail(n, "%s is not known in its long form", name)
			}
			if v := t.eval(n.Content[i+1]); v != (any)(absent{}) {
				out[name] = v
			}
		}
		return out
	case yaml.SequenceNode:
		return slices.DeleteFunc(t.all(n.Content), func(v any) bool { return v == (any)(absent{}) })
	case yaml.ScalarNode:
		var v any
		if err := n.Decode(&v); err != nil {
			fail(n, "%w", err)
		}
		return v
	case 0: // a resource without properties
		return nil
	}
	fail(n, "this is not understood")
	return nil
}

func (t *template) all(nodes []*yaml.Node) []any {
	out := []any{}
	for _, n := range nodes {
		out = append(out, t.eval(n))
	}
	return out
}

var placeholder = regexp.MustCompile(`\$\{([^}!]+)\}`)

func (t *template) call(n *yaml.Node) any {
	switch n.Tag {
	case "!Ref", "!GetAtt":
		return t.lookup(n, n.Value)
	case "!Condition":
		return t.condition(n)
	case "!Sub":
		return placeholder.ReplaceAllStringFunc(n.Value, func(m string) string {
			return fmt.Sprint(t.lookup(n, placeholder.FindStringSubmatch(m)[1]))
		})
	case "!If":
		if t.condition(n.Content[0]) {
			return t.eval(n.Content[1])
		}
		return t.eval(n.Content[2])
	}
	args := t.all(n.Content)
	switch n.Tag {
	case "!Equals":
		return args[0] == args[1]
	case "!Not":
		return args[0] == false
	case "!And":
		return !slices.Contains(args, any(false))
	case "!Or":
		return slices.Contains(args, any(true))
	case "!Join":
		return strings.Join(texts(args[1]), fmt.Sprint(args[0]))
	case "!Split":
		out := []any{}
		for part := range strings.SplitSeq(fmt.Sprint(args[1]), fmt.Sprint(args[0])) {
			out = append(out, part)
		}
		return out
	}
	fail(n, "%s is not known", n.Tag)
	return nil
}

func (t *template) lookup(n *yaml.Node, name string) any {
	v, ok := t.values[name]
	if !ok {
		fail(n, "nothing is known of %s", name)
	}
	return v
}

func texts(list any) []string {
	var out []string
	items, _ := list.([]any)
	for _, item := range items {
		out = append(out, fmt.Sprint(item))
	}
	return out
}

const written = `
Parameters:
  Names: {Type: CommaDelimitedList, Default: ""}
  Size: {Type: Number, Default: 3, MinValue: 1, MaxValue: 9}
  Word: {Type: String, Default: a, AllowedPattern: "^[a-z]+$"}
Conditions:
  Named: !Not [!Equals [!Join ["", !Ref Names], ""]]
  Big: !And [Condition: Named, !Equals [!Ref Size, "9"]]
  Either: !Or [!Condition Named, !Condition Big]
Resources:
  One:
    Type: A
    Properties:
      List: [x, !If [Named, !Ref Names, !Ref AWS::NoValue]]
      Gone: !If [Big, here, !Ref AWS::NoValue]
      Text: !Sub "${Word}-${AWS::Region}-${Two.Arn}"
      Parts: !Join ["*", !Split ["{x}", "a{x}b"]]
  Two:
    Type: B
    Condition: Either
`

// TestEvaluate: parameters, conditions and functions.
func TestEvaluate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "template.yaml")
	if err := os.WriteFile(path, []byte(written), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		values map[string]string
		want   string // of the resources, or of the error
	}{
		{map[string]string{"Two.Arn": "arn"}, "map[One:{A map[List:[x] Parts:a*b Text:a-us-east-1-arn]}]"},
		{map[string]string{"Two.Arn": "arn", "Names": "p, q", "Size": "9"},
			"map[One:{A map[Gone:here List:[x [p q]] Parts:a*b Text:a-us-east-1-arn]} Two:{B map[]}]"},
		{map[string]string{"Two.Arn": "arn", "Size": "10"}, "out of range"},
		{map[string]string{"Two.Arn": "arn", "Word": "A"}, "does not match"},
		{map[string]string{"Two.Arn": "arn", "Other": "x"}, "there is no parameter Other"},
		{nil, "nothing is known of Two.Arn"},
	} {
		resources, err := evaluate(path, c.values)
		if got := fmt.Sprint(resources); err == nil && got != c.want || err != nil &&
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %s, %v, want %s", c.values, got, err, c.want)
		}
	}
}
