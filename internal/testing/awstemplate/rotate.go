package awstemplate

import (
	"cmp"
	"net"
	"strconv"
	"testing"

	"example.com/rotator/internal/testing/world"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// Rotate rotates a template's secret, twice, for a user of an engine's suite.
func Rotate(t *testing.T, template string, h enginetest.Harness) {
	t.Helper()
	host, text, err := net.SplitHostPort(h.Target())
	port, _ := strconv.Atoi(text)
	if err != nil {
		host = "localhost" // the target is a stand-in without a wire
	}
	v, superuser, err := h.New(t.Context(), host, port)
	if err != nil {
		t.Fatal(err)
	}
	w := world.New(t, h.Engine())
	w.Env["EXCLUDE_CHARACTERS"], w.Env["PASSWORD_LENGTH"] = `/@"'\;:`, "24"
	values := func(v engine.Value) (list []string) {
		for _, name := range []string{"host", "port", "username", "password", "dbname"} {
			text, _ := v.Text(name)
			if name == "port" {
				text = cmp.Or(text, "1")
			}
			list = append(list, name, text)
		}
		return list
	}
	in := values(v)
	if !superuser.IsZero() {
		in = append(in, "superuser", w.Secret("superuser", superuser))
	}
	before := engine.StringValue(Secret(template, in...))
	arn := w.Secret("secret", before)
	for range 2 {
		if err := w.Rotate(arn); err != nil {
			t.Fatal(err)
		}
	}
	now := w.Get(arn, "AWSCURRENT")
	was, _ := before.Text("password")
	if is, _ := now.Text("password"); is == was || len(is) != 24 {
		t.Error("the password is not a new one of the policy")
	}
	if !now.EqualBut(before, "password") {
		t.Error("more than the password has changed")
	}
	if err := h.Open(t.Context(), now); err != nil {
		t.Error(err)
	}
}
