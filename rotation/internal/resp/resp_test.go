package resp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/boundconn"
)

func TestRead(t *testing.T) {
	for _, c := range []struct {
		text string
		want any
	}{
		{"+OK\r\n", "OK"}, {"-NOPERM no\r\n", Error("NOPERM no")}, {":-7\r\n", "-7"},
		{"$-1\r\n", nil}, {"$0\r\n\r\n", ""},
		{"$4\r\na\r\nb\r\n", "a\r\nb"}, {"*-1\r\n", nil},
		{"*3\r\n$1\r\na\r\n*1\r\n:1\r\n-ERR x\r\n", []any{"a", []any{"1"}, Error("ERR x")}},
		{"+" + strings.Repeat("x", 5000) + "\r\n", strings.Repeat("x", 5000)},
	} {
		got, err := read(bufio.NewReaderSize(strings.NewReader(c.text), maxLine))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%.40q: %v, %v", c.text, got, err)
		}
	}
	for _, bad := range []string{"", "+OK", "+OK\n", "\r\n", "x\r\n", "$x\r\n", "$-2\r\n", "$3\r\nab\r\n",
		"$1\r\nabc", "$999999999999\r\n", "*x\r\n", "*2\r\n+a\r\n",
		"*2000000\r\n", strings.Repeat("*1\r\n", maxDepth+1) + "+a\r\n", "+" + strings.Repeat("x", maxLine)} {
		if got, err := read(bufio.NewReaderSize(strings.NewReader(bad), maxLine)); err == nil {
			t.Errorf("%.40q: %v", bad, got)
		}
	}
}

// A server must not be able to crash the client, or make it allocate memory for data that it has only announced.
func FuzzRead(f *testing.F) {
	f.Add("*3\r\n$1\r\na\r\n*1\r\n:1\r\n-ERR x\r\n")
	f.Add("*1000000\r\n*1000000\r\n$16777216\r\nx")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := read(bufio.NewReaderSize(strings.NewReader(text), maxLine))
		if err != nil && got != nil {
			t.Errorf("%v and %v", got, err)
		}
	})
}

// serve answers each connection's first message with what write writes, and returns the port.
func serve(t *testing.T, config *tls.Config, write func(net.Conn)) int {
	return testserver.Hostile(t, config, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1<<10)) // the client may be gone
		write(c)
	})
}

// Anyone who can write a secret chooses its server, which may answer endlessly. The function has only 256 MiB of
// memory.
func TestNoAnswerTakesMuchMemoryOrTime(t *testing.T) {
	repeat := func(begin, part string) func(net.Conn) {
		part = strings.Repeat(part, 1+(64<<10)/len(part))
		return func(c net.Conn) {
			_, err := io.WriteString(c, begin)
			for err == nil {
				_, err = io.WriteString(c, part)
			}
		}
	}
	bulk := strings.Repeat("x", 1<<20)
	for name, c := range map[string]struct {
		write func(net.Conn)
		cause engine.Cause
		want  string
	}{
		"many long strings":     {repeat("*1048576\r\n", "$1048576\r\n"+bulk+"\r\n"), engine.TargetFailed, "too long"},
		"one that is too long":  {repeat("$1000000000\r\n", bulk), engine.TargetFailed, "too long"},
		"many short strings":    {repeat("*1048576\r\n", "$0\r\n\r\n"), engine.TargetFailed, "too long"},
		"many empty lists":      {repeat("*1048576\r\n", "*0\r\n"), engine.TargetFailed, "too long"},
		"a line without an end": {repeat("+", bulk), engine.TargetFailed, "too long"},
		"lists in lists":        {repeat("", "*1000000\r\n"), engine.TargetFailed, "not in Redis's protocol"},
		"an error with no end":  {repeat("-WRONGPASS ", bulk), engine.TargetFailed, "too long"},
		"an error of 10,000": {repeat("-WRONGPASS "+strings.Repeat("x", 10_000)+"\r\n", "+"),
			engine.LoginRefused, "xxx …"},
		"a byte now and then":    {func(c net.Conn) { trickle(t, c) }, engine.Unreachable, "in time"},
		"an end without a reply": {func(net.Conn) {}, engine.Unreachable, "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			port := serve(t, nil, c.write)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Login(ctx, engine.TLSPolicy{}, engine.Target{
				Host: "127.0.0.1", Port: port, User: "u", Password: "p", TLS: engine.TLSOff,
			})
			runtime.ReadMemStats(&after)
			if !errors.Is(err, c.cause) || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 2<<10 {
				t.Errorf("%.3000v, want %s with %q", err, c.cause, c.want)
			}
			if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 32 {
				t.Errorf("the answer took %d MiB", took)
			}
		})
	}
}

