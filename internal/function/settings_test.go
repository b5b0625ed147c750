package function

import (
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"example.com/rotator/rotation/engine"
)

// TestSettingsAreVariables: each name in ROTATOR_SETTINGS is read like a variable.
func TestSettingsAreVariables(t *testing.T) {
	env := map[string]string{
		"ROTATOR_SETTINGS": `{"ADOPT_PAIRS": "on", "PASSWORD_LENGTH": 40, "EXCLUDE_NUMBERS": true, "STRATEGY": "",
			"HTTP_RECIPES": {"a": {"b": [1]}}}`,
		"EXCLUDE_CHARACTERS": "/@", "PASSWORD_LENGTH": "40", "HOME": "/root",
	}
	getenv, err := Settings(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"ADOPT_PAIRS": "on", "PASSWORD_LENGTH": "40", "EXCLUDE_NUMBERS": "true", "STRATEGY": "",
		"HTTP_RECIPES":       `{"a": {"b": [1]}}`,
		"EXCLUDE_CHARACTERS": "/@", "HOME": "/root", "ENGINE": "", "ROTATOR_SETTINGS": "",
	} {
		if got := getenv(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestNoCharacterIsExcluded: as in AWS's templates, an EXCLUDE_CHARACTERS that is empty on purpose does not mean the
// default.
func TestNoCharacterIsExcluded(t *testing.T) {
	getenv, err := Settings(func(name string) string {
		return map[string]string{"ROTATOR_SETTINGS": `{"EXCLUDE_CHARACTERS": ""}`}[name]
	})
	if err != nil || getenv("EXCLUDE_CHARACTERS") != " " {
		t.Errorf("%q are excluded (%v)", getenv("EXCLUDE_CHARACTERS"), err)
	}
}

// TestSettingsThatAreRefused: the error names the setting, suggests a valid one, and shows no value that could be
// secret.
func TestSettingsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ env, want string }{ // variables and texts, separated by semicolons
		"no JSON":          {`ROTATOR_SETTINGS=STRATEGY=single`, `ROTATOR_SETTINGS;{"ENGINE": "postgres"}`},
		"not an object":    {`ROTATOR_SETTINGS=["STRATEGY"]`, `ROTATOR_SETTINGS;{"ENGINE": "postgres"}`},
		"more than JSON":   {`ROTATOR_SETTINGS={"STRATEGY": "single"} {}`, `ROTATOR_SETTINGS`},
		"unknown":          {`ROTATOR_SETTINGS={"RETIRE": "now"}`, `"RETIRE";STRATEGY`},
		"unknown, far off": {`ROTATOR_SETTINGS={"COLOR": "red"}`, `"COLOR";ADOPT_PAIRS, ALLOW_PLAINTEXT_FALLBACK`},
		"lower case":       {`ROTATOR_SETTINGS={"strategy": "single"}`, `"strategy";STRATEGY`},
		"a tag's name":     {`ROTATOR_SETTINGS={"rotator:password-length": 40}`, `"rotator:password-length";PASSWORD_LENGTH`},
		"an engine's tag":  {`ROTATOR_SETTINGS={"rotator:generic-kind": "bytes"}`, `"rotator:generic-kind";ROTATOR_GENERIC_KIND`},
		"a parameter":      {`ROTATOR_SETTINGS={"PasswordLength": 40}`, `"PasswordLength";PASSWORD_LENGTH`},
		"twice":            {`ROTATOR_SETTINGS={"STRATEGY": "single", "STRATEGY": "alternating"}`, `STRATEGY;twice`},
		"null":             {`ROTATOR_SETTINGS={"STRATEGY": null}`, `STRATEGY;null`},
		"contradiction": {
			`ROTATOR_SETTINGS={"PASSWORD_LENGTH": 40};PASSWORD_LENGTH=32`,
			`PASSWORD_LENGTH;ROTATOR_SETTINGS;one of them`,
		},
		"malformed number": {`ROTATOR_SETTINGS={"PASSWORD_LENGTH": "long"}`, `PASSWORD_LENGTH;whole number`},
		"malformed choice": {`ROTATOR_SETTINGS={"STRATEGY": "singel"}`, `STRATEGY;single or alternating`},
		"malformed switch": {`ROTATOR_SETTINGS={"METRICS": {}}`, `METRICS;true or false`},
		"a kind of value":  {`ROTATOR_GENERIC_KIND=rsa`, `ROTATOR_GENERIC_KIND;rsa-2048`},
		"a form of values": {
			`ROTATOR_GENERIC_KIND=bytes;ROTATOR_GENERIC_ENCODING=pem`,
			`ROTATOR_GENERIC_ENCODING;base64`,
		},
		"a number of bytes": {
			`ROTATOR_GENERIC_KIND=bytes;ROTATOR_GENERIC_BYTES=2`,
			`ROTATOR_GENERIC_BYTES;16 to 4096`,
		},
		"an engine":      {`ENGINE=postgress`, `ENGINE;postgres`},
		"half of a pair": {`ROTATOR_SETTINGS={"USER_NAME": "app"}`, `SECRET_ARN;USER_NAME`},
	} {
		t.Run(name, func(t *testing.T) {
			env := make(map[string]string)
			for _, pair := range strings.Split(c.env, ";") {
				name, value, _ := strings.Cut(pair, "=")
				env[name] = value
			}
			getenv := func(name string) string { return env[name] }
			var log strings.Builder
			h := NewHandler(getenv, slog.New(slog.NewJSONHandler(&log, nil)), io.Discard, "test")
			if h.fault == nil || engine.CauseOf(h.fault) != engine.InvalidConfiguration {
				t.Fatalf("the handler starts with %v", h.fault)
			}
			for _, want := range strings.Split(c.want, ";") {
				if !strings.Contains(h.fault.Error(), want) {
					t.Errorf("%q lacks %s", h.fault, want)
				}
			}
			if _, err := h.Invoke(t.Context(), []byte("{}")); err == nil ||
				strings.Count(log.String(), `"ERROR"`) != 1 {
				t.Errorf("%v is logged as\n%s", err, log.String())
			}
			if name == "malformed switch" {
				return // a setting of metrics, which rotatorctl does not write
			}
			_, err := NewRotator(getenv, slog.New(slog.DiscardHandler), aws.Config{}, nil)
			if err == nil || err.Error() != h.fault.Error() {
				t.Errorf("rotatorctl reports %v", err)
			}
		})
	}
}
