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
		`{"id":"7"}`:                "",
		`{"id":7,"host":null}`:      "",
		`{"id":"7","host":"h"}`:     "",
		`{"id":"a secret"}`:         "value is not valid: id is no id",
		`{"id":["x"],"host":["h"]}`: "value is not valid: id is not text, host is not text",
		`{"host":["h"]}`:            "value is not valid: id is missing, host is not text",
		`a secret`:                  "cannot be read",
		`["a secret"]`:              "cannot be read",
	} {
		f := Form{Value: engine.StringValue(text)}
		got := f.Required("id", id, "is no id")
		host := f.Optional("host")
		err := f.Err()
		switch {
		case want == "":
			if want, _ := f.Value.Text("host"); err != nil || got != "7" || host != want {
				t.Errorf("%s: %s, %s, %v", text, got, host, err)
			}
		case !errors.Is(err, engine.InvalidSecret) || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "a secret"):
			t.Errorf("%s: %v", text, err)
		}
	}
}
