package resp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"example.com/rotator/rotation"
)

func TestRead(t *testing.T) {
	for _, c := range []struct {
		text string
		want any
	}{
		{"+OK\r\n", "OK"}, {"-NOPERM no\r\n", Error("NOPERM no")}, {":-7\r\n", int64(-7)}, {"$-1\r\n", nil}, {"$0\r\n\r\n", ""},
		{"$4\r\na\r\nb\r\n", "a\r\nb"}, {"*-1\r\n", nil}, {"*3\r\n$1\r\na\r\n*1\r\n:1\r\n-ERR x\r\n", []any{"a", []any{int64(1)}, Error("ERR x")}},
		{"+" + strings.Repeat("x", 5000) + "\r\n", strings.Repeat("x", 5000)},
	} {
		got, err := read(bufio.NewReader(strings.NewReader(c.text)), maxDepth)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%.40q: %v, %v", c.text, got, err)
		}
	}
	for _, bad := range []string{"", "+OK", "+OK\n", "\r\n", "x\r\n", ":x\r\n", "$x\r\n", "$-2\r\n", "$3\r\nab\r\n", "$1\r\nabc", "$999999999999\r\n", "*x\r\n", "*2\r\n+a\r\n",
		"*2000000\r\n", strings.Repeat("*1\r\n", maxDepth+1) + "+a\r\n", "+" + strings.Repeat("x", maxLine)} {
		if got, err := read(bufio.NewReader(strings.NewReader(bad)), maxDepth); err == nil {
			t.Errorf("%.40q: %v", bad, got)
		}
	}
}

// A server must be able neither to crash the client nor to have it take memory
// for what was only announced.
func FuzzRead(f *testing.F) {
	f.Add("*3\r\n$1\r\na\r\n*1\r\n:1\r\n-ERR x\r\n")
	f.Add("*1000000\r\n*1000000\r\n$16777216\r\nx")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := read(bufio.NewReader(strings.NewReader(text)), maxDepth)
		if err != nil && got != nil {
			t.Errorf("%v and %v", got, err)
		}
	})
}

func TestClassify(t *testing.T) {
	target := rotation.Target{Host: "h", Port: 1}
	for err, want := range map[error]rotation.Cause{
		Error("WRONGPASS invalid"):                                   rotation.LoginRefused,
		fmt.Errorf("wrapped: %w", Error("WRONGPASS invalid")):        rotation.LoginRefused,
		Error("NOPERM this user"):                                    rotation.PrivilegeMissing,
		Error("ERR the text WRONGPASS further on means nothing yet"): rotation.TargetFailed,
		Error(""):       rotation.TargetFailed,
		io.EOF:          rotation.Unreachable,
		errReply:        rotation.TargetFailed,
		error(errPlain): rotation.TLSFailed,
	} {
		if got := Classify(target, "what", err); !errors.Is(got, want) {
			t.Errorf("%v: %v, want %s", err, got, want)
		}
	}
	if err := Classify(target, "what", nil); err != nil {
		t.Error(err)
	}
}
