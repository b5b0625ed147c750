package secretsim

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decode reads a request into a struct. Members are matched by their exact names,
// and unknown ones are ignored, as AWS does. It then checks what the tags of the
// struct's fields say: required, min and max (of the length of a string or list, of
// the value of a number), pattern, enum (a list with spaces) and sensitive (the
// value does not stand in the error).
func decode(body []byte, in any) *fault {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return &fault{"SerializationException", "the request is not a JSON object"}
	}
	if f := fill(raw, reflect.ValueOf(in).Elem()); f != nil {
		return f
	}
	var broken []string
	check(&broken, "", reflect.ValueOf(in).Elem(), raw)
	switch n := len(broken); n {
	case 0:
		return nil
	case 1:
		return validation("1 validation error detected: %s", broken[0])
	default:
		return validation("%d validation errors detected: %s", n, strings.Join(broken, "; "))
	}
}

func fill(raw map[string]json.RawMessage, v reflect.Value) *fault {
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if text, ok := raw[name]; ok {
			if err := json.Unmarshal(text, v.Field(i).Addr().Interface()); err != nil {
				return &fault{"SerializationException", "the member " + name + " has another type"}
			}
		}
	}
	return nil
}

// given tells whether a member stands in the request and is not null.
func given(raw map[string]json.RawMessage, name string) bool {
	text, ok := raw[name]
	return ok && string(text) != "null"
}

// check adds what is wrong with a struct. raw is nil for one inside another,
// where a zero field counts as absent.
func check(broken *[]string, path string, v reflect.Value, raw map[string]json.RawMessage) {
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		at := path + strings.ToLower(field.Name[:1]) + field.Name[1:]
		there := !value.IsZero()
		if raw != nil {
			there = given(raw, field.Name)
		}
		if !there {
			if field.Tag.Get("required") != "" {
				*broken = append(*broken, "Value null at '"+at+"' failed to satisfy constraint: Member must not be null")
			}
			continue
		}
		if value.Kind() == reflect.Pointer {
			value = value.Elem()
		}
		if rule := violated(value, field.Tag); rule != "" {
			shown := fmt.Sprintf("Value '%s' at", show(value))
			if field.Tag.Get("sensitive") != "" {
				shown = "Value at"
			}
			*broken = append(*broken, shown+" '"+at+"' failed to satisfy constraint: Member must "+rule)
		}
		switch {
		case value.Kind() == reflect.Struct:
			check(broken, at+".", value, nil)
		case value.Kind() == reflect.Slice && value.Type().Elem().Kind() == reflect.Struct:
			for j := range value.Len() {
				check(broken, fmt.Sprintf("%s.%d.member.", at, j+1), value.Index(j), nil)
			}
		case value.Kind() == reflect.Slice && value.Type().Elem().Kind() == reflect.String:
			// The rule of each member of a list.
			each := field.Tag.Get("each")
			for j := range value.Len() {
				if n := utf8.RuneCountInString(value.Index(j).String()); each != "" && (n < 1 || n > atoi(each)) {
					*broken = append(*broken, fmt.Sprintf("Value '%s' at '%s' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to %s, Member must have length greater than or equal to 1]", show(value), at, each))
					break
				}
			}
		}
	}
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s) // a tag of this package
	return n
}

func show(v reflect.Value) string {
	if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.String {
		return "[" + strings.Join(v.Interface().([]string), ", ") + "]"
	}
	return fmt.Sprint(v.Interface())
}

// violated returns the rule that a value breaks, or "".
func violated(v reflect.Value, tag reflect.StructTag) string {
	n, what := 0, "length"
	switch v.Kind() {
	case reflect.String:
		n = utf8.RuneCountInString(v.String())
	case reflect.Slice:
		n = v.Len()
	case reflect.Int, reflect.Int64:
		n, what = int(v.Int()), "value"
	default:
		return ""
	}
	if s := tag.Get("max"); s != "" && n > atoi(s) {
		return "have " + what + " less than or equal to " + s
	}
	if s := tag.Get("min"); s != "" && n < atoi(s) {
		return "have " + what + " greater than or equal to " + s
	}
	if s := tag.Get("pattern"); s != "" && !regexp.MustCompile(s).MatchString(v.String()) {
		return "satisfy regular expression pattern: " + s
	}
	if s := tag.Get("enum"); s != "" && !strings.Contains(" "+s+" ", " "+v.String()+" ") {
		return "satisfy enum value set: [" + strings.ReplaceAll(s, " ", ", ") + "]"
	}
	return ""
}
