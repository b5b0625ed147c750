package awstemplate

import (
	"cmp"
	"net"
	"strconv"
	"testing"

	"example.com/rotator/internal/testing/built"
	"example.com/rotator/internal/testing/world"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/sim/lambdasim"
)

// Rotate rotates a template's secret twice, for a user created by h. It runs the function's binary, which trusts the
// certificates in ca. If ca is nil, it runs the machine in this process, for targets without a network address.
func Rotate(t *testing.T, template string, h enginetest.Harness, ca []byte) {
	t.Helper()
	host, text, err := net.SplitHostPort(h.Target())
	port, _ := strconv.Atoi(text)
	if err != nil {
		host = "localhost" // the target has no network address
	}
	v, superuser, err := h.New(t.Context(), host, port)
	if err != nil {
		t.Fatal(err)
	}
	w := world.New(t, h.Engine())
	w.Env["EXCLUDE_CHARACTERS"], w.Env["PASSWORD_LENGTH"] = `/@"'\;:`, "24"
	var in []string
	for _, name := range []string{"host", "port", "username", "password", "dbname"} {
		text, _ := v.Text(name)
		if name == "port" {
			text = cmp.Or(text, "1")
		}
		in = append(in, name, text)
	}
	if !superuser.IsZero() {
		in = append(in, "superuser", w.Secret("superuser", superuser))
	}
	before := engine.StringValue(Secret(template, in...))
	arn := w.Secret("secret", before)
	rotate := w.Rotate
	if ca != nil {
		w.Env["CA_BUNDLE"] = string(ca)
		env := []string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + w.URL}
		for name, value := range w.Env {
			env = append(env, name+"="+value)
		}
		f, err := lambdasim.New(built.Function(t), lambdasim.Options{Env: env, Log: t.Output()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		rotate = func(arn string) error { return w.RotateBy(f, arn) }
	}
	for range 2 {
		if err := rotate(arn); err != nil {
			t.Fatal(err)
		}
	}
	now := w.Get(arn, "AWSCURRENT")
	was, _ := before.Text("password")
	if is, _ := now.Text("password"); is == was || len(is) != 24 {
		t.Error("the password is not a new one that follows the policy")
	}
	if !now.EqualBut(before, "password") {
		t.Error("more than the password has changed")
	}
	if err := h.Open(t.Context(), now); err != nil {
		t.Error(err)
	}
}
