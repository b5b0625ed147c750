package scrub

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"example.com/rotator/rotation/engine"
)

// clean scrubs a text as a step does, without a known ARN.
func clean(text string, values []engine.Value, fields ...string) string {
	return New(values, "", fields...)(text)
}

// TestScrubLeavesNoRestOfALongerPassword: values are read in any order, and one may contain the beginning of another's
// password.
func TestScrubLeavesNoRestOfALongerPassword(t *testing.T) {
	short, long := engine.StringValue(`{"password":"Hunter"}`), engine.StringValue(`{"password":"Hunter-22"}`)
	for _, values := range [][]engine.Value{{short, long}, {long, short}} {
		if got := clean("refused Hunter-22 and Hunter%2D22 and Hunter", values); strings.Contains(got, "Hunter") ||
			strings.Contains(got, "-22") {
			t.Errorf("left over: %s", got)
		}
	}
}

// TestScrubKnowsTheSpellings in which drivers and servers may quote a value.
func TestScrubKnowsTheSpellings(t *testing.T) {
	const p = `Zq<7&w>Kp'9"é\x`
	text, _ := json.Marshal(map[string]string{"username": "app", "password": p})
	quoted, _ := json.Marshal(p)
	v := engine.StringValue(string(text))
	for name, s := range map[string]string{
		"base64 without padding":     base64.RawStdEncoding.EncodeToString([]byte(p)),
		"base64 for URLs":            base64.URLEncoding.EncodeToString([]byte(p)),
		"HTTP's Basic":               base64.StdEncoding.EncodeToString([]byte("app:" + p)),
		"JSON with escapes for HTML": strings.Trim(string(quoted), `"`),
		"quoted in ASCII":            strings.Trim(strconv.QuoteToASCII(p), `"`),
		"HTML":                       html.EscapeString(p),
		"MySQL's backslashes":        mysqlEscapes.Replace(p),
		"hex":                        hex.EncodeToString([]byte(p)),
		"a URL's userinfo":           strings.TrimPrefix(fmt.Sprint(url.UserPassword("x", p)), "x:"),
	} {
		if got := clean("error near "+s+" here", []engine.Value{v}); strings.Contains(got, s) {
			t.Errorf("%s is left: %s", name, got)
		}
	}
	v = engine.StringValue(`{"password":"hunter2-hunter2\n"}`)
	if got := clean("no login with hunter2-hunter2", []engine.Value{v}); strings.Contains(got, "hunter2") {
		t.Errorf("without its newline: %s", got)
	}
}

// TestScrubOfADeepField: a field may have as many levels as encoding/json decodes, in addition to the object's.
func TestScrubOfADeepField(t *testing.T) {
	const levels = 10000
	deep := strings.Repeat("[", levels) + `"hidden-below"` + strings.Repeat("]", levels)
	v := engine.StringValue(`{"password":"Hunter-22","extra":` + deep + `}`)
	if !v.IsObject() {
		t.Fatal(v.Fault())
	}
	if got := clean("refused Hunter-22 and hidden-below", []engine.Value{v}); got != "refused [redacted] and [redacted]" {
		t.Error(got)
	}
}

// TestScrubLeavesNoPart: servers truncate what they quote.
func TestScrubLeavesNoPart(t *testing.T) {
	const p = "k7Qw-zP4x.Vn9R_t3Lb!Yd6Gs"
	for _, v := range []engine.Value{
		engine.StringValue(`{"username":"app","token":"` + p + `"}`), engine.StringValue(p),
	} {
		for _, part := range []string{p[:8], p[:20], p[5:18], p[len(p)-9:]} {
			got := clean("syntax error at or near 'AUTH "+part, []engine.Value{v}, "token")
			if strings.Contains(got, part[:8]) || strings.Contains(got, part[len(part)-4:]) ||
				!strings.HasPrefix(got, "syntax error at or near 'AUTH ") {
				t.Errorf("of %d characters this is left: %s", len(part), got)
			}
		}
	}
	const message = `password authentication failed for user "app"`
	if got := clean(message, []engine.Value{
		engine.StringValue(`{"password":"first-password"}`),
	}, "password"); got != message {
		t.Errorf("the message became %s", got)
	}
}

// TestScrubKeepsWhatAnOperatorNeeds: the secret's own ARN, and hosts in a value with malformed JSON.
func TestScrubKeepsWhatAnOperatorNeeds(t *testing.T) {
	const arn, message = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:app-XyZaBc",
		"GetSecretValue of arn:aws:secretsmanager:eu-central-1:111122223333:secret:app-XyZaBc at db.example.com:5432"
	for _, value := range []string{
		"arn:aws:secretsmanager:eu-central-1:111122223333:secret:app-AnOther",
		`{"host":"db.example.com","password":"x-8-y-9-z",}`,
	} {
		if got := New([]engine.Value{engine.StringValue(value)}, arn, "password")(message); got != message {
			t.Errorf("the message became %s", got)
		}
	}
}

// A host that a secret names answers with a long message. No part of a credential is left where the text is cut, even
// if placeholders have shortened it.
func TestScrubCutsALongText(t *testing.T) {
	v := engine.StringValue(`{"username":"app","password":"k7Qw-zP4x.Vn9R_t3Lb!Yd6Gs",` +
		`"note":"a note that is nobody else's"}`)
	for _, filler := range []string{
		"x", "k7Qw-zP4x.Vn9R_t3Lb!Yd6Gs", "k7Qw-zP4x.Vn9R_t3Lb!Yd6Gs ", "a note that is nobody else's ", "é",
	} {
		for shift := range 30 {
			begin := time.Now()
			got := clean("refused: "+strings.Repeat("y", shift)+strings.Repeat(filler, 7<<20/len(filler)),
				[]engine.Value{v}, "password")
			took := time.Since(begin)
			if len(got) > shownLimit+20 || !strings.HasPrefix(got, "refused: ") || !strings.HasSuffix(got, "(cut)") ||
				strings.Contains(got, "k7Q") || strings.Contains(got, "a no") || !utf8.ValidString(got) ||
				took > 10*time.Second {
				t.Fatalf("%q: %d bytes after %s: %.30q … %q", filler, len(got), took, got, got[max(0, len(got)-60):])
			}
		}
	}
	for _, n := range []int{0, 100, shownLimit} {
		if text := strings.Repeat("x", n); clean(text, []engine.Value{v}) != text {
			t.Errorf("a text of %d bytes is changed", n)
		}
	}
}

// BenchmarkScrub scrubs with a secret of maximum size, with thousands of texts, that was read several times.
func BenchmarkScrub(b *testing.B) {
	fields := make(map[string]string)
	for i := range 3000 {
		fields[fmt.Sprintf("field-%d", i)] = fmt.Sprintf("V4lue-%d-x", i)
	}
	text, _ := json.Marshal(fields)
	values := slices.Repeat([]engine.Value{engine.StringValue(string(text))}, 8)
	for b.Loop() {
		if got := New(values, "arn", "password")("refused V4lue-17-x" + strings.Repeat(" and more",
			200)); strings.Contains(got, "V4lue") {
			b.Fatal("a value is left")
		}
	}
}
