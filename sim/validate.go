package sim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decode decodes a request into a struct. It matches members by their exact names at every depth and ignores unknown
// ones, as AWS does. It then checks the field tags: required, min and max (the length of a string or list, the value of
// a number), bytes (the maximum length of a value), pattern (for the whole text, or each member of a list), enum
// (separated by spaces), each (the length range of a list's members) and sensitive (the error omits the value).
// Unknown: how AWS shows the value of a list of structures; the simulator omits it. Finally, it calls check if the
// struct implements checked.
func decode(body []byte, in any) *fault {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return &fault{"SerializationException", "the request is not a JSON object"}
	}
	var d decoding
	d.fill("", raw, reflect.ValueOf(in).Elem())
	switch n := len(d.broken); {
	case d.mistyped != "":
		return &fault{"SerializationException", "the member " + d.mistyped + " has another type"}
	case n == 1:
		return validation("1 validation error detected: %s", d.broken[0])
	case n > 1:
		return validation("%d validation errors detected: %s", n, strings.Join(d.broken, "; "))
	}
	if in, ok := in.(checked); ok {
		return in.check()
	}
	return nil
}

// checked is a request with rules beyond those of its fields.
type checked interface{ check() *fault }

// decoding collects the violations of a request, and the first member of the wrong type.
type decoding struct {
	broken   []string
	mistyped string
}

func (d *decoding) violation(shown, at, rule string) {
	d.broken = append(d.broken, "Value "+shown+"at '"+at+"' failed to satisfy constraint: Member must "+rule)
}

// fill decodes the members of a struct. A null member counts as absent; an empty one does not.
func (d *decoding) fill(path string, raw map[string]json.RawMessage, v reflect.Value) {
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		if field.Anonymous {
			d.fill(path, raw, value)
			continue
		}
		at := path + strings.ToLower(field.Name[:1]) + field.Name[1:]
		text, ok := raw[field.Name]
		if !ok || string(text) == "null" {
			if field.Tag.Get("required") != "" {
				d.violation("null ", at, "not be null")
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
			d.mistyped = cmp.Or(d.mistyped, field.Name)
			continue
		}
		if rule := violated(value, field.Tag); rule != "" {
			shown := ""
			if text, ok := show(value); ok && field.Tag.Get("sensitive") == "" {
				shown = "'" + text + "' "
			}
			d.violation(shown, at, rule)
		}
		if members != nil {
			d.fill(at+".", members, value)
		}
		for j := range list {
			d.fill(fmt.Sprintf("%s.%d.member.", at, j+1), list[j], value.Index(j))
		}
	}
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s) // s is from a tag in this package
	return n
}

// show formats a value as AWS does, where that is known.
func show(v reflect.Value) (text string, ok bool) {
	switch v.Kind() {
	case reflect.String:
		return v.String(), true
	case reflect.Int, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10), true
	}
	list, ok := v.Interface().([]string)
	return "[" + strings.Join(list, ", ") + "]", ok
}

// violated returns the rule that a value breaks, or "".
func violated(v reflect.Value, tag reflect.StructTag) string {
	if s := tag.Get("bytes"); s != "" && v.Len() > atoi(s) {
		return "have length less than or equal to " + s
	}
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
	pattern := tag.Get("pattern")
	matches := func(text string) bool {
		return pattern == "" || regexp.MustCompile("^(?:"+pattern+")$").MatchString(text)
	}
	if s := tag.Get("each"); s != "" {
		least, most, _ := strings.Cut(s, "-")
		rules := []string{"Member must have length less than or equal to " + most}
		if least != "0" {
			rules = append(rules, "Member must have length greater than or equal to "+least)
		}
		if pattern != "" {
			rules = append(rules, "Member must satisfy regular expression pattern: "+pattern)
		}
		for j := range v.Len() {
			text := v.Index(j).String()
			if n := utf8.RuneCountInString(text); n < atoi(least) || n > atoi(most) || !matches(text) {
				return "satisfy constraint: [" + strings.Join(rules, ", ") + "]"
			}
		}
	} else if !matches(v.String()) {
		return "satisfy regular expression pattern: " + pattern
	}
	if s := tag.Get("enum"); s != "" && !strings.Contains(" "+s+" ", " "+v.String()+" ") {
		return "satisfy enum value set: [" + strings.ReplaceAll(s, " ", ", ") + "]"
	}
	return ""
}
