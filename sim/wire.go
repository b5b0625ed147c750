package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// stamp returns a time in the wire format: seconds since the epoch, with milliseconds. It returns 0 for no time.
func stamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// answer is the body of a successful response.
type answer map[string]any

// MarshalJSON omits members without a value, as AWS does. False and an empty list are values; nil, 0 and an empty map
// are not.
func (a answer) MarshalJSON() ([]byte, error) {
	full := make(map[string]any)
	for name, member := range a {
		v := reflect.ValueOf(member)
		empty := v.IsZero() || v.Kind() == reflect.Map && v.Len() == 0
		if v.Kind() == reflect.Bool || !empty {
			full[name] = member
		}
	}
	return json.Marshal(full)
}

// answer returns the members that most operations on a secret return, plus more, as names and values.
func (sec *secret) answer(more ...any) answer {
	out := answer{"ARN": sec.ARN, "Name": sec.Name}
	for i := 0; i < len(more); i += 2 {
		out[more[i].(string)] = more[i+1]
	}
	return out
}

// operation performs an API operation with the body of a request.
type operation func(*Sim, *caller, []byte) (response []byte, _ *fault)

// onAll lists the operations that a policy must allow on all resources, because they do not name an existing secret.
var onAll = []string{"CreateSecret", "ListSecrets", "BatchGetSecretValue", "GetRandomPassword"}

// op turns a method into an operation. The method is called under the lock with a valid request.
// The response is also encoded under the lock, because it may refer to the state.
func op[In any](do func(*Sim, *caller, *In) (answer, *fault)) operation {
	return func(s *Sim, c *caller, body []byte) ([]byte, *fault) {
		in := new(In)
		if f := decode(c.operation, body, in); f != nil {
			return nil, f
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if slices.Contains(onAll, c.operation) {
			if f := s.licensed(c, "secretsmanager:"+c.operation, "*", s.conditions(c), false); f != nil {
				return nil, f
			}
		}
		out, f := do(s, c, in)
		if f != nil {
			return nil, f
		}
		text, _ := json.Marshal(out) // an answer has only types that can be encoded
		return text, nil
	}
}

// on is op for an operation on an existing secret.
func on[In any](do func(*Sim, *caller, *secret, *In) (answer, *fault)) operation {
	return op(func(s *Sim, c *caller, in *In) (answer, *fault) {
		sec, f := s.find(c, reflect.ValueOf(in).Elem().FieldByName("SecretId").Elem().String())
		if f != nil {
			return nil, f
		}
		return do(s, c, sec, in)
	})
}

// operations holds all 23 operations.
var operations = map[string]operation{
	"BatchGetSecretValue":          op((*Sim).batchGetSecretValue),
	"CancelRotateSecret":           on((*Sim).cancelRotateSecret),
	"CreateSecret":                 op((*Sim).createSecret),
	"DeleteResourcePolicy":         on((*Sim).deleteResourcePolicy),
	"DeleteSecret":                 op((*Sim).deleteSecret),
	"DescribeSecret":               on((*Sim).describeSecret),
	"GetRandomPassword":            op((*Sim).getRandomPassword),
	"GetResourcePolicy":            on((*Sim).getResourcePolicy),
	"GetSecretValue":               on((*Sim).getSecretValue),
	"ListSecretVersionIds":         on((*Sim).listSecretVersionIds),
	"ListSecrets":                  op((*Sim).listSecrets),
	"PutResourcePolicy":            on((*Sim).putResourcePolicy),
	"PutSecretValue":               on((*Sim).putSecretValue),
	"RemoveRegionsFromReplication": on((*Sim).removeRegionsFromReplication),
	"ReplicateSecretToRegions":     on((*Sim).replicateSecretToRegions),
	"RestoreSecret":                on((*Sim).restoreSecret),
	"RotateSecret":                 on((*Sim).rotateSecret),
	"StopReplicationToReplica":     on((*Sim).stopReplicationToReplica),
	"TagResource":                  on((*Sim).tagResource),
	"UntagResource":                on((*Sim).untagResource),
	"UpdateSecret":                 on((*Sim).updateSecret),
	"UpdateSecretVersionStage":     on((*Sim).updateSecretVersionStage),
	"ValidateResourcePolicy":       op((*Sim).validateResourcePolicy),
}

// maxRequest exceeds the largest valid request: a value of 65,536 bytes, fully escaped or in base64.
const maxRequest = 1 << 20

// Handler serves the wire protocols of Secrets Manager (AWS JSON 1.1), STS and the two operations of
// Lambda that describe functions, the page at GET /, and the history of a secret at GET /history/SECRET.
func (s *Sim) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /{key}", s.page)
	mux.Handle("GET /page.css", http.FileServerFS(pageFiles))
	mux.Handle("GET /page.js", http.FileServerFS(pageFiles))
	mux.HandleFunc("GET /history/{secret...}", s.serveHistory)
	mux.HandleFunc("GET "+functionsPath, s.lambda(s.listFunctions))
	mux.HandleFunc("GET "+functionsPath+"/{function}/configuration", s.lambda(s.getFunctionConfiguration))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		switch {
		case err != nil:
			respond(w, nil, &fault{"SerializationException", "the request is too long"})
		case strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
			s.sts(w, r, body)
		default:
			out, f := s.serve(r, body)
			respond(w, out, f)
		}
	})
	return mux
}

// serve answers one call, with faults on the wire.
func (s *Sim) serve(r *http.Request, body []byte) ([]byte, *fault) {
	name := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	do := operations[name]
	if do == nil {
		return nil, &fault{"UnknownOperationException", "The simulator does not support the operation " + name + "."}
	}
	c, f := s.identify(r)
	if f != nil {
		return nil, f
	}
	c.operation = name
	faults := s.opts.Faults
	if faults.hit(Throttle) {
		return nil, &fault{"ThrottlingException", "Rate exceeded"}
	}
	if faults.hit(Slow) {
		select {
		case <-time.After(faults.within(2 * time.Second)):
		case <-r.Context().Done():
		}
	}
	c.stale = faults.hit(StaleRead)
	out, f := do(s, c, body)
	if faults.hit(LostAnswer) {
		panic(http.ErrAbortHandler) // cuts the connection
	}
	return out, f
}

// unmodeled lists the errors that are not in the API's model. Unknown: whether AWS sends "Message" or "message" with
// them; the simulator sends "message", like the front end of the protocol.
var unmodeled = []string{"ValidationException", "AccessDeniedException", "ThrottlingException",
	"SerializationException", "UnknownOperationException", "UnrecognizedClientException",
	"MissingAuthenticationTokenException"}

func respond(w http.ResponseWriter, text []byte, f *fault) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-RequestId", uuid.NewString())
	if f != nil {
		member := "Message"
		if slices.Contains(unmodeled, f.Code) {
			member = "message"
		}
		w.WriteHeader(http.StatusBadRequest)
		code, _ := json.Marshal(f.Code)
		message, _ := json.Marshal(f.Message) // encoding a string cannot fail
		text = fmt.Appendf(nil, `{"__type":%s,"%s":%s}`, code, member, message)
	}
	_, _ = w.Write(text)
}
