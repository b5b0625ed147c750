package form

import (
	"errors"
	"strings"
	"testing"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

func TestForm(t *testing.T) {
	id := lazyregexp.New(`^[0-9]+$`)
	for text, want := range map[string]string{
		`{"id":"7","username":"u"}`:                           "",
		`{"id":7,"username":"u","host":null,"password":""}`:   "",
		`{"id":"7","username":"u","host":"h","password":"p"}`: "",
		`{"id":"x"}`:                    "value is not valid: id is no id, username is missing",
		`{"id":["x"],"host":"h"}`:       "value is not valid: id is not text, username is missing",
		`{"username":"u","host":["h"]}`: "id is missing, host is not text",
		`{"id":"7","username":"u","host":"a secret, b secret"}`: "host is not one host name",
		`a secret`:     "cannot be read",
		`["a secret"]`: "cannot be read",
	} {
		f := Form{Value: engine.StringValue(text)}
		got := f.Required("id", id, "is no id")
		target := f.Target(func(v engine.Value) (engine.Target, error) { return engine.ParseTarget(v, 1, "") },
			"host", "password")
		err := f.Err()
		switch {
		case want == "":
			host, _ := f.Value.Text("host")
			password, _ := f.Value.Text("password")
			if err != nil || got != "7" || target.User != "u" || target.Host != host || target.Password != password {
				t.Errorf("%s: %s, %v, %v", text, got, target, err)
			}
		case !errors.Is(err, engine.InvalidSecret) || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "a secret"):
			t.Errorf("%s: %v", text, err)
		}
	}
}
