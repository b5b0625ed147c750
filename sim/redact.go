package sim

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// shown lists the fields of a value that name the target. They are not secret, and help to explain why a step failed.
var shown = []string{"username", "host", "port", "engine", "dbname", "masterarn"}

// redacted masks everything in a text that also occurs in a value of the secret, verbatim or as errors may quote it,
// except the fields in shown. Texts shorter than four bytes stay, to keep messages readable.
func (sec *secret) redacted(text string) string {
	var all []string
	for _, v := range sec.Versions {
		value := string(v.Binary)
		if v.Text != nil {
			value = *v.Text
		}
		all = append(all, words(value)...)
	}
	// Replace the longest first: a text inside another must not split it.
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	for _, w := range all {
		if len(w) >= 4 {
			text = strings.ReplaceAll(text, w, "***")
		}
	}
	return text
}

// words returns a value and, if it is JSON, all strings and numbers in it: verbatim, in base64, and quoted for JSON or
// Go, once or twice.
func words(value string) []string {
	all := []string{value}
	for range 2 {
		for _, w := range all {
			quoted, _ := json.Marshal(w) // encoding a string cannot fail
			for _, q := range []string{string(quoted), strconv.Quote(w), strconv.QuoteToASCII(w)} {
				all = append(all, q[1:len(q)-1])
			}
		}
	}
	all = append(all, base64.StdEncoding.EncodeToString([]byte(value)))
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
				if !slices.Contains(shown, k) {
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
