package pgsession

import (
	"slices"
	"strings"
	"testing"
)

func TestNamesOfAList(t *testing.T) {
	for list, want := range map[string][]string{
		`"$user", public`:         {"$user", "public"},
		`a`:                       {"a"},
		`"a, b","c""d" , e`:       {"a, b", `c"d`, "e"},
		`""`:                      {""},
		``:                        nil,
		`"with space", "it's"`:    {"with space", "it's"},
		`public, "", "$user"`:     {"public", "", "$user"},
		"\"new\nline\", unquoted": {"new\nline", "unquoted"},
	} {
		if got := Names(list); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", list, got, want)
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add("a", `b"c`, "d, e")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		want := []string{a, b, c}
		var quoted []string
		for _, n := range want {
			quoted = append(quoted, `"`+strings.ReplaceAll(n, `"`, `""`)+`"`)
		}
		if got := Names(strings.Join(quoted, ", ")); !slices.Equal(got, want) {
			t.Errorf("%q became %q", want, got)
		}
	})
}
