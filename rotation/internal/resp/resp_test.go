package resp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"

	"example.com/rotator/rotation/engine"
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
	target := engine.Target{Host: "h", Port: 1}
	for err, want := range map[error]engine.Cause{
		Error("WRONGPASS invalid"):                                   engine.LoginRefused,
		fmt.Errorf("wrapped: %w", Error("WRONGPASS invalid")):        engine.LoginRefused,
		Error("NOPERM this user"):                                    engine.PrivilegeMissing,
		Error("ERR the text WRONGPASS further on means nothing yet"): engine.TargetFailed,
		Error(""):       engine.TargetFailed,
		io.EOF:          engine.Unreachable,
		errReply:        engine.TargetFailed,
		error(errPlain): engine.TLSFailed,
	} {
		if got := Classify(target, "what", err); !errors.Is(got, want) {
			t.Errorf("%v: %v, want %s", err, got, want)
		}
	}
	if err := Classify(target, "what", nil); err != nil {
		t.Error(err)
	}
}

// What a server says of a command that it does not know has words of it, cut off
// anywhere.
func TestAnErrorQuotesNoCommand(t *testing.T) {
	const password = "a-password"
	for text, want := range map[Error]Error{
		"ERR unknown command 'AUTH', with args beginning with: 'app' 'a-passw": "ERR unknown command 'AUTH'",
		"ERR unknown command `AUTH`, with args beginning with: `app`, `a-p":    "ERR unknown command 'AUTH'",
		"ERR Unknown subcommand or wrong number of arguments for 'a-pa'":       "ERR wrong number of arguments for 'auth' command",
		"ERR unknown subcommand 'a-p'. Try AUTH HELP.":                         "ERR unknown command 'AUTH'",
		"ERR wrong number of arguments for 'auth' command: a-p":                "ERR wrong number of arguments for 'auth' command",
		"WRONGPASS invalid username-password pair or user is disabled.":        "WRONGPASS invalid username-password pair or user is disabled.",
		"NOPERM User unknown-device has no permissions to run the 'auth'":      "NOPERM User unknown-device has no permissions to run the 'auth'",
	} {
		client, server := net.Pipe()
		go func() {
			_, _ = server.Read(make([]byte, 1<<10))
			_, _ = io.WriteString(server, "-"+string(text)+"\r\n")
		}()
		c := &Conn{t.Context(), client, bufio.NewReader(client)}
		if _, err := c.Do("AUTH", "app", password); err != want {
			t.Errorf("%s: %v", text, err)
		}
		c.Close()
	}
}

func TestUnknownIsTheServersWordAlone(t *testing.T) {
	for text, want := range map[Error]bool{
		"ERR unknown command 'CLUSTER', with args beginning with: 'NODES' ":          true,
		"ERR Unknown subcommand or wrong number of arguments for 'DRYRUN'":           true,
		"NOPERM User unknown-device has no permissions to run the 'cluster|nodes'":   false,
		"ERR Error in ACL SETUSER modifier 'x': Unknown command or category name in": false,
	} {
		if got := text.Unknown(); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
