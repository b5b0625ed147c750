package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"example.com/rotator/rotation/internal/boundconn"
)

// valueLimit limits the number of values in a response's JSON: a value of a few bytes can take a hundred in memory.
const valueLimit = 300_000

// Decode decodes a response's JSON. Numbers decoded into an interface keep their literal form.
func Decode(data []byte, out any) error {
	if bytes.Count(data, []byte(","))+bytes.Count(data, []byte("{"))+bytes.Count(data, []byte("[")) > valueLimit {
		return errors.New("the answer has too many values")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(out); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("text follows the answer's JSON")
	}
	return nil
}

// Answer is a complete response, with any status.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// OK reports whether the status is 2xx.
func (a *Answer) OK() bool { return a.Status >= 200 && a.Status < 300 }

// Send sends a request and reads the response of at most limit bytes.
func Send(c *http.Client, req *http.Request, limit int) (*Answer, error) {
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(boundconn.LimitReader(resp.Body, limit))
	if err != nil {
		return nil, err
	}
	return &Answer{resp.StatusCode, resp.Header, body}, nil
}
