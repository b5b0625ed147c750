package sim

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// told are the members of a value that name the target: they are no secret, and tell
// why a step failed.
var told = []string{"username", "host", "port", "engine", "dbname", "masterarn"}

// redacted takes out of a text whatever stands in a value of the secret, as it is or
// as errors may write it. What is shorter than four bytes stays, as
// nothing could be read without it.
func (sec *secret) redacted(text string) string {
	var forms []string
	for _, v := range sec.Versions {
		value := string(v.Binary)
		if v.Text != nil {
			value = *v.Text
		}
		for _, w := range words(value) {
			forms = append(forms, written(w)...)
		}
	}
	// What stands in another must not cut it in two.
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	for _, w := range forms {
		if len(w) >= 4 {
			text = strings.ReplaceAll(text, w, "***")
		}
	}
	return text
}

// words returns a value and, where it is JSON, all strings and numbers in it.
func words(value string) []string {
	all := []string{value}
	var walk func(any)
	walk = func(x any) {
		switch x := x.(type) {
		case string:
			all = append(all, words(x)...)
		case json.Number:
			all = append(all, x.String())
		case []any:
			for _, v := range x {
				walk(v)
			}
		case map[string]any:
			for k, v := range x {
				if !slices.Contains(told, k) {
					walk(v)
				}
			}
		}
	}
	d := json.NewDecoder(strings.NewReader(value))
	d.UseNumber()
	var x any
	if d.Decode(&x) == nil {
		walk(x)
	}
	return all
}

// written returns the forms that a text may have inside another: as it is, in base64,
// and in quotes of JSON or Go, which an error that quotes an error does twice.
func written(text string) []string {
	all := []string{text}
	for range 2 {
		for _, form := range all {
			plain, err := json.Marshal(form) // with <, > and & escaped
			if err != nil {
				continue // which a string never has
			}
			var b bytes.Buffer
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			_ = e.Encode(form)
			for _, quoted := range []string{string(plain), strings.TrimSpace(b.String()), strconv.Quote(form), strconv.QuoteToASCII(form)} {
				if quoted = quoted[1 : len(quoted)-1]; !slices.Contains(all, quoted) {
					all = append(all, quoted)
				}
			}
		}
	}
	return append(all, base64.StdEncoding.EncodeToString([]byte(text)))
}
