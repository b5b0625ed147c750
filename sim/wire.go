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

// operation is one of the API.
type operation struct {
	quota string
	write bool
	do    func(*Sim, *caller, []byte) (any, *fault)
}

// op makes an operation of a method, which is called under the lock with a
// request that is well-formed. The answer is written down under the lock too, as it
// may hold parts of the state.
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

// operations are all 23.
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

// maxRequest is more than the largest request that can be right: a value of
// 65,536 bytes that is all escapes, or base64.
const maxRequest = 1 << 20

// Handler returns the service's wire protocol, AWS JSON 1.1, that of STS, and at
// GET / the page.
func (s *Sim) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isPage(r) {
			s.page(w, r)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		switch {
		case err != nil:
			respond(w, nil, &fault{"SerializationException", "the request is too long"})
		case strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
			s.sts(w, r, body)
		default:
			out, f := s.serve(w, r, body)
			respond(w, out, f)
		}
	})
}

// serve answers one call, with the faults that belong to the wire.
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
		panic(http.ErrAbortHandler) // how net/http cuts a connection
	}
	return out, f
}

// unmodelled are the errors that the API's model does not have. Unknown: the case
// of their member; here that of the protocol's front end.
var unmodelled = []string{"ValidationException", "AccessDeniedException", "ThrottlingException", "SerializationException", "UnknownOperationException", "UnrecognizedClientException",
	"ExpiredTokenException", "InvalidSignatureException", "MissingAuthenticationTokenException", "IncompleteSignatureException"}

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
	if slices.Contains(unmodelled, f.Code) {
		member = "message"
	}
	if f.Code == "InternalServiceError" {
		status = http.StatusInternalServerError
	}
	w.WriteHeader(status)
	code, _ := json.Marshal(f.Code)
	text, _ := json.Marshal(f.Message) // a string always can be
	fmt.Fprintf(w, `{"__type":%s,"%s":%s}`, code, member, text)
}
