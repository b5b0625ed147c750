package generic_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go/middleware"
	"github.com/google/uuid"

	"example.com/rotator/internal/testing/world"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/generic"
	"example.com/rotator/sim"
)

const functionARN = "arn:aws:lambda:us-east-1:123456789012:function:rotator"

// rotate rotates a secret once, with the machine and the simulated Secrets Manager, and returns the new value. edit
// is called on the pending value before testSecret.
func rotate(t *testing.T, first engine.Value, env map[string]string, edit func(engine.Value) engine.Value) (
	engine.Value, error) {
	t.Helper()
	simulator := sim.New(sim.Options{MaxAttempts: 1})
	server := httptest.NewServer(simulator.Handler())
	defer server.Close()
	client := secretsmanager.New(secretsmanager.Options{BaseEndpoint: aws.String(server.URL), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
	function := secretsmanager.New(client.Options(), func(o *secretsmanager.Options) {
		o.APIOptions = append(o.APIOptions, editing(edit))
	})
	r, err := rotation.New(rotation.Config{
		Engines: []engine.Engine{generic.New()},
		Secrets: func(context.Context, string) (*secretsmanager.Client, error) { return function, nil },
		Getenv:  func(name string) string { return env[name] },
		Log:     slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return first, err // an option that is rejected without a secret
	}
	var failure error
	simulator.RegisterFunction(functionARN,
		sim.InvokerFunc(func(ctx context.Context, payload []byte) ([]byte, string, error) {
			var e rotation.Event
			if err := e.UnmarshalJSON(payload); err != nil {
				return nil, "", err
			}
			if failure = r.Handle(ctx, e); failure != nil {
				return nil, "Unhandled", nil
			}
			return nil, "", nil
		}))
	in := &secretsmanager.CreateSecretInput{Name: aws.String("generic"),
		ClientRequestToken: aws.String(uuid.NewString())}
	if first.IsBinary() {
		in.SecretBinary = first.Reveal()
	} else {
		in.SecretString = aws.String(string(first.Reveal()))
	}
	if _, err := client.CreateSecret(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if _, err := client.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: in.Name,
		RotationLambdaARN: aws.String(functionARN), ClientRequestToken: aws.String(uuid.NewString())}); err != nil {
		t.Fatal(err)
	}
	_ = simulator.WaitRotation(t.Context(), "generic") // failure has the whole error
	out, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: in.Name})
	if err != nil {
		t.Fatal(err)
	}
	if out.SecretString != nil {
		return engine.StringValue(*out.SecretString), failure
	}
	return engine.BinaryValue(out.SecretBinary), failure
}

// editing changes the pending value before it is stored.
func editing(edit func(engine.Value) engine.Value) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("Edit", func(ctx context.Context,
			in middleware.InitializeInput, next middleware.InitializeHandler,
		) (middleware.InitializeOutput, middleware.Metadata, error) {
			if put, ok := in.Parameters.(*secretsmanager.PutSecretValueInput); ok && edit != nil {
				put.SecretString = aws.String(string(edit(engine.StringValue(*put.SecretString)).Reveal()))
			}
			return next.HandleInitialize(ctx, in)
		}), middleware.After)
	}
}

func options(pairs ...string) map[string]string {
	env := map[string]string{"ENGINE": "generic"}
	for i := 0; i < len(pairs); i += 2 {
		env[pairs[i]] = pairs[i+1]
	}
	return env
}

