package redis

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/testserver"
)

// listen serves commands on 127.0.0.1 until the test's end and returns the port. An empty answer ends the connection.
func listen(t *testing.T, answer func(command string) string) int {
	t.Helper()
	return testserver.Hostile(t, nil, answers(answer))
}

// answers serves commands on one connection.
func answers(answer func(command string) string) func(net.Conn) {
	return func(conn net.Conn) {
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
	}
}

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
