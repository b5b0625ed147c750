package pgsession

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"example.com/rotator/rotation/internal/boundconn"
)

// Limits in bytes on what a server sends: the answer to one command, which at most lists all rights of a user, and the
// parameters, which the driver keeps.
const (
	answerLimit    = 8 << 20
	parameterLimit = 256 << 10
)

// bounded limits the memory and time that a server can use, because a secret's writer may have chosen it. The driver
// reads everything through it, after decryption.
// Source: https://www.postgresql.org/docs/current/protocol-message-formats.html
type bounded struct {
	reader io.Reader
	writer io.Writer

	head       []byte // kind and length of the current message
	left       int    // bytes left of its body
	rounds     boundconn.Rounds
	answer     int // bytes since the last command
	parameters int // bytes of all parameters
}

func (b *bounded) Write(p []byte) (int, error) {
	b.answer = 0
	return b.writer.Write(p)
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.reader.Read(p)
	if b.answer += n; b.answer > answerLimit {
		return 0, fmt.Errorf("the server sends more than %d bytes in answer to one command", answerLimit)
	}
	for p = p[:n]; len(p) > 0; {
		took, err := b.see(p)
		if err != nil {
			return 0, err
		}
		p = p[took:]
	}
	return n, err
}

// see inspects a piece of one message and returns its length.
func (b *bounded) see(p []byte) (int, error) {
	if missing := 5 - len(b.head); missing > 0 {
		p = p[:min(missing, len(p))]
		b.head = append(b.head, p...)
		if len(b.head) == 5 {
			b.left = int(binary.BigEndian.Uint32(b.head[1:])) - 4
			b.rounds = boundconn.Rounds{}
		}
	} else {
		p = p[:min(b.left, len(p))]
		b.left -= len(p)
	}
	switch b.head[0] {
	case 'R': // authentication
		if err := b.rounds.See(p); err != nil {
			return 0, err
		}
	case 'S': // ParameterStatus
		if b.parameters += len(p); b.parameters > parameterLimit {
			return 0, fmt.Errorf("the server sends more than %d bytes of parameters", parameterLimit)
		}
	}
	if len(b.head) == 5 && b.left <= 0 {
		if b.left < 0 {
			return 0, errors.New("the server's answer is not in PostgreSQL's protocol")
		}
		b.head = b.head[:0]
	}
	return len(p), nil
}