func TestBareStringBecomesAPasswordLikeAWSsTemplate(t *testing.T) {
	v, err := rotate(t, engine.StringValue("initial"), options(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := string(v.Reveal())
	for _, class := range []string{"[a-z]", "[A-Z]", "[0-9]", "[!-~]"} {
		if !regexp.MustCompile(class).MatchString(s) {
			t.Errorf("%s is not in the password", class)
		}
	}
	if len(s) != 32 || strings.ContainsAny(s, `/@"'\ `) || v.IsBinary() {
		t.Errorf("the form is not the template's: %d characters", len(s))
	}
}

func TestBytesInEveryEncoding(t *testing.T) {
	url := base64.RawURLEncoding
	for _, c := range []struct {
		encoding, length string
		first            engine.Value
		decode           func(string) ([]byte, error)
		want             int
	}{
		{"", "", engine.StringValue("old"), base64.StdEncoding.DecodeString, 32},
		{"base64", "64", engine.StringValue("old"), base64.StdEncoding.DecodeString, 64},
		{"base64url", "48", engine.StringValue("old"), url.DecodeString, 48},
		{"hex", "16", engine.StringValue("old"), hex.DecodeString, 16},
		{"", "4096", engine.BinaryValue([]byte("old")), nil, 4096},
		{"hex", "", engine.BinaryValue([]byte("old")), hex.DecodeString, 32},
	} {
		v, err := rotate(t, c.first, options("ROTATOR_GENERIC_KIND", "bytes", "ROTATOR_GENERIC_ENCODING", c.encoding,
			"ROTATOR_GENERIC_BYTES", c.length), nil)
		if err != nil {
			t.Errorf("%s: %v", c.encoding, err)
			continue
		}
		raw := v.Reveal()
		if c.decode != nil {
			if raw, err = c.decode(string(raw)); err != nil {
				t.Errorf("%s: %v", c.encoding, err)
			}
		}
		if len(raw) != c.want || v.IsBinary() != c.first.IsBinary() {
			t.Errorf("%s: %d bytes, binary %v", c.encoding, len(raw), v.IsBinary())
		}
	}
}

func TestEachFieldGetsItsOwnSecretAndTheRestStays(t *testing.T) {
	first := engine.StringValue(
		`{"engine": "generic", "issuer": "https://example.com", "access": "a", "refresh": "b", "n": 1.50}`)
	v, err := rotate(t, first, options("ROTATOR_GENERIC_KIND", "bytes", "ROTATOR_GENERIC_FIELD", "access,refresh"), nil)
	if err != nil {
		t.Fatal(err)
	}
	access, _ := v.Text("access")
	refresh, _ := v.Text("refresh")
	if len(access) != 44 || len(refresh) != 44 || access == refresh || !v.EqualBut(first, "access", "refresh") {
		t.Errorf("%d and %d characters; the rest is the same: %v", len(access), len(refresh),
			v.EqualBut(first, "access", "refresh"))
	}
}

// The machine learns only from the option which fields change.
func TestEditOfAnotherFieldIsDetected(t *testing.T) {
	first := engine.StringValue(`{"engine":"generic","issuer":"a","key":"k"}`)
	_, err := rotate(t, first, options("ROTATOR_GENERIC_FIELD", "key"), func(v engine.Value) engine.Value {
		return v.With("issuer", "b")
	})
	if engine.CauseOf(err) != engine.SecretEdited {
		t.Errorf("%v", err)
	}
}

// OpenSSL reads the generated keys.
func TestOpenSSLReadsKeys(t *testing.T) {
	for _, kind := range []string{"ed25519", "rsa-2048", "rsa-3072", "rsa-4096", "ecdsa-p256", "ecdsa-p384",
		"ecdsa-p521"} {
		v, err := rotate(t, engine.StringValue("old"), options("ROTATOR_GENERIC_KIND", kind), nil)
		if err != nil || !readable(t, string(v.Reveal())) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// The pending value is damaged before it is stored; testSecret detects it.
func TestVerifyRefusesMalformedValues(t *testing.T) {
	private := newKey(t)
	ed25519 := []string{"ROTATOR_GENERIC_KIND", "ed25519", "ROTATOR_GENERIC_FIELD", "key"}
	first := engine.StringValue(`{"engine":"generic","key":""}`)
	for _, c := range []struct {
		name string
		env  map[string]string
		edit func(engine.Value) engine.Value
		want string
	}{
		{"a key from OpenSSL", options(ed25519...), func(v engine.Value) engine.Value { return v.With("key", private) },
			""},
		{"a truncated key", options(ed25519...), func(v engine.Value) engine.Value {
			s, _ := v.Text("key")
			return v.With("key", s[:len(s)/2])
		}, "is not one PEM block"},
		{"a key of another kind", options("ROTATOR_GENERIC_KIND", "ecdsa-p384", "ROTATOR_GENERIC_FIELD", "key"),
			func(v engine.Value) engine.Value { return v.With("key", private) }, "is not a key of type"},
		{"OpenSSH's format in place of PEM", options(ed25519...),
			func(v engine.Value) engine.Value {
				return v.With("key", strings.ReplaceAll(private, "PRIVATE KEY", "OPENSSH PRIVATE KEY"))
			}, "is not one PEM block of type PRIVATE KEY"},
		{"bytes that are not hex", options("ROTATOR_GENERIC_KIND", "bytes", "ROTATOR_GENERIC_ENCODING", "hex",
			"ROTATOR_GENERIC_FIELD", "key"), func(v engine.Value) engine.Value { return v.With("key", "zz") },
			"is not hex"},
		{"no bytes", options("ROTATOR_GENERIC_KIND", "bytes", "ROTATOR_GENERIC_BYTES", "64", "ROTATOR_GENERIC_FIELD",
			"key"), func(v engine.Value) engine.Value { return v.With("key", "") }, "is 0 bytes, not 64"},
		{"an empty password", options("ROTATOR_GENERIC_FIELD", "key"), func(v engine.Value) engine.Value {
			return v.With("key", "")
		}, "is empty"},
	} {
		_, err := rotate(t, first, c.env, c.edit)
		if c.want == "" && err != nil || c.want != "" && (engine.CauseOf(err) != engine.InvalidSecret ||
			!strings.Contains(fmt.Sprint(err), c.want) || !strings.Contains(fmt.Sprint(err), "testSecret")) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Readers of a value expect its format, and anyone who may tag the secret could choose another. A placeholder has no
// format.
func TestFormatOfAValueNeverChanges(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	ed25519 := newKey(t)
	random := make([]byte, 64)
	_, _ = rand.Read(random)
	text := func(s string) engine.Value { return engine.StringValue(s) }
	field := func(json string) engine.Value { return engine.StringValue(`{"engine":"generic","key":` + json + `}`) }
	const kind, encoding, length = "ROTATOR_GENERIC_KIND", "ROTATOR_GENERIC_ENCODING", "ROTATOR_GENERIC_BYTES"
	for name, c := range map[string]struct {
		first engine.Value
		env   map[string]string
		want  string // of the error
	}{
		"PKCS #1 becomes PKCS #8":  {text(pkcs1), options(kind, "rsa-2048"), "is not one PEM block"},
		"RSA becomes Ed25519":      {text(pkcs8), options(kind, "ed25519"), "is not a key of type ed25519"},
		"RSA of more bits":         {text(pkcs8), options(kind, "rsa-3072"), "is not a key of type rsa-3072"},
		"a key becomes a password": {text(pkcs8), options(), "is a key in PEM"},
		"a key becomes bytes":      {text(pkcs8), options(kind, "bytes"), "is a key in PEM, not bytes"},
		"a key in a SecretBinary becomes bytes": {engine.BinaryValue([]byte(pkcs8)),
			options(kind, "bytes", length, "4096"), "is a key in PEM, not bytes"},
		"hex becomes base64": {text(hex.EncodeToString(random[:32])), options(kind, "bytes"),
			"looks like 32 bytes in hex, not base64"},
		"hex becomes base64 of as many bytes": {text(hex.EncodeToString(random[:32])),
			options(kind, "bytes", length, "48"), "looks like 32 bytes in hex, not base64"},
		"hex becomes base64 of more bytes": {text(hex.EncodeToString(random[:32])),
			options(kind, "bytes", length, "64"), "looks like 32 bytes in hex, not base64"},
		"hex in a SecretBinary becomes bytes": {engine.BinaryValue([]byte(hex.EncodeToString(random[:16]))),
			options(kind, "bytes"), "looks like 16 bytes in hex, not raw bytes"},
		"base64 becomes base64url": {text(base64.StdEncoding.EncodeToString(random[:32])),
			options(kind, "bytes", encoding, "base64url"), "in base64, not base64url"},
		"binary becomes hex": {engine.BinaryValue(random[:32]), options(kind, "bytes", encoding, "hex"),
			"is not hex"},
		"64 bytes become 32": {text(base64.StdEncoding.EncodeToString(random)), options(kind, "bytes"),
			"is 64 bytes, not 32"},
		"64 bytes become 32 by an option": {text(base64.StdEncoding.EncodeToString(random)),
			options(kind, "bytes", length, "32"), "is 64 bytes"},
		"16 bytes become 32":       {engine.BinaryValue(random[:16]), options(kind, "bytes"), "is 16 bytes"},
		"bytes become a password":  {engine.BinaryValue(append(random[:31:31], 0xff)), options(), "is bytes"},
		"a key's bytes become PEM": {engine.BinaryValue(der), options(kind, "rsa-2048"), "is not one PEM block"},
		"a key's seed becomes PEM": {text(hex.EncodeToString(random[:32])), options(kind, "ed25519"),
			"is not one PEM block"},
		"hex becomes a password by default": {text(hex.EncodeToString(random[:16])), options(),
			"looks like 16 bytes in hex"},
		"base64 becomes a password by default": {text(base64.StdEncoding.EncodeToString(random[:32])), options(),
			"looks like 32 bytes in base64"},
		"hex becomes a password by choice": {text(hex.EncodeToString(random[:16])), options(kind, "password"), ""},
		"a number becomes text":            {field("123456"), options("ROTATOR_GENERIC_FIELD", "key"), "is not text"},
		"an object becomes text": {field(`{"k":"x"}`), options("ROTATOR_GENERIC_FIELD", "key"),
			"is not text"},
		"16 bytes become 32 by an option": {text(hex.EncodeToString(random[:16])),
			options(kind, "bytes", encoding, "hex", length, "32"), ""},
		"hex stays hex": {text(hex.EncodeToString(random[:32])),
			options(kind, "bytes", encoding, "hex"), ""},
		"base64 without padding is either": {text(base64.StdEncoding.EncodeToString(random[:48])),
			options(kind, "bytes", length, "48"), ""},
		"a key stays": {text(pkcs8), options(kind, "rsa-2048"), ""},
		"a key stays in its field": {engine.StringValue(`{"engine":"generic"}`).With("key", ed25519),
			options(kind, "ed25519", "ROTATOR_GENERIC_FIELD", "key"), ""},
		"a password without punctuation": {text("Zq8RmKp2VtXw4yBn7cDf9gHj3kLs5aQe"),
			options("EXCLUDE_PUNCTUATION", "true"), ""},
		"a placeholder for bytes":      {text("placeholder"), options(kind, "bytes", encoding, "hex"), ""},
		"a placeholder for a key":      {text("change me"), options(kind, "ed25519"), ""},
		"a password in a SecretBinary": {engine.BinaryValue([]byte("first-Passw0rd-in-binary")), options(), ""},
		"null is a placeholder":        {field("null"), options("ROTATOR_GENERIC_FIELD", "key"), ""},
	} {
		v, err := rotate(t, c.first, c.env, nil)
		if c.want == "" {
			if err != nil || v.Equal(c.first) {
				t.Errorf("%s: %v", name, err)
			}
		} else if engine.CauseOf(err) != engine.InvalidSecret || !strings.Contains(err.Error(), c.want) ||
			!strings.Contains(err.Error(), "createSecret") || !v.Equal(c.first) {
			t.Errorf("%s: %v; unchanged %v", name, err, v.Equal(c.first))
		}
	}
}

func TestInvalidOptionsAreReportedAndChangeNothing(t *testing.T) {
	object := engine.StringValue(`{"engine":"generic","key":"k"}`)
	for _, c := range []struct {
		first engine.Value
		env   map[string]string
		cause engine.Cause
		want  string
	}{
		{object, options(), engine.InvalidSecret, "no field to rotate is named"},
		{object, options("ROTATOR_GENERIC_FIELD", "kye"), engine.InvalidSecret, "kye is missing"},
		{object, options("ROTATOR_GENERIC_FIELD", "engine"), engine.InvalidSecret, "engine is reserved"},
		{object, options("ROTATOR_GENERIC_FIELD", "key,key"), engine.InvalidSecret, "key is reserved"},
		{engine.StringValue("x"), options("ROTATOR_GENERIC_FIELD", "key"), engine.InvalidSecret, "has no fields"},
		{engine.StringValue("x"), options("ROTATOR_GENERIC_KIND", "dsa"), engine.InvalidConfiguration, `"dsa"`},
		{engine.StringValue("x"), options("ROTATOR_GENERIC_KIND", "bytes", "ROTATOR_GENERIC_BYTES", "8"),
			engine.InvalidConfiguration, "16 to 4096"},
		{engine.StringValue("x"), options("ROTATOR_GENERIC_KIND", "bytes", "ROTATOR_GENERIC_ENCODING", "pem"),
			engine.InvalidConfiguration, `"pem"`},
		{engine.StringValue("x"), options("ROTATOR_GENERIC_KIND", "bytes", "ROTATOR_GENERIC_ENCODING", "binary"),
			engine.InvalidConfiguration, "remove it for a SecretBinary"},
		{engine.StringValue(`{"key":"","public":"-----BEGIN PUBLIC KEY-----"}`),
			options("ROTATOR_GENERIC_KIND", "ed25519", "ROTATOR_GENERIC_FIELD", "key public"), engine.InvalidSecret,
			"remove a public key's field from generic-field"},
		{engine.StringValue("x"), options("ROTATOR_GENERIC_KIND", "ed25519", "ROTATOR_GENERIC_ENCODING", "hex"),
			engine.InvalidConfiguration, "only bytes have an encoding"},
		{engine.StringValue("x"), options("ROTATOR_GENERIC_ENCODING", "hex"), engine.InvalidConfiguration,
			"only bytes have an encoding"},
	} {
		v, err := rotate(t, c.first, c.env, nil)
		if engine.CauseOf(err) != c.cause || !strings.Contains(fmt.Sprint(err), c.want) || !v.Equal(c.first) {
			t.Errorf("%v: %v; unchanged %v", c.env, err, v.Equal(c.first))
		}
	}
}

// TestSecretOfMSK follows the recipe in docs/engines/generic.md.
func TestSecretOfMSK(t *testing.T) {
	w := world.New(t, generic.New())
	arn := w.Secret("AmazonMSK_alice", engine.StringValue(`{"username": "alice", "password": "alice-secret"}`))
	w.Tag(arn, "engine", "generic", "generic-field", "password")
	if err := w.Rotate(arn); err != nil {
		t.Fatal(err)
	}
	now := w.Get(arn, "AWSCURRENT").Reveal()
	if !regexp.MustCompile(`^\{"username": "alice", "password": ".{32,}"\}$`).Match(now) {
		t.Error("the value has another format")
	}
}
