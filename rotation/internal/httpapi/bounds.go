package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

const (
	// valueLimit bounds how many values the JSON of an answer may have: a few bytes of it
	// can take a hundred in memory.
	valueLimit = 300_000
	// textLimit bounds what an error quotes of a host, in bytes.
	textLimit = 1 << 10
)

// Decode reads JSON from an answer, with numbers as they are written where out has no
// type for them.
func Decode(data []byte, out any) error {
	if bytes.Count(data, []byte(","))+bytes.Count(data, []byte("{"))+bytes.Count(data, []byte("[")) > valueLimit {
		return errors.New("the answer has too many values")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	return dec.Decode(out)
}

// Short returns the beginning of a text that a host has chosen.
func Short(text string) string {
	if len(text) <= textLimit {
		return text
	}
	return strings.ToValidUTF8(text[:textLimit], "") + " …"
}

// Shorten returns err with a short text. The client's errors quote what they cannot
// read.
func Shorten(err error) error {
	if err == nil || len(err.Error()) <= textLimit {
		return err
	}
	return shortened{err}
}

type shortened struct{ error }

func (e shortened) Error() string { return Short(e.error.Error()) }

func (e shortened) Unwrap() error { return e.error }
