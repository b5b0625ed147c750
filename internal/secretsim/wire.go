package secretsim

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// stamp is a time as the wire has it: seconds of the epoch, with milliseconds.
type stamp time.Time

// MarshalJSON writes the number.
func (t stamp) MarshalJSON() ([]byte, error) {
	ms := time.Time(t).UnixMilli()
	if ms%1000 == 0 {
		return fmt.Appendf(nil, "%d", ms/1000), nil
	}
	return fmt.Appendf(nil, "%d.%03d", ms/1000, ms%1000), nil
}

// operation decodes a request, and answers it under the lock.
type operation func(*Sim, []byte) (any, *fault)

func decoded[In any](do func(*Sim, In) (any, *fault)) operation {
	return func(s *Sim, body []byte) (any, *fault) {
		var in In
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, &fault{"SerializationException", "the request is not the JSON of this operation"}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return do(s, in)
	}
}

var operations = map[string]operation{
	"CreateSecret":             decoded((*Sim).createSecret),
	"DescribeSecret":           decoded((*Sim).describeSecret),
	"GetSecretValue":           decoded((*Sim).getSecretValue),
	"PutSecretValue":           decoded((*Sim).putSecretValue),
	"UpdateSecret":             decoded((*Sim).updateSecret),
	"UpdateSecretVersionStage": decoded((*Sim).updateSecretVersionStage),
	"RotateSecret":             decoded((*Sim).rotateSecret),
	"CancelRotateSecret":       decoded((*Sim).cancelRotateSecret),
	"ListSecretVersionIds":     decoded((*Sim).listSecretVersionIds),
	"ListSecrets":              decoded((*Sim).listSecrets),
	"DeleteSecret":             decoded((*Sim).deleteSecret),
	"RestoreSecret":            decoded((*Sim).restoreSecret),
	"TagResource":              decoded((*Sim).tagResource),
	"UntagResource":            decoded((*Sim).untagResource),
	"GetRandomPassword":        decoded((*Sim).getRandomPassword),
}

// Handler returns the service's wire protocol, AWS JSON 1.1.
func (s *Sim) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		name, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
		do := operations[name]
		var out any
		f := &fault{"UnknownOperationException", "this is not an operation of Secrets Manager"}
		if err == nil && ok && do != nil && r.Method == http.MethodPost {
			out, f = do(s, body)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.Header().Set("X-Amzn-RequestId", uuid())
		if f != nil {
			member := "Message"
			if f.Code == "ValidationException" || f.Code == "AccessDeniedException" {
				member = "message"
			}
			w.WriteHeader(http.StatusBadRequest)
			text, _ := json.Marshal(f.Message)
			fmt.Fprintf(w, `{"__type":"%s","%s":%s}`, f.Code, member, text)
			return
		}
		text, _ := json.Marshal(out)
		_, _ = w.Write(text)
	})
}

// Server is a Sim that listens.
type Server struct {
	http     *http.Server
	listener net.Listener
}

// Serve listens on addr, such as 127.0.0.1:0.
func Serve(s *Sim, addr string) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	server := &Server{&http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second}, l}
	go func() { _ = server.http.Serve(l) }()
	return server, nil
}

// URL returns where the server listens.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// Close stops the server.
func (s *Server) Close() error { return s.http.Close() }
