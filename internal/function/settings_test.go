package function

import (
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"example.com/rotator/rotation/engine"
)

// TestSettingsAreVariables: what ROTATOR_SETTINGS holds is read as if each name were a variable.
func TestSettingsAreVariables(t *testing.T) {
	env := map[string]string{
		"ROTATOR_SETTINGS":   `{"RETIRE": "now", "PASSWORD_LENGTH": 40, "EXCLUDE_NUMBERS": true, "STRATEGY": "", "HTTP_RECIPES": {"a": {"b": [1]}}}`,
		"EXCLUDE_CHARACTERS": "/@", "PASSWORD_LENGTH": "40", "HOME": "/root",
	}
	getenv, err := Settings(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"RETIRE": "now", "PASSWORD_LENGTH": "40", "EXCLUDE_NUMBERS": "true", "STRATEGY": "", "HTTP_RECIPES": `{"a": {"b": [1]}}`,
		"EXCLUDE_CHARACTERS": "/@", "HOME": "/root", "ENGINE": "", "ROTATOR_SETTINGS": "",
	} {
		if got := getenv(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestNoCharacterIsExcluded: an EXCLUDE_CHARACTERS that is empty on purpose is not the default, as in
// AWS's templates.
func TestNoCharacterIsExcluded(t *testing.T) {
	getenv, err := Settings(func(name string) string {
		return map[string]string{"ROTATOR_SETTINGS": `{"EXCLUDE_CHARACTERS": ""}`}[name]
	})
	if err != nil || getenv("EXCLUDE_CHARACTERS") != " " {
		t.Errorf("%q are excluded (%v)", getenv("EXCLUDE_CHARACTERS"), err)
	}
}

// TestSettingsThatAreRefused: the error names the setting and says what to write instead, and shows
// no value that could be one of a secret.
func TestSettingsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want []string
	}{
		"no JSON":           {map[string]string{"ROTATOR_SETTINGS": `RETIRE=now`}, []string{"ROTATOR_SETTINGS", `{"RETIRE": "now"}`}},
		"not an object":     {map[string]string{"ROTATOR_SETTINGS": `["RETIRE"]`}, []string{"ROTATOR_SETTINGS", `{"RETIRE": "now"}`}},
		"more than JSON":    {map[string]string{"ROTATOR_SETTINGS": `{"RETIRE": "now"} {}`}, []string{"ROTATOR_SETTINGS"}},
		"unknown":           {map[string]string{"ROTATOR_SETTINGS": `{"RETIRED": "now"}`}, []string{`"RETIRED"`, "RETIRE"}},
		"unknown, far off":  {map[string]string{"ROTATOR_SETTINGS": `{"COLOR": "red"}`}, []string{`"COLOR"`, "ADOPT_PAIRS, ALLOW_PLAINTEXT_FALLBACK"}},
		"lower case":        {map[string]string{"ROTATOR_SETTINGS": `{"retire": "now"}`}, []string{`"retire"`, "write RETIRE"}},
		"a tag's name":      {map[string]string{"ROTATOR_SETTINGS": `{"rotator:password-length": 40}`}, []string{"write PASSWORD_LENGTH"}},
		"an engine's tag":   {map[string]string{"ROTATOR_SETTINGS": `{"rotator:redis-nodes": "all"}`}, []string{"write ROTATOR_REDIS_NODES"}},
		"a parameter":       {map[string]string{"ROTATOR_SETTINGS": `{"PasswordLength": 40}`}, []string{"write PASSWORD_LENGTH"}},
		"twice":             {map[string]string{"ROTATOR_SETTINGS": `{"RETIRE": "now", "RETIRE": "next"}`}, []string{"RETIRE", "twice"}},
		"null":              {map[string]string{"ROTATOR_SETTINGS": `{"RETIRE": null}`}, []string{"RETIRE", "null"}},
		"contradiction":     {map[string]string{"ROTATOR_SETTINGS": `{"PASSWORD_LENGTH": 40}`, "PASSWORD_LENGTH": "32"}, []string{"PASSWORD_LENGTH", "ROTATOR_SETTINGS", "one of them"}},
		"malformed number":  {map[string]string{"ROTATOR_SETTINGS": `{"PASSWORD_LENGTH": "long"}`}, []string{"PASSWORD_LENGTH", "whole number"}},
		"malformed choice":  {map[string]string{"ROTATOR_SETTINGS": `{"RETIRE": "soon"}`}, []string{"RETIRE", "next or now"}},
		"malformed switch":  {map[string]string{"ROTATOR_SETTINGS": `{"METRICS": {}}`}, []string{"METRICS", "true or false"}},
		"Redis's nodes":     {map[string]string{"ROTATOR_SETTINGS": `{"ROTATOR_REDIS_NODES": "one"}`}, []string{"ROTATOR_REDIS_NODES", "all or host"}},
		"Redis's saving":    {map[string]string{"ROTATOR_REDIS_PERSIST": "no"}, []string{"ROTATOR_REDIS_PERSIST", "required or off"}},
		"LDAP's change":     {map[string]string{"ROTATOR_LDAP_CHANGE": "both"}, []string{"ROTATOR_LDAP_CHANGE", "overlap or exop"}},
		"LDAP's StartTLS":   {map[string]string{"ROTATOR_LDAP_STARTTLS": "maybe"}, []string{"ROTATOR_LDAP_STARTTLS", "true or false"}},
		"a kind of value":   {map[string]string{"ROTATOR_GENERIC_KIND": "rsa"}, []string{"ROTATOR_GENERIC_KIND", "rsa-2048"}},
		"a form of values":  {map[string]string{"ROTATOR_GENERIC_KIND": "bytes", "ROTATOR_GENERIC_ENCODING": "pem"}, []string{"ROTATOR_GENERIC_ENCODING", "base64"}},
		"a number of bytes": {map[string]string{"ROTATOR_GENERIC_KIND": "bytes", "ROTATOR_GENERIC_BYTES": "2"}, []string{"ROTATOR_GENERIC_BYTES", "16 to 4096"}},
		"an engine":         {map[string]string{"ENGINE": "postgress"}, []string{"ENGINE", "postgres"}},
		"half of a pair":    {map[string]string{"ROTATOR_SETTINGS": `{"USER_NAME": "app"}`}, []string{"SECRET_ARN", "USER_NAME"}},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			h := NewHandler(func(name string) string { return c.env[name] }, slog.New(slog.NewJSONHandler(&log, nil)), io.Discard, "test")
			if h.fault == nil || engine.CauseOf(h.fault) != engine.InvalidConfiguration {
				t.Fatalf("the handler starts with %v", h.fault)
			}
			for _, want := range c.want {
				if !strings.Contains(h.fault.Error(), want) {
					t.Errorf("%q lacks %s", h.fault, want)
				}
			}
			if n := strings.Count(log.String(), "\n"); n != 1 {
				t.Errorf("%d lines are logged:\n%s", n, log.String())
			}
			if _, err := NewRotator(func(name string) string { return c.env[name] }, slog.New(slog.DiscardHandler), aws.Config{}); name != "malformed switch" && (err == nil || err.Error() != h.fault.Error()) {
				t.Errorf("rotatorctl reports %v", err)
			}
		})
	}
}

// TestEveryOptionIsASetting: settingNames has the variables of all engines' own options, and no more
// of that form.
func TestEveryOptionIsASetting(t *testing.T) {
	list, err := engines(engine.TLSPolicy{}, &clients{}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, e := range list {
		for _, option := range e.Kind().Options {
			_, name, _ := strings.Cut(engine.OptionName(option), " (")
			want = append(want, strings.TrimSuffix(name, ")"))
		}
	}
	for _, name := range settingNames {
		if strings.HasPrefix(name, "ROTATOR_") {
			got = append(got, name)
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("settings %v, options %v", got, want)
	}
}
