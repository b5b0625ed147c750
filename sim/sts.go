package sim

import (
	"crypto/rand"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// RegisterRole registers a role. From then on, only registered roles of its account can be assumed, and this one only
// with its external ID, unless that is "". In an account without registered roles, every role can be assumed. It fails
// if arn is not the ARN of a role.
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

type stsError struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

// sts answers GetCallerIdentity and AssumeRole of STS.
// Source: https://docs.aws.amazon.com/STS/latest/APIReference/welcome.html
func (s *Sim) sts(w http.ResponseWriter, r *http.Request, body []byte) {
	form, err := url.ParseQuery(string(body))
	c, f := s.identify(r, body, "sts")
	var out any
	switch {
	case err != nil:
		f = &fault{"MalformedQueryString", "the request is not a form"}
	case f != nil:
	case form.Get("Action") == "GetCallerIdentity":
		out = identityAnswer{Arn: c.arn, UserID: c.id, Account: c.account, RequestID: uuid.NewString()}
	case form.Get("Action") == "AssumeRole":
		out, f = s.assumeRole(c, form)
	default:
		f = &fault{"InvalidAction",
			"Could not find operation " + form.Get("Action") + " for version " + form.Get("Version")}
	}
	status := http.StatusOK
	if f != nil {
		status = http.StatusForbidden
		code := strings.TrimSuffix(f.Code, "Exception")
		switch code {
		case "UnrecognizedClient":
			code = "InvalidClientTokenId"
		case "InvalidSignature":
			code = "SignatureDoesNotMatch"
		case "ValidationError", "InvalidAction", "MalformedQueryString":
			status = http.StatusBadRequest
		}
		out = stsError{Type: "Sender", Code: code, Message: f.Message, RequestID: uuid.NewString()}
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_ = xml.NewEncoder(w).Encode(out) // fails only if the client is gone
}

type identityAnswer struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	Arn       string   `xml:"GetCallerIdentityResult>Arn"`
	UserID    string   `xml:"GetCallerIdentityResult>UserId"`
	Account   string   `xml:"GetCallerIdentityResult>Account"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

type assumeAnswer struct {
	XMLName    xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleResponse"`
	Key        string   `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
	Secret     string   `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
	Token      string   `xml:"AssumeRoleResult>Credentials>SessionToken"`
	Expiration string   `xml:"AssumeRoleResult>Credentials>Expiration"`
	Arn        string   `xml:"AssumeRoleResult>AssumedRoleUser>Arn"`
	ID         string   `xml:"AssumeRoleResult>AssumedRoleUser>AssumedRoleId"`
	RequestID  string   `xml:"ResponseMetadata>RequestId"`
}

func (s *Sim) assumeRole(c *caller, form url.Values) (any, *fault) {
	arn, name := form.Get("RoleArn"), form.Get("RoleSessionName")
	m := roleForm.FindStringSubmatch(arn)
	if m == nil {
		return nil, &fault{"ValidationError", arn + " is invalid"}
	}
	if !sessionNameForm.MatchString(name) {
		return nil, &fault{"ValidationError", "1 validation error detected: Value '" + name +
			"' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: " +
			"[\\w+=,.@-]*"}
	}
	life := time.Hour
	if text := form.Get("DurationSeconds"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 900 || n > 43200 {
			return nil, &fault{"ValidationError", "1 validation error detected: Value '" + text +
				"' at 'durationSeconds' failed to satisfy constraint: Member must have value between 900 and 43200"}
		}
		life = time.Duration(n) * time.Second
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	distrusted := s.roles[arn] != "" && s.roles[arn] != form.Get("ExternalId")
	if !s.roleExists(arn) || distrusted || s.licensed(c, "sts:AssumeRole", arn, s.conditions(c), false) != nil {
		return nil, &fault{"AccessDenied",
			fmt.Sprintf("User: %s is not authorized to perform: sts:AssumeRole on resource: %s", c.arn, arn)}
	}
	account, role := m[1], m[2]
	key, have := simulated+rand.Text()[:7], &session{
		caller: caller{account: account, arn: "arn:aws:sts::" + account + ":assumed-role/" + role + "/" + name, role: arn,
			id: "AROASIMULATED" + rand.Text()[:8] + ":" + name},
		secret: rand.Text(), token: rand.Text() + rand.Text(), expires: time.Now().Add(life).UTC(),
	}
	s.sessions[key] = have
	return assumeAnswer{Key: key, Secret: have.secret, Token: have.token, Expiration: have.expires.Format(time.RFC3339),
		Arn: have.arn, ID: have.id, RequestID: uuid.NewString()}, nil
}
