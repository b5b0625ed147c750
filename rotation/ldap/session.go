package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/boundconn"
)

// session is a connection that is bound as one account.
type session struct {
	account engine.Target
	ad      bool
	ctx     context.Context
	conn    *ldap.Conn

	r       *engine.Request
	dn      string // the entry whose password changes
	pending string // its new password
}

// answerLimit limits how many bytes a server may send in total, including its TLS certificates. The library needs about
// 200 bytes of memory for each.
const answerLimit = 256 << 10

// open connects and binds. The error has the cause LoginRefused only if the server's answer can mean nothing else.
func (e *Engine) open(ctx context.Context, r *engine.Request, v engine.Value) (s *session, err error) {
	s = &session{ctx: ctx, r: r, ad: isAD(r.Current)}
	if s.account, err = parse(v, s.ad); err != nil {
		return nil, err
	}
	// The library waits without a context; closing the connection ends the wait.
	raw, err := boundconn.Dial(ctx, "tcp", s.account.Address())
	if err != nil {
		return nil, s.failed("no connection", err)
	}
	raw = boundconn.Limit(raw, answerLimit)
	config := e.tls.Config(s.account.CertificateName())
	if s.account.Port == e.startTLS {
		s.conn = ldap.NewConn(raw, false)
		s.conn.Start()
		err = s.conn.StartTLS(config)
	} else {
		secure := tls.Client(raw, config)
		err = secure.HandshakeContext(ctx)
		s.conn = ldap.NewConn(secure, true)
		s.conn.Start()
	}
	if err == nil {
		err = s.bind()
	} else {
		err = s.failed("no TLS", err)
	}
	if err != nil {
		s.conn.Close()
		return nil, err
	}
	return s, nil
}

// bind logs in. A password that is not empty makes this more than an anonymous login.
// Source: https://www.rfc-editor.org/rfc/rfc4513#section-5.1.2
func (s *session) bind() error {
	req := ldap.NewSimpleBindRequest(s.account.User, s.account.Password,
		[]ldap.Control{ldap.NewControlBeheraPasswordPolicy()})
	res, err := s.conn.SimpleBind(req)
	policy := ldap.NewControlBeheraPasswordPolicy()
	if res != nil {
		c := ldap.FindControl(res.Controls, ldap.ControlTypeBeheraPasswordPolicy)
		if p, ok := c.(*ldap.ControlBeheraPasswordPolicy); ok {
			policy = p
		}
	}
	if err != nil {
		return s.refusal(err, policy)
	}
	switch {
	case policy.Grace >= 0: // each login leaves the application one fewer
		return engine.Errorf(engine.TargetFailed,
			"set the secret's password again as an administrator, and rotate more often than the password's lifetime",
			"the password of %q has expired, and the server accepts it for %d more logins", s.account.User,
			policy.Grace)
	case policy.Error == ldap.BeheraChangeAfterReset: // no application could work with this login
		return engine.Errorf(engine.TargetFailed,
			"remove the entry's attribute pwdReset, and remove pwdMustChange from its policy if an administrator "+
				"rotates it",
			"the account %q must change its password before it may do anything", s.account.User)
	}
	return nil
}

// subcode matches Active Directory's reason for refusing a bind.
var subcode = lazyregexp.New(`(?i)AcceptSecurityContext error, data ([0-9a-f]+),`)

// state is a reason why a bind is refused.
type state struct {
	cause        engine.Cause
	what, advice string
}

// states are Active Directory's reasons. Only the first two depend on the password.
// Source: https://learn.microsoft.com/en-us/windows/win32/debug/system-error-codes--1300-1699-, in hexadecimal
var states = map[string]state{
	"525": {engine.LoginRefused, "does not exist", "correct the secret's user name"},
	"52e": {engine.LoginRefused, "is refused",
		"check the entry's password at the server, which gives the same answer if the entry does not exist"},
	"530": {engine.TargetFailed, "may not log in at this time", "change the account's logon hours"},
	"531": {engine.TargetFailed, "may not log in from here", "change the account's workstations"},
	"532": {engine.TargetFailed, "has a password that has expired",
		"set a password as an administrator, or rotate more often than the password's lifetime"},
	"533": {engine.TargetFailed, "is disabled", "enable the account"},
	"701": {engine.TargetFailed, "has expired", "extend the account's life"},
	"773": {engine.TargetFailed, "must change its password",
		"clear the account's option to change the password at the next logon"},
	"775": {engine.TargetFailed, "is locked",
		"unlock the account, in OpenLDAP by removing its attribute pwdAccountLockedTime; refused logins count"},
}

