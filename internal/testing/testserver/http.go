package testserver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// web is a Server with an HTTP API.
type web struct {
	Server
	// NoTLS means that it serves HTTP instead of HTTPS.
	NoTLS bool
}

// URL returns the server's address, without path or credentials.
func (s *web) URL() string {
	if s.NoTLS {
		return "http://" + s.Addr()
	}
	return "https://" + s.Addr()
}

// question is one HTTP request.
type question struct {
	method, path string
	kind         string // the Content-Type, or "" for none
	body         []byte
	authorize    func(*http.Request)
	// anyName accepts a certificate for another name, which the test itself refuses.
	anyName bool
}

// ask sends a request and returns the status and the body of the response.
func (s *web) ask(ctx context.Context, q question) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, q.method, s.URL()+q.path, bytes.NewReader(q.body))
	if err != nil {
		return 0, nil, err
	}
	if q.kind != "" {
		request.Header.Set("Content-Type", q.kind)
	}
	q.authorize(request)
	config := s.CA.ClientTLS(s.Host)
	config.InsecureSkipVerify = q.anyName
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, errors.Join(err, response.Body.Close())
}

// basic authorizes a request with a user name and password.
func basic(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}
