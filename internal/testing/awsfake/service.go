// Package awsfake is the common part of small fakes of AWS services, for tests over HTTP with the real SDK. The fake of
// a service is in the tests of the engine that changes credentials with it. It implements only the calls that the
// engine makes, as AWS documents them, and was not compared with AWS itself. Fakes are safe for concurrent use.
package awsfake

import (
	"cmp"
	"crypto/rand"
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

	"example.com/rotator/internal/sigv4"
	"example.com/rotator/sim/iampolicy"
)

// The region and the account of the fakes.
const (
	Region  = "us-east-1"
	Account = "123456789012"
)

// Fault is an error of a service.
type Fault struct {
	Status        int // 0 means 400
	Code, Message string
}

// Recorder is the common part of all fakes. It locks their state.
type Recorder struct {
	sync.Mutex
	calls []string
	fail  func(action string) (code, message string)
}

// Calls returns the actions that were called, in order.
func (r *Recorder) Calls() []string {
	r.Lock()
	defer r.Unlock()
	return slices.Clone(r.calls)
}

// Fail installs a hook: if it returns a code, the call fails with it.
func (r *Recorder) Fail(hook func(action string) (code, message string)) {
	r.Lock()
	defer r.Unlock()
	r.fail = hook
}

// record records a call and returns the fault that the hook selects, or nil.
func (r *Recorder) record(action string) *Fault {
	r.calls = append(r.calls, action)
	if r.fail != nil {
		if code, message := r.fail(action); code == "ServiceFailure" {
			return &Fault{500, code, message}
		} else if code != "" {
			return &Fault{Code: code, Message: message}
		}
	}
	return nil
}

// Call is a request to a fake.
type Call struct {
	*http.Request
	Body   []byte
	Form   url.Values // of a query protocol
	Action string
}

// handler serves calls by do, which runs under the lock, and writes the response or fault by write.
func (r *Recorder) handler(do func(Call) (any, *Fault),
	write func(http.ResponseWriter, Call, any, *Fault)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(io.LimitReader(request.Body, 1<<20))
		if err != nil {
			return // the client is gone
		}
		c := Call{Request: request, Body: body}
		c.Form, _ = url.ParseQuery(string(body)) // a malformed body has no action
		_, target, _ := strings.Cut(request.Header.Get("X-Amz-Target"), ".")
		c.Action = cmp.Or(target, c.Form.Get("Action"))
		r.Lock()
		var out any
		f := r.record(c.Action)
		if f == nil {
			out, f = do(c)
		}
		r.Unlock()
		write(w, c, out, f)
	})
}

// Service is the common part of fakes with a single caller.
type Service struct {
	Recorder
	credentials aws.Credentials
	allow       *iampolicy.Policy // of the caller; nil allows everything
}

// NewService returns a service with a new caller.
func NewService() Service {
	return Service{credentials: aws.Credentials{AccessKeyID: "AKIAFAKE" + rand.Text()[:12], SecretAccessKey: rand.Text()}}
}

// Credentials returns the credentials that the fake accepts.
func (s *Service) Credentials() aws.Credentials { return s.credentials }

// Env returns the variables that make the function call the fake at url. name is the service's in the SDK's variables.
func (s *Service) Env(name, url string) map[string]string {
	return map[string]string{"AWS_ENDPOINT_URL_" + name: url, "AWS_ACCESS_KEY_ID": s.credentials.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY": s.credentials.SecretAccessKey}
}

// PutPolicy sets the caller's only identity policy. Without one it may do everything.
func (s *Service) PutPolicy(document string) error {
	p, err := iampolicy.Parse(document, "aws:ResourceTag/rotator:secret")
	s.Lock()
	defer s.Unlock()
	s.allow = p
	return err
}

// Signed checks that a call was signed by the caller, for a service in the fakes' region.
func (s *Service) Signed(c Call, name string) *Fault {
	if sig, _ := sigv4.Read(c.Request); sig == (sigv4.Signature{Key: s.credentials.AccessKeyID, Region: Region, Service: name}) {
		return nil
	}
	return &Fault{Code: "UnrecognizedClientException", Message: "The security token included in the request is invalid."}
}

// Denied returns the fault of a call that the caller may not make, or nil.
func (s *Service) Denied(action, resource string, have map[string][]string) *Fault {
	if s.allow == nil || s.allow.Permits(action, resource, have) {
		return nil
	}
	return &Fault{Code: "AccessDeniedException",
		Message: "User is not authorized to perform: " + action + " on resource: " + resource}
}

// JSONHandler serves a service's calls in a JSON protocol by do, which runs under the lock.
func JSONHandler[In any](s *Service, name string, do func(action string, in In) (any, *Fault)) http.Handler {
	return s.handler(func(c Call) (any, *Fault) {
		if f := s.Signed(c, name); f != nil {
			return nil, f
		}
		var in In
		if err := json.Unmarshal(c.Body, &in); err != nil {
			return nil, &Fault{Code: "SerializationException"}
		}
		return do(c.Action, in)
	}, func(w http.ResponseWriter, c Call, out any, f *Fault) {
		w.Header().Set("Content-Type", c.Header.Get("Content-Type"))
		if f != nil {
			w.WriteHeader(http.StatusBadRequest)
			out = map[string]string{"__type": f.Code, "message": f.Message}
		}
		_ = json.NewEncoder(w).Encode(out) // the client may be gone
	})
}

// XMLHandler serves calls in a query protocol by do, which runs under the lock.
func (r *Recorder) XMLHandler(do func(Call) (any, *Fault)) http.Handler {
	return r.handler(do, writeXML)
}

// writeXML writes the response or fault of a query protocol.
func writeXML(w http.ResponseWriter, c Call, out any, f *Fault) {
	w.Header().Set("Content-Type", "text/xml")
	response := struct {
		XMLName   xml.Name
		Error     any
		Result    any
		RequestID string `xml:"ResponseMetadata>RequestId"`
	}{XMLName: xml.Name{Local: c.Action + "Response"}, RequestID: uuid.NewString()}
	if f == nil {
		response.Result = element{c.Action + "Result", out}
	} else {
		w.WriteHeader(cmp.Or(f.Status, http.StatusBadRequest))
		response.XMLName.Local = "ErrorResponse"
		response.Error = struct{ Type, Code, Message string }{"Sender", f.Code, f.Message}
	}
	_ = xml.NewEncoder(w).Encode(response) // the client may be gone
}

// element is a value in an XML element with a name that is known only at run time.
type element struct {
	name  string
	value any
}

// MarshalXML implements xml.Marshaler.
func (e element) MarshalXML(x *xml.Encoder, _ xml.StartElement) error {
	return x.EncodeElement(e.value, xml.StartElement{Name: xml.Name{Local: e.name}})
}

// Members returns the values of a list in a query protocol. format is the name of a parameter, with %d for the index.
func Members(form url.Values, format string) (list []string) {
	for i := 1; form.Has(fmt.Sprintf(format, i)); i++ {
		list = append(list, form.Get(fmt.Sprintf(format, i)))
	}
	return list
}
