package testserver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// Web is a Server with an HTTP API.
type Web struct {
	Server
}

// URL returns the server's address, without path or credentials.
func (s *Web) URL() string {
	if s.NoTLS {
		return "http://" + s.Addr()
	}
	return "https://" + s.Addr()
}

// Ask sends a request with the headers that authorize adds, and returns the response's status and body.
func (s *Web) Ask(ctx context.Context, method, path string, body []byte, authorize func(*http.Request)) (
	int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, s.URL()+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	authorize(request)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.ClientTLS(), DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, errors.Join(err, response.Body.Close())
}
