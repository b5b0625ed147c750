package redis

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
)

// listen serves commands on 127.0.0.1 until the test's end and returns the port. An empty answer ends the connection.
func listen(t *testing.T, answer func(command string) string) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listenAt(t, l, answer)
	return l.Addr().(*net.TCPAddr).Port
}

func listenAt(t *testing.T, l net.Listener, answer func(command string) string) {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for {
					words, err := command(r)
					if err != nil {
						return
					}
					a := answer(strings.Join(words, " "))
					if _, err := io.WriteString(conn, a); err != nil || a == "" {
						return
					}
				}
			}()
		}
	}()
}

// command reads a client's command.
func command(r *bufio.Reader) (words []string, err error) {
	number := func() (int, error) {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimRight(line[1:], "\r\n"))
	}
	n, err := number()
	for range n {
		size, err := number()
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		words = append(words, string(b[:size]))
	}
	return words, err
}
