// Package awsfake provides small fakes of the AWS services that engines use to change credentials, for tests over HTTP
// with the real SDK. They implement only the calls that the engines make, as AWS documents them, and were not compared
// with AWS itself. They check signatures and are safe for concurrent use.
package awsfake

import (
	"cmp"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/uuid"

	"example.com/rotator/internal/sigv4"
	"example.com/rotator/sim/iampolicy"
)

// The region and the account of everything in the fakes, except users added by AddUserIn.
const (
	region  = "us-east-1"
	account = "123456789012"
)

type fault struct {
	status        int // 0 means 400
	code, message string
}

// recorder is the common part of all fakes.
type recorder struct {
	mu    sync.Mutex
	calls []string
	fail  func(action string) (code, message string)
}

// Calls returns the actions that were called, in order.
func (r *recorder) Calls() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

// Fail installs a hook: if it returns a code, the call fails with it.
func (r *recorder) Fail(hook func(action string) (code, message string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = hook
}

// record records a call and returns the fault that the hook selects, or nil.
func (r *recorder) record(action string) *fault {
	r.calls = append(r.calls, action)
	if r.fail != nil {
		if code, message := r.fail(action); code == "ServiceFailure" {
			return &fault{500, code, message}
		} else if code != "" {
			return &fault{code: code, message: message}
		}
	}
	return nil
}

// call is a request to a fake.
type call struct {
	*http.Request
	body   []byte
	form   url.Values // of a query protocol
	action string
}

// handler serves calls by do, which runs under the lock, and writes the response or fault by write.
func (r *recorder) handler(do func(call) (any, *fault),
	write func(http.ResponseWriter, call, any, *fault)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(io.LimitReader(request.Body, 1<<20))
		if err != nil {
			return // the client is gone
		}
		c := call{Request: request, body: body}
		c.form, _ = url.ParseQuery(string(body)) // a malformed body has no action
		_, target, _ := strings.Cut(request.Header.Get("X-Amz-Target"), ".")
		c.action = cmp.Or(target, c.form.Get("Action"))
		r.mu.Lock()
		var out any
		f := r.record(c.action)
		if f == nil {
			out, f = do(c)
		}
		r.mu.Unlock()
		write(w, c, out, f)
	})
}

// service is the common part of fakes with a single caller.
type service struct {
	recorder
	credentials aws.Credentials
	allow       *iampolicy.Policy // of the caller; nil allows everything
}

func newService() service {
	return service{credentials: aws.Credentials{AccessKeyID: "AKIAFAKE" + letters(12), SecretAccessKey: letters(40)}}
}

// Credentials returns the credentials that the fake accepts.
func (s *service) Credentials() aws.Credentials { return s.credentials }

// Env returns the variables that make the function call the fake at url. name is the service's in the SDK's variables.
func (s *service) Env(name, url string) map[string]string {
	return map[string]string{"AWS_ENDPOINT_URL_" + name: url, "AWS_ACCESS_KEY_ID": s.credentials.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY": s.credentials.SecretAccessKey}
}

// PutPolicy sets the caller's only identity policy. Without one it may do everything.
func (s *service) PutPolicy(document string) error {
	p, err := iampolicy.Parse(document, "aws:ResourceTag/rotator:secret")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allow = p
	return err
}

// signed checks that a call to a service was signed with the credentials, for the fakes' region.
func (s *service) signed(c call, name string) *fault {
	if sig, ok := sigv4.Read(c.Request); ok && sig.Service == name && sig.Region == region &&
		sig.Key == s.credentials.AccessKeyID && madeWith(sig, c, s.credentials.SecretAccessKey, time.Now()) {
		return nil
	}
	return &fault{code: "UnrecognizedClientException", message: "The security token included in the request is invalid."}
}

// denied returns the fault of a call that the caller may not make, or nil.
func (s *service) denied(action, resource string, have map[string][]string) *fault {
	if s.allow == nil || s.allow.Permits(action, resource, have) {
		return nil
	}
	return &fault{code: "AccessDeniedException",
		message: "User is not authorized to perform: " + action + " on resource: " + resource}
}

// jsonHandler serves a service's calls in a JSON protocol.
func jsonHandler[In any](s *service, name string, do func(action string, in In) (any, *fault)) http.Handler {
	return s.handler(func(c call) (any, *fault) {
		if f := s.signed(c, name); f != nil {
			return nil, f
		}
		var in In
		if err := json.Unmarshal(c.body, &in); err != nil {
			return nil, &fault{code: "SerializationException"}
		}
		return do(c.action, in)
	}, func(w http.ResponseWriter, c call, out any, f *fault) {
		w.Header().Set("Content-Type", c.Header.Get("Content-Type"))
		if f != nil {
			w.WriteHeader(http.StatusBadRequest)
			out = map[string]string{"__type": f.code, "message": f.message}
		}
		_ = json.NewEncoder(w).Encode(out) // the client may be gone
	})
}

// writeXML writes the response or fault of a query protocol.
func writeXML(w http.ResponseWriter, c call, out any, f *fault) {
	w.Header().Set("Content-Type", "text/xml")
	response := struct {
		XMLName   xml.Name
		Error     any
		Result    any
		RequestID string `xml:"ResponseMetadata>RequestId"`
	}{XMLName: xml.Name{Local: c.action + "Response"}, RequestID: uuid.NewString()}
	if f == nil {
		response.Result = element{c.action + "Result", out}
	} else {
		w.WriteHeader(cmp.Or(f.status, http.StatusBadRequest))
		response.XMLName.Local = "ErrorResponse"
		response.Error = struct{ Type, Code, Message string }{"Sender", f.code, f.message}
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

// members returns the values of a list in a query protocol. format is the name of a parameter, with %d for the index.
func members(form url.Values, format string) (list []string) {
	for i := 1; form.Has(fmt.Sprintf(format, i)); i++ {
		list = append(list, form.Get(fmt.Sprintf(format, i)))
	}
	return list
}

// madeWith checks that a signature was created with the secret key, within 15 minutes. It accepts the real clock and
// the fake's, because the SDK adjusts its clock to the server's.
func madeWith(s sigv4.Signature, c call, secret string, now time.Time) bool {
	when, err := sigv4.Time(c.Request)
	return err == nil && min(time.Since(when).Abs(), now.Sub(when).Abs()) <= 15*time.Minute &&
		s.Fits(c.Request, c.body, secret, c.Header.Get("X-Amz-Security-Token"))
}
