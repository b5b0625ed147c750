package engine_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/rotator/rotation/engine"
)

func TestWithKeepsEveryOtherByte(t *testing.T) {
	const text = "{ \"z\":1e400,\n\t\"password\" : \"old\" , \"a\": {\"n\": 1.50, \"é\":\"\\u00e9\"}, " +
		"\"port\":\"5432\" }"
	for _, tc := range []struct{ name, value, want string }{
		{"password", "new", strings.Replace(text, `"old"`, `"new"`, 1)},
		{"password", `<&>"\`, strings.Replace(text, `"old"`, `"<&>\"\\"`, 1)},
		{"username", "app", strings.Replace(text, `"5432" }`, `"5432","username":"app" }`, 1)},
	} {
		if got := string(engine.StringValue(text).With(tc.name, tc.value).Reveal()); got != tc.want {
			t.Errorf("With(%q, %q):\n got %s\nwant %s", tc.name, tc.value, got, tc.want)
		}
	}
	if got := string(engine.StringValue(" {} ").With("a", "b").Reveal()); got != ` {"a":"b"} ` {
		t.Errorf("With on an empty object: %s", got)
	}
}

func TestTextReadsWhatASecretMayHold(t *testing.T) {
	v := engine.StringValue(`{"s":"a\u00e9","n":5432,"f":1.50,"t":true,"null":null,"o":{},"l":[1],"e":""}`)
	for name, want := range map[string]string{"s": "aé", "n": "5432", "f": "1.50", "t": "true", "e": ""} {
		if got, ok := v.Text(name); !ok || got != want {
			t.Errorf("Text(%q) = %q, %v, want %q", name, got, ok, want)
		}
	}
	for _, name := range []string{"null", "o", "l", "absent", ""} {
		if got, ok := v.Text(name); ok {
			t.Errorf("Text(%q) = %q, want none", name, got)
		}
	}
}

func TestFaultSaysWhyAValueIsNotAnObject(t *testing.T) {
	for text, want := range map[string]string{
		`password`:            "not a JSON object",
		`"password"`:          "not a JSON object",
		`["a"]`:               "not a JSON object",
		``:                    "not a JSON object",
		`{"a":`:               "not well-formed",
		`{"a" "b"}`:           "not well-formed",
		`{"a":1,}`:            "not well-formed",
		`{"a":1} x`:           "text follows",
		`{"a":"x","a":"y"}`:   `"a" appears twice`,
		`{"a":"topsecret-1"`:  "not well-formed",
		`{"a":topsecret-1}`:   "not well-formed",
		`{topsecret-1:"a"}`:   "not well-formed",
		"{\"a\":\"x\x01\"}":   "not well-formed",
		`{"a":1}{"b":"twin"}`: "text follows",
	} {
		v := engine.StringValue(text)
		if v.IsObject() || !strings.Contains(v.Fault(), want) || strings.Contains(v.Fault(), "topsecret") {
			t.Errorf("%s: object %v, fault %q, want %q", text, v.IsObject(), v.Fault(), want)
		}
		if string(v.Reveal()) != text || len(v.Names()) != 0 {
			t.Errorf("%s: was changed to %s with fields %v", text, v.Reveal(), v.Names())
		}
	}
}

func TestEqualButSeesEveryOtherField(t *testing.T) {
	base := engine.StringValue(`{"host":"h","port":1,"password":"p","note":[1,2]}`)
	for text, want := range map[string]bool{
		`{"host":"h","port":1,"password":"q","note":[1,2]}`:            true,
		`{ "host": "h", "port":1, "password":"q", "note":[ 1, 2 ] }`:   true,
		`{"host":"i","port":1,"password":"p","note":[1,2]}`:            false,
		`{"host":"h","port":"1","password":"p","note":[1,2]}`:          false,
		`{"host":"h","port":1,"password":"p","note":[1,2],"new":true}`: false,
		`{"host":"h","port":1,"password":"p"}`:                         false,
		`h`:                                                            false,
	} {
		if got := base.EqualBut(engine.StringValue(text), "password"); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func FuzzValue(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":"b"}`, ` { "a" : 1e400 , "b":[{}] } `, `x`, `{"a":1,"a":2}`, "{\"\\u0061\":1}", `{"a":1}x`,
	} {
		f.Add(s, "a", "new")
	}
	f.Fuzz(func(t *testing.T, text, name, to string) {
		v := engine.StringValue(text)
		if string(v.Reveal()) != text {
			t.Fatal("a value is not what was read")
		}
		if v.IsObject() != (v.Fault() == "") {
			t.Fatal("an object with a fault, or the reverse")
		}
		if !v.IsObject() {
			return
		}
		if !json.Valid([]byte(text)) {
			t.Fatal("an object that is not JSON")
		}
		if !utf8.ValidString(name) {
			return // JSON has no such name
		}
		before := v.Names()
		w := v.With(name, to)
		if !w.IsObject() {
			t.Fatalf("With made %s out of %s", w.Reveal(), text)
		}
		var want string
		j, _ := json.Marshal(to)
		_ = json.Unmarshal(j, &want) // how JSON reads text that is not UTF-8
		if got, ok := w.Text(name); !ok && slices.Contains(before, name) || ok && got != want {
			t.Fatalf("With(%q, %q) reads %q", name, to, got)
		}
		if !v.EqualBut(w, name) {
			t.Fatal("With changed another field")
		}
	})
}
