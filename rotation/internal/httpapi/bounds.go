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

// Doer sends requests, like the HTTP client of an AWS SDK.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Send sends a request and reads the response of at most limit bytes.
func Send(d Doer, req *http.Request, limit int) (*Answer, error) {
	resp, err := d.Do(req)
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

// sdkLimit limits the bytes of a response that an AWS SDK reads.
const sdkLimit = 1 << 20

// Bound returns a client whose responses fail if they are too long: the SDK reads them whole.
func Bound(d Doer) Doer { return bound{d} }

type bound struct{ Doer }

func (b bound) Do(r *http.Request) (*http.Response, error) {
	resp, err := b.Doer.Do(r)
	if err == nil {
		resp.Body = boundconn.LimitReader(resp.Body, sdkLimit)
	}
	return resp, err
}
