package sim

import (
	"net/http"
	"regexp"
	"strings"
	"time"

	"example.com/rotator/internal/sigv4"
)

// caller is the identity that makes a call.
type caller struct {
	account, arn string
	id           string // STS's UserId
	region       string // the region in the signature
	role         string // the ARN of the assumed role, or ""
	operation    string
	stale        bool // whether the call may miss the last write
}

// session is a session issued by AssumeRole.
type session struct {
	caller        // without a region
	secret, token string
	expires       time.Time
}

var (
	accountForm = regexp.MustCompile(`^\d{12}$`)
	issuedForm  = regexp.MustCompile(`^A[KS]IA[A-Z0-7]{16}$`)
	fakeForm    = regexp.MustCompile(`EXAMPLE|TEST|FAKE|DUMMY|MOCK|SIMULATED|XXXX|AAAA|0000|1111`)
)

// looksReal reports whether an access key could be a real AWS key. Accepting real keys would encourage people to send
// them anywhere.
func looksReal(key string) bool { return issuedForm.MatchString(key) && !fakeForm.MatchString(key) }

// simulated is the prefix of access keys issued by AssumeRole.
const simulated = "ASIASIMULATED"

// identify returns the caller that an access key identifies: the session that AssumeRole issued it for, the account if
// it is twelve digits, otherwise the default account. It refuses session keys of an earlier run, and keys that look
// real. It checks the signature only of a session, because only its secret key is known.
func (s *Sim) identify(r *http.Request, body []byte, service string) (*caller, *fault) {
	if r.Header.Get("Authorization") == "" {
		return nil, &fault{"MissingAuthenticationTokenException", "Missing Authentication Token"}
	}
	signature, ok := sigv4.Read(r)
	if !ok {
		return nil, &fault{"IncompleteSignatureException",
			"The Authorization header is not an AWS4-HMAC-SHA256 signature."}
	}
	key := signature.Key
	if signature.Service != service {
		return nil, &fault{"InvalidSignatureException",
			"Credential should be scoped to correct service: '" + service + "'. "}
	}
	s.mu.Lock()
	have := s.sessions[key]
	s.mu.Unlock()
	invalid := &fault{"UnrecognizedClientException", "The security token included in the request is invalid."}
	switch {
	case have == nil && strings.HasPrefix(key, simulated):
		return nil, invalid
	case have == nil && looksReal(key):
		return nil, &fault{"UnrecognizedClientException",
			"The simulator refuses access keys that look like real ones. Set AWS_ACCESS_KEY_ID to a word such as " +
				"test, or to the twelve digits of an account."}
	case have == nil:
		account := s.opts.Account
		if accountForm.MatchString(key) {
			account = key
		}
		arn := "arn:aws:iam::" + account + ":root"
		return &caller{account: account, region: signature.Region, arn: arn, id: account}, nil
	case r.Header.Get("X-Amz-Security-Token") != have.token:
		return nil, invalid
	case time.Now().After(have.expires):
		return nil, &fault{"ExpiredTokenException", "The security token included in the request is expired"}
	case !signature.Fits(r, body, have.secret, have.token):
		return nil, &fault{
			"InvalidSignatureException",
			"The request signature we calculated does not match the signature you provided. Check your AWS " +
				"Secret Access Key and signing method. Consult the service documentation for details.",
		}
	}
	c := have.caller
	c.region = signature.Region
	return &c, nil
}
