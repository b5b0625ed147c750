package pgsession

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
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

func FuzzElementsAreTheServers(f *testing.F) {
	for _, text := range []string{"", "a", "a b", "c,d", `"quoted"`, `back\slash\`, "{braces}", "NULL", "two\nlines", "ü"} {
		f.Add(text)
	}
	pg := testserver.SharedPostgres(f, testserver.PostgresOptions{})
	s, err := Dial(f.Context(), engine.TLSPolicy{ExtraCAs: pg.CA.PEM},
		engine.Target{Host: pg.Host, Port: pg.Port, User: pg.User, Password: pg.Password, Database: "postgres", TLS: engine.TLSOn}, "")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
			return // not a text that a server sends
		}
		rows, err := s.Query(t.Context(), "the arrays", 2, "SELECT ARRAY[$1, 'x', $1]::text[], ARRAY[]::text[]", text)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := Elements(rows[0][0]), []string{text, "x", text}; !slices.Equal(got, want) || Elements(rows[0][1]) != nil {
			t.Errorf("%s: %q, want %q", rows[0][0], got, want)
		}
	})
}