// refusal adds the cause and advice to the answer to a bind.
func (s *session) refusal(err error, policy *ldap.ControlBeheraPasswordPolicy) error {
	if !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		return s.failed("the login is not possible", err)
	}
	code := "52e"
	if m := subcode().FindStringSubmatch(err.Error()); m != nil {
		code = strings.ToLower(m[1])
	}
	switch policy.Error {
	case ldap.BeheraAccountLocked:
		code = "775"
	case ldap.BeheraPasswordExpired:
		code = "532"
	}
	why, ok := states[code]
	if !ok {
		why = state{engine.TargetFailed, "is refused", "look up the number in Windows' system error codes"}
	}
	return engine.Errorf(why.cause, why.advice, "the account %q %s: %w", s.account.User, why.what, err)
}

// failed adds the cause and advice to all other errors.
func (s *session) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*engine.Error](err); ok {
		return e
	}
	e, ok := errors.AsType[*ldap.Error](err)
	if !ok || e.ResultCode >= ldap.ErrorNetwork {
		// The library's codes begin here. If this side closed the connection, only the library's text shows the cause.
		err = errors.Join(s.ctx.Err(), err)
		if n := engine.NetworkError(s.account, err); n != nil {
			return n
		}
		return engine.Errorf(engine.Unreachable,
			"check port, security groups, routes and that the server runs and speaks LDAP; port 636 is LDAPS and "+
				"port 389 StartTLS",
			"%s: the connection to %s failed: %w", what, s.account.Address(), err)
	}
	cause, advice := engine.TargetFailed, "check the server's log"
	switch e.ResultCode {
	case ldap.LDAPResultConfidentialityRequired, ldap.LDAPResultStrongAuthRequired:
		cause, advice = engine.TLSFailed, "use port 636, or StartTLS on port 389"
	case ldap.LDAPResultInvalidDNSyntax, ldap.LDAPResultNoSuchObject:
		cause, advice = engine.InvalidSecret,
			"correct the secret's user name; the login must be able to read the entry"
	case ldap.LDAPResultInsufficientAccessRights:
		cause, advice = engine.PrivilegeMissing,
			"let the user write its own userPassword, or name in masterarn the secret of a user who may"
	case ldap.LDAPResultConstraintViolation, ldap.LDAPResultAttributeOrValueExists: // by the policy, or in its history
		cause, advice = engine.PolicyRejected,
			"adapt PASSWORD_LENGTH, EXCLUDE_CHARACTERS and the schedule to the server's password policy"
	case ldap.LDAPResultReferral:
		advice = "name the writable server as the host"
	case ldap.LDAPResultUnwillingToPerform:
		if s.ad {
			advice = "look up the number in the server's answer in Windows' system error codes"
		}
	}
	return engine.Errorf(cause, advice, "%s: %w", what, err)
}

// entry returns an entry with some of its attributes.
func (s *session) entry(dn string, attributes ...string) (*ldap.Entry, error) {
	found, err := s.conn.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false,
		"(objectClass=*)", attributes, nil))
	if err != nil {
		return nil, s.failed(fmt.Sprintf("the entry %q could not be read", dn), err)
	}
	if len(found.Entries) != 1 {
		return nil, engine.Errorf(engine.PrivilegeMissing, "let the login read the entry",
			"the entry %q is not visible to %q", dn, s.account.User)
	}
	return found.Entries[0], nil
}

// find returns the name of a user's entry, which must exist.
func (s *session) find(user string) (string, error) {
	if isDN(user) {
		e, err := s.entry(user, "1.1")
		if err != nil {
			return "", err
		}
		return e.DN, nil
	}
	root, err := s.entry("", "defaultNamingContext")
	if err != nil {
		return "", err
	}
	found, err := s.conn.Search(ldap.NewSearchRequest(root.GetAttributeValue("defaultNamingContext"),
		ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 2, 0, false,
		"(userPrincipalName="+ldap.EscapeFilter(user)+")", []string{"1.1"}, nil))
	if err != nil {
		return "", s.failed("the entry could not be looked up", err)
	}
	if len(found.Entries) != 1 {
		return "", engine.Errorf(engine.InvalidSecret,
			"correct the secret's user name, or use the distinguished name; the login must be able to read the entry",
			"%d entries have the name %q", len(found.Entries), user)
	}
	return found.Entries[0].DN, nil
}
