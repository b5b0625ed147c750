package docstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// TestMain acts as `aws` if the program has this name, so the documents' commands do not need the AWS CLI.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "aws" {
		status := m.Run()
		if buildDir != "" {
			os.RemoveAll(buildDir)
		}
		os.Exit(status)
	}
	if err := standInAWS(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "aws: %v\n", err)
		os.Exit(1)
	}
}

// standInAWS is `aws secretsmanager`. Its operations and options are those of the SDK, which is generated from the same
// model as the AWS CLI.
func standInAWS(args []string) error {
	if len(args) < 2 || args[0] != "secretsmanager" {
		return fmt.Errorf("%q needs the real AWS CLI", args)
	}
	// SDKs read the first of these, and version 1 of the AWS CLI reads only the second.
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if os.Getenv(name) == "" {
			return fmt.Errorf("you must specify a region: %s is not set", name)
		}
	}
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		return err
	}
	client := reflect.ValueOf(secretsmanager.NewFromConfig(cfg))
	method, ok := client.Type().MethodByName(camel(args[1]))
	if !ok {
		return fmt.Errorf("there is no operation %s", args[1])
	}
	input := reflect.New(method.Type.In(2).Elem())
	query, output := "", "json"
	for i := 2; i < len(args); {
		option := args[i]
		var values []string
		for i++; i < len(args) && !strings.HasPrefix(args[i], "--"); i++ {
			values = append(values, args[i])
		}
		switch option {
		case "--query":
			query = strings.Join(values, " ")
		case "--output":
			output = strings.Join(values, " ")
		default:
			if err := setOption(input.Elem(), option, values); err != nil {
				return fmt.Errorf("%s %q: %w", option, values, err)
			}
		}
	}
	result := method.Func.Call([]reflect.Value{client, reflect.ValueOf(context.Background()), input})
	if err, _ := result[1].Interface().(error); err != nil {
		return err
	}
	var answer map[string]any
	text, err := json.Marshal(result[0].Interface())
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err != nil {
		return err
	}
	delete(answer, "ResultMetadata")
	return show(answer, query, output)
}

func show(answer map[string]any, query, output string) error {
	var shown any = answer
	if m := regexp.MustCompile(`^(\w+)\[\?(\w+)=='([^']*)'\]\.(\w+)$`).FindStringSubmatch(query); m != nil {
		list, _ := answer[m[1]].([]any)
		for _, item := range list {
			if item := item.(map[string]any); item[m[2]] == m[3] {
				fmt.Println(item[m[4]])
			}
		}
		return nil
	}
	if query != "" {
		if !regexp.MustCompile(`^\w+$`).MatchString(query) {
			return fmt.Errorf("this fake does not support the query %s", query)
		}
		shown = answer[query]
	}
	if text, ok := shown.(string); ok && output == "text" {
		fmt.Println(text)
		return nil
	}
	text, err := json.MarshalIndent(shown, "", "    ")
	fmt.Println(string(text))
	return err
}

// camel converts an operation, such as rotate-secret, to the API's spelling.
func camel(kebab string) string {
	var b strings.Builder
	for _, word := range strings.Split(kebab, "-") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// setOption sets the member of an input that corresponds to an option of the CLI.
func setOption(input reflect.Value, option string, values []string) error {
	name := strings.ReplaceAll(strings.TrimPrefix(option, "--"), "-", "")
	find := func(name string) reflect.Value {
		return input.FieldByNameFunc(func(f string) bool { return strings.EqualFold(f, name) })
	}
	field := find(name)
	if !field.IsValid() {
		if field = find(strings.TrimPrefix(name, "no")); !field.IsValid() || len(values) > 0 {
			return errors.New("there is no such option")
		}
		values = []string{"false"}
	} else if len(values) == 0 {
		values = []string{"true"}
	}
	if field.Kind() == reflect.Slice {
		for _, v := range values {
			item := reflect.New(field.Type().Elem()).Elem()
			if err := setText(item, v); err != nil {
				return err
			}
			field.Set(reflect.Append(field, item))
		}
		return nil
	}
	if len(values) > 1 {
		return errors.New("the option takes one value")
	}
	if path, ok := strings.CutPrefix(values[0], "file://"); ok {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		values[0] = string(text)
	}
	return setText(field, values[0])
}

// setText sets a member from a string, and a structure from JSON or Name=value,Name=value.
func setText(v reflect.Value, text string) error {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return setText(v.Elem(), text)
	case reflect.String:
		v.SetString(text)
		return nil
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		v.SetBool(b)
		return err
	case reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		v.SetInt(n)
		return err
	case reflect.Struct:
		if strings.HasPrefix(text, "{") {
			return json.Unmarshal([]byte(text), v.Addr().Interface())
		}
		for _, part := range strings.Split(text, ",") {
			name, value, ok := strings.Cut(part, "=")
			member := v.FieldByName(name)
			if !ok || !member.IsValid() {
				return fmt.Errorf("%s is not a member", part)
			}
			if err := setText(member, strings.Trim(value, `"`)); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("this fake does not support a %s", v.Kind())
}
