package sim

import (
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/google/uuid"

	"example.com/rotator/internal/sigv4"
)

// caller is the identity that makes a call.
type caller struct {
	account, arn string
	id           string // STS's UserId
	region       string // the region in the signature
	role         string // the ARN of the assumed role, or ""
	token        string // of the role's session
	operation    string
	stale        bool // whether the call may miss the last write
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
// real. It does not check signatures, because it does not know the callers' secret keys.
func (s *Sim) identify(r *http.Request) (*caller, *fault) {
	signature, ok := sigv4.Read(r)
	if !ok {
		return nil, &fault{"MissingAuthenticationTokenException", "Missing Authentication Token"}
	}
	key := signature.Key
	s.mu.Lock()
	have := s.sessions[key]
	s.mu.Unlock()
	switch {
	case have == nil && looksReal(key):
		return nil, &fault{"UnrecognizedClientException",
			"The simulator refuses access keys that look like real ones. Set AWS_ACCESS_KEY_ID to a word such as " +
				"test, or to the twelve digits of an account."}
	case have == nil && strings.HasPrefix(key, simulated),
		have != nil && r.Header.Get("X-Amz-Security-Token") != have.token:
		return nil, &fault{"UnrecognizedClientException", "The security token included in the request is invalid."}
	case have == nil:
		account := s.opts.Account
		if accountForm.MatchString(key) {
			account = key
		}
		arn := "arn:aws:iam::" + account + ":root"
		return &caller{account: account, region: signature.Region, arn: arn, id: account}, nil
	}
	c := *have
	c.region = signature.Region
	return &c, nil
}

// RegisterRole registers a role, which can be assumed only with its external ID, unless that is "". In an account with
// registered roles, no others can be assumed.
func (s *Sim) RegisterRole(arn, externalID string) error {
	if !roleForm.MatchString(arn) {
		return fmt.Errorf("%q is not the ARN of a role", arn)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles[arn] = externalID
	return nil
}

var (
	roleForm        = regexp.MustCompile(`^arn:aws[a-z-]*:iam::(\d{12}):role/(?:[!-~]*/)?([\w+=,.@-]{1,64})$`)
	sessionNameForm = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
)

// roleExists reports whether a role is registered, or its account has no registered roles.
func (s *Sim) roleExists(arn string) bool {
	if _, ok := s.roles[arn]; ok {
		return true
	}
	account := strings.SplitN(arn, ":", 6)[4]
	for role := range s.roles {
		if strings.SplitN(role, ":", 6)[4] == account {
			return false
		}
	}
	return true
}

// sts answers GetCallerIdentity and AssumeRole of STS.
// Source: https://docs.aws.amazon.com/STS/latest/APIReference/welcome.html
func (s *Sim) sts(w http.ResponseWriter, r *http.Request, body []byte) {
	form, _ := url.ParseQuery(string(body)) // what is not a form has no action
	action := form.Get("Action")
	c, f := s.identify(r)
	var out any
	switch {
	case f != nil:
	case action == "GetCallerIdentity":
		out = sts.GetCallerIdentityOutput{Arn: &c.arn, UserId: &c.id, Account: &c.account}
	case action == "AssumeRole":
		out, f = s.assumeRole(c, form)
	default:
		f = &fault{"InvalidAction", "Could not find operation " + action + " for version " + form.Get("Version")}
	}
	status, outer, inner := http.StatusOK, action+"Response", action+"Result"
	if f != nil {
		status, outer, inner = http.StatusForbidden, "ErrorResponse", "Error"
		code := strings.TrimSuffix(f.Code, "Exception")
		if code == "UnrecognizedClient" {
			code = "InvalidClientTokenId"
		}
		out = struct{ Type, Code, Message string }{"Sender", code, f.Message}
	}
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("X-Amzn-RequestId", uuid.NewString())
	w.WriteHeader(status)
	e := xml.NewEncoder(w)
	root := xml.StartElement{Name: xml.Name{Space: "https://sts.amazonaws.com/doc/2011-06-15/", Local: outer}}
	// Encoding fails only if the client is gone.
	_ = errors.Join(e.EncodeToken(root), e.EncodeElement(out, xml.StartElement{Name: xml.Name{Local: inner}}),
		e.EncodeToken(root.End()), e.Flush())
}

// assumeRole issues a session that never expires, but says that it lasts an hour.
func (s *Sim) assumeRole(c *caller, form url.Values) (any, *fault) {
	arn, name := form.Get("RoleArn"), form.Get("RoleSessionName")
	m := roleForm.FindStringSubmatch(arn)
	switch {
	case m == nil:
		return nil, &fault{"ValidationError", arn + " is invalid"}
	case !sessionNameForm.MatchString(name):
		return nil, &fault{"ValidationError", "1 validation error detected: Value '" + name +
			"' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: " +
			"[\\w+=,.@-]*"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	distrusted := s.roles[arn] != "" && s.roles[arn] != form.Get("ExternalId")
	if !s.roleExists(arn) || distrusted || s.licensed(c, "sts:AssumeRole", arn, s.conditions(c), false) != nil {
		return nil, &fault{"AccessDenied",
			fmt.Sprintf("User: %s is not authorized to perform: sts:AssumeRole on resource: %s", c.arn, arn)}
	}
	account, role := m[1], m[2]
	key, secret, have := simulated+rand.Text()[:7], rand.Text(), &caller{
		account: account, arn: "arn:aws:sts::" + account + ":assumed-role/" + role + "/" + name, role: arn,
		id: "AROASIMULATED" + rand.Text()[:8] + ":" + name, token: rand.Text() + rand.Text(),
	}
	expires := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	s.sessions[key] = have
	return sts.AssumeRoleOutput{AssumedRoleUser: &types.AssumedRoleUser{Arn: &have.arn, AssumedRoleId: &have.id},
		Credentials: &types.Credentials{
			AccessKeyId: &key, SecretAccessKey: &secret, SessionToken: &have.token, Expiration: &expires,
		}}, nil
}