func trickle(t *testing.T, c net.Conn) {
	for _, err := io.WriteString(c, "$100\r\n"); err == nil && t.Context().Err() == nil; _,
		err = io.WriteString(c, "x") {
		time.Sleep(50 * time.Millisecond)
	}
}

// Go's error for a certificate with other names lists all of them, even if the certificate is not signed by a known CA.
func TestAnErrorDoesNotListAllNamesOfACertificate(t *testing.T) {
	var names []string
	for i := range 90 {
		names = append(names, fmt.Sprintf("%d.%s.example", i, strings.Repeat("x.", 100)))
	}
	ca, err := testserver.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ca.Issue(names...)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate.CertPEM, certificate.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	// Reading performs the handshake.
	port := serve(t, &tls.Config{Certificates: []tls.Certificate{pair}}, func(net.Conn) {})
	_, err = Login(t.Context(), engine.TLSPolicy{}, engine.Target{
		Host: "localhost", Port: port, User: "u", Password: "p",
	})
	if !errors.Is(err, engine.TLSFailed) || len(err.Error()) > 4<<10 {
		t.Errorf("%d bytes: %.200v", len(err.Error()), err)
	}
}

func TestClassify(t *testing.T) {
	target := engine.Target{Host: "h", Port: 1}
	for err, want := range map[error]engine.Cause{
		Error("WRONGPASS invalid"):                                   engine.LoginRefused,
		fmt.Errorf("wrapped: %w", Error("WRONGPASS invalid")):        engine.LoginRefused,
		Error("NOPERM this user"):                                    engine.PrivilegeMissing,
		Error("ERR the text WRONGPASS further on means nothing yet"): engine.TargetFailed,
		Error(""):          engine.TargetFailed,
		io.EOF:             engine.Unreachable,
		errReply:           engine.TargetFailed,
		boundconn.ErrPlain: engine.TLSFailed,
	} {
		if got := classify(target, "what", err); !errors.Is(got, want) {
			t.Errorf("%v: %v, want %s", err, got, want)
		}
	}
}

// A server's answer to an unknown command quotes the command and can truncate it anywhere.
func TestAnErrorQuotesNoCommand(t *testing.T) {
	const password = "a-password"
	for text, want := range map[Error]Error{
		"ERR unknown command 'AUTH', with args beginning with: 'app' 'a-passw": "ERR unknown command 'AUTH'",
		"ERR unknown command `AUTH`, with args beginning with: `app`, `a-p":    "ERR unknown command 'AUTH'",
		"ERR Unknown subcommand or wrong number of arguments for 'a-pa'":       "ERR unknown command 'AUTH'",
		"ERR unknown subcommand 'a-p'. Try AUTH HELP.":                         "ERR unknown command 'AUTH'",
		"WRONGPASS invalid username-password pair or user is disabled.": "WRONGPASS invalid username-password " +
			"pair or user is disabled.",
		"NOPERM User unknown-device has no permissions to run the 'auth'": "NOPERM User unknown-device has no " +
			"permissions to run the 'auth'",
	} {
		client, server := net.Pipe()
		go func() {
			_, _ = server.Read(make([]byte, 1<<10))
			_, _ = io.WriteString(server, "-"+string(text)+"\r\n")
		}()
		c := &Conn{engine.Target{}, t.Context(), client, bufio.NewReader(client)}
		if _, err := c.Do("what", "AUTH", "app", password); !errors.Is(err, want) {
			t.Errorf("%s: %v", text, err)
		}
		c.Close()
	}
}

// A password may look like the beginning of a hash. It must not hide the reply's code.
func TestShortPasswordHidesNoCode(t *testing.T) {
	for _, password := range []string{"#", "#W"} {
		client, server := net.Pipe()
		go func() {
			_, _ = server.Read(make([]byte, 1<<10))
			_, _ = io.WriteString(server, "-WRONGPASS invalid\r\n")
		}()
		c := &Conn{engine.Target{}, t.Context(), client, bufio.NewReader(client)}
		if _, err := c.Do("what", "AUTH", "app", password); !errors.Is(err, engine.LoginRefused) {
			t.Errorf("%s: %v", password, err)
		}
		c.Close()
	}
}

func TestUnknownIgnoresQuotedWords(t *testing.T) {
	for text, want := range map[Error]bool{
		"ERR unknown command 'CLUSTER', with args beginning with: 'NODES' ":          true,
		"ERR Unknown subcommand or wrong number of arguments for 'DRYRUN'":           true,
		"NOPERM User unknown-device has no permissions to run the 'cluster|nodes'":   false,
		"ERR Error in ACL SETUSER modifier 'x': Unknown command or category name in": false,
	} {
		if got := unknown(text); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
