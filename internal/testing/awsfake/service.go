// Package awsfake provides small fakes of the AWS services that engines use to change credentials, for tests over HTTP
// with the real SDK. They implement only the calls that the engines make, as AWS documents them, and were not compared
// with AWS itself.
package awsfake

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/uuid"

	"example.com/rotator/sim/iampolicy"
)

// The region and the account of everything in the fakes, except users added by AddUserIn.
const (
	region  = "us-east-1"
	account = "123456789012"
)

// fault is an error of an API.
type fault struct {
	status        int // 0 means 400
	code, message string
}

// service is the common part of fakes with a single caller. It is safe for concurrent use.
type service struct {
	credentials aws.Credentials

	mu    sync.Mutex
	calls []string
	fail  func(action string) (code string)
	allow *iampolicy.Policy // of the caller; nil allows everything
}

// Credentials returns the credentials that the fake accepts.
func (s *service) Credentials() aws.Credentials { return s.credentials }

// Calls returns the actions that were called, in order.
func (s *service) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Fail installs a hook: if it returns a code, the call fails with it.
func (s *service) Fail(hook func(action string) (code string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = hook
}

// PutPolicy sets the caller's only identity policy. Without one it may do everything.
func (s *service) PutPolicy(document string) error {
	p, err := iampolicy.Parse(document, "aws:ResourceTag/rotator:secret")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allow = p
	return err
}

// record records a call and returns the fault that the hook selects, or nil.
func (s *service) record(action string) *fault {
	s.calls = append(s.calls, action)
	if s.fail != nil {
		if code := s.fail(action); code != "" {
			return &fault{code: code, message: "made up"}
		}
	}
	return nil
}

// denied returns the error message for a call that the caller may not make, or "".
func (s *service) denied(action, resource string, have map[string][]string) string {
	if s.allow == nil || s.allow.Permits(action, resource, have) {
		return ""
	}
	return "User is not authorized to perform: " + action + " on resource: " + resource
}

// jsonHandler serves the calls of a JSON protocol whose X-Amz-Target begins with target. It holds the lock during do.
func jsonHandler[In any](s *service, name, target string, do func(action string, in In) (any, *fault)) http.Handler {
	answer := func(r *http.Request, body []byte) (any, *fault) {
		if sig, ok := signedWith(s.credentials, r, body); !ok || sig.Service != name || sig.Region != region {
			return nil, &fault{code: "UnrecognizedClientException",
				message: "The security token included in the request is invalid."}
		}
		action, ours := strings.CutPrefix(r.Header.Get("X-Amz-Target"), target)
		if !ours {
			return nil, &fault{code: "UnknownOperationException"}
		}
		var in In
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, &fault{code: "SerializationException"}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return do(action, in)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := readBody(r)
		if err != nil {
			return // the client is gone
		}
		out, f := answer(r, body)
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		if f != nil {
			w.WriteHeader(http.StatusBadRequest)
			out = map[string]string{"__type": f.code, "message": f.message}
		}
		_ = json.NewEncoder(w).Encode(out) // the client may be gone
	})
}

func readBody(r *http.Request) ([]byte, error) { return io.ReadAll(io.LimitReader(r.Body, 1<<20)) }

// writeXML writes the response or fault of a query protocol.
func writeXML(w http.ResponseWriter, out any, f *fault) {
	w.Header().Set("Content-Type", "text/xml")
	if f != nil {
		if f.status == 0 {
			f.status = http.StatusBadRequest
		}
		w.WriteHeader(f.status)
		out = struct {
			XMLName   xml.Name `xml:"ErrorResponse"`
			Type      string   `xml:"Error>Type"`
			Code      string   `xml:"Error>Code"`
			Message   string   `xml:"Error>Message"`
			RequestID string   `xml:"RequestId"`
		}{Type: "Sender", Code: f.code, Message: f.message, RequestID: uuid.NewString()}
	}
	_ = xml.NewEncoder(w).Encode(out) // the client may be gone
}

// members returns the values of a list in a query protocol. format is the name of a parameter, with %d for the index.
func members(form url.Values, format string) (list []string) {
	for i := 1; form.Has(fmt.Sprintf(format, i)); i++ {
		list = append(list, form.Get(fmt.Sprintf(format, i)))
	}
	return list
}

type xmlAnswer struct {
	XMLName   xml.Name
	Result    any
	RequestID string `xml:"ResponseMetadata>RequestId"`
}

func answer(action, namespace string, result any) xmlAnswer {
	return xmlAnswer{XMLName: xml.Name{Space: namespace, Local: action + "Response"}, Result: result,
		RequestID: uuid.NewString()}
}
