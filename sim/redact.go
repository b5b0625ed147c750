package sim

import (
	"bytes"
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
	// Replace the longest first: a text inside another must not split it.
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	for _, w := range forms {
		if len(w) >= 4 {
			text = strings.ReplaceAll(text, w, "***")
		}
	}
	return text
}

// words returns a value and, if it is JSON, all strings and numbers in it.
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

// written returns the forms in which a message may contain a text: verbatim, in base64, and quoted once or twice for
// JSON or Go.
func written(text string) []string {
	all := []string{text}
	for range 2 {
		for _, form := range all {
			plain, err := json.Marshal(form) // with <, > and & escaped
			if err != nil {
				continue // never happens with a string
			}
			var b bytes.Buffer
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			_ = e.Encode(form)
			for _, quoted := range []string{
				string(plain), strings.TrimSpace(b.String()), strconv.Quote(form), strconv.QuoteToASCII(form),
			} {
				if quoted = quoted[1 : len(quoted)-1]; !slices.Contains(all, quoted) {
					all = append(all, quoted)
				}
			}
		}
	}
	return append(all, base64.StdEncoding.EncodeToString([]byte(text)))
}
