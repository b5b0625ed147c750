package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// stamp is a time in the wire format: seconds since the epoch, with milliseconds.
type stamp time.Time

// MarshalJSON returns the number.
func (t stamp) MarshalJSON() ([]byte, error) {
	ms := time.Time(t).UnixMilli()
	if ms%1000 == 0 {
		return fmt.Appendf(nil, "%d", ms/1000), nil
	}
	return fmt.Appendf(nil, "%d.%03d", ms/1000, ms%1000), nil
}

// operation is an API operation.
type operation struct {
	quota string
	write bool
	do    func(*Sim, *caller, []byte) (any, *fault)
}

// op turns a method into an operation. The method is called under the lock with a valid request.
// The response is also encoded under the lock, because it may refer to the state.
func op[In any](quota string, write bool, do func(*Sim, *caller, In) (any, *fault)) operation {
	return operation{quota, write, func(s *Sim, c *caller, body []byte) (any, *fault) {
		var in In
		if f := decode(body, &in); f != nil {
			return nil, f
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if f := s.spend(c, quota); f != nil {
			return nil, f
		}
		out, f := do(s, c, in)
		if write && f == nil {
			if err := s.save(); err != nil {
				return nil, &fault{"InternalServiceError", "the state file cannot be written"}
			}
		}
		if f != nil {
			return nil, f
		}
		text, err := json.Marshal(out)
		if err != nil {
			return nil, &fault{"InternalServiceError", "the answer cannot be written"}
		}
		return json.RawMessage(text), nil
	}}
}

// operations are all 23 operations.
var operations = map[string]operation{
	"BatchGetSecretValue":          op("batch", false, (*Sim).batchGetSecretValue),
	"CancelRotateSecret":           op("rotate", true, (*Sim).cancelRotateSecret),
	"CreateSecret":                 op("create", true, (*Sim).createSecret),
	"DeleteResourcePolicy":         op("policy", true, (*Sim).deleteResourcePolicy),
	"DeleteSecret":                 op("delete", true, (*Sim).deleteSecret),
	"DescribeSecret":               op("read", false, (*Sim).describeSecret),
	"GetRandomPassword":            op("random", false, (*Sim).getRandomPassword),
	"GetResourcePolicy":            op("policy", false, (*Sim).getResourcePolicy),
	"GetSecretValue":               op("read", false, (*Sim).getSecretValue),
	"ListSecretVersionIds":         op("versions", false, (*Sim).listSecretVersionIds),
	"ListSecrets":                  op("list", false, (*Sim).listSecrets),
	"PutResourcePolicy":            op("policy", true, (*Sim).putResourcePolicy),
	"PutSecretValue":               op("write", true, (*Sim).putSecretValue),
	"RemoveRegionsFromReplication": op("write", true, (*Sim).removeRegionsFromReplication),
	"ReplicateSecretToRegions":     op("write", true, (*Sim).replicateSecretToRegions),
	"RestoreSecret":                op("restore", true, (*Sim).restoreSecret),
	"RotateSecret":                 op("rotate", true, (*Sim).rotateSecret),
	"StopReplicationToReplica":     op("write", true, (*Sim).stopReplicationToReplica),
	"TagResource":                  op("tag", true, (*Sim).tagResource),
	"UntagResource":                op("tag", true, (*Sim).untagResource),
	"UpdateSecret":                 op("write", true, (*Sim).updateSecret),
	"UpdateSecretVersionStage":     op("write", true, (*Sim).updateSecretVersionStage),
	"ValidateResourcePolicy":       op("policy", false, (*Sim).validateResourcePolicy),
}

// maxRequest exceeds the largest valid request: a value of 65,536 bytes, all escapes or base64.
const maxRequest = 1 << 20

// Handler serves the wire protocols of Secrets Manager (AWS JSON 1.1), STS and the two operations of
// Lambda that describe functions, the page at GET /, and the history of a secret at GET /history/SECRET.
func (s *Sim) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isPage(r) {
			s.page(w, r)
			return
		}
		if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, historyPath) {
			s.serveHistory(w, r)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		switch {
		case err != nil:
			respond(w, nil, &fault{"SerializationException", "the request is too long"})
		case isLambda(r):
			s.lambda(w, r, body)
		case strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
			s.sts(w, r, body)
		default:
			out, f := s.serve(w, r, body)
			respond(w, out, f)
		}
	})
}

// serve answers one call, with faults on the wire.
func (s *Sim) serve(w http.ResponseWriter, r *http.Request, body []byte) (any, *fault) {
	name, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	do, known := operations[name]
	if !ok || !known || r.Method != http.MethodPost {
		return nil, &fault{"UnknownOperationException", ""}
	}
	c, f := s.identify(r, body, "secretsmanager")
	if f != nil {
		return nil, f
	}
	c.operation = name
	if f := s.licensedAlone(c); f != nil {
		return nil, f
	}
	faults := s.opts.Faults
	if faults.hit(Throttle) {
		return nil, throttled
	}
	if faults.hit(Slow) {
		select {
		case <-time.After(faults.within(2 * time.Second)):
		case <-r.Context().Done():
		}
	}
	c.stale = faults.hit(StaleRead)
	out, f := do.do(s, c, body)
	if faults.hit(LostAnswer) {
		panic(http.ErrAbortHandler) // cuts the connection
	}
	return out, f
}

// unmodeled are the errors that are not in the API's model. Unknown: the case of their member; the
// simulator uses that of the protocol's front end.
var unmodeled = []string{"ValidationException", "AccessDeniedException", "ThrottlingException",
	"SerializationException", "UnknownOperationException", "UnrecognizedClientException",
	"ExpiredTokenException", "InvalidSignatureException", "MissingAuthenticationTokenException",
	"IncompleteSignatureException"}

func respond(w http.ResponseWriter, out any, f *fault) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-RequestId", uuid.NewString())
	if f == nil {
		text, err := json.Marshal(out)
		if err == nil {
			_, _ = w.Write(text)
			return
		}
		f = &fault{"InternalServiceError", "the answer cannot be written"}
	}
	member, status := "Message", http.StatusBadRequest
	if slices.Contains(unmodeled, f.Code) {
		member = "message"
	}
	if f.Code == "InternalServiceError" {
		status = http.StatusInternalServerError
	}
	w.WriteHeader(status)
	code, _ := json.Marshal(f.Code)
	text, _ := json.Marshal(f.Message) // encoding a string cannot fail
	fmt.Fprintf(w, `{"__type":%s,"%s":%s}`, code, member, text)
}
