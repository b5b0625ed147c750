package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/boundconn"
)

// session is a connection that is bound as one account.
type session struct {
	settings
	account account
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
	if s.settings, err = read(r); err != nil {
		return nil, err
	}
	// The library waits without a context; closing the connection ends the wait.
	raw, err := boundconn.Dial(ctx, "tcp", s.account.Address())
	if err != nil {
		return nil, s.failed("no connection", err)
	}
	raw = boundconn.Limit(raw, answerLimit)
	config := e.tls.Config(s.account.CertificateName())
	if s.start == "true" || s.start == "" && s.account.Port == 389 {
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

// bind logs in and asks the server who is logged in, because a bind can also succeed anonymously.
// Source: https://www.rfc-editor.org/rfc/rfc4513#section-5.1.2
func (s *session) bind() error {
	req := ldap.NewSimpleBindRequest(s.account.name(), s.account.Password,
		[]ldap.Control{ldap.NewControlBeheraPasswordPolicy()})
	res, err := s.conn.SimpleBind(req)
	policy := ldap.NewControlBeheraPasswordPolicy()
	if res != nil {
		for _, c := range res.Controls {
			if p, ok := c.(*ldap.ControlBeheraPasswordPolicy); ok {
				policy = p
			}
		}
	}
	if err != nil {
		return s.refusal(err, policy)
	}
	nobody, err := s.nobody()
	switch {
	case err != nil:
		return s.failed("could not ask the server for the login's identity", err)
	case policy.Grace >= 0: // each login leaves the application one fewer
		return engine.Errorf(engine.TargetFailed,
			"set the secret's password again as an administrator, and rotate more often than the password's lifetime",
			"the password of %q has expired, and the server accepts it for %d more logins", s.account.name(),
			policy.Grace)
	case policy.Error == ldap.BeheraChangeAfterReset: // no application could work with this login
		return engine.Errorf(engine.TargetFailed,
			"remove the entry's attribute pwdReset, and remove pwdMustChange from its policy if an administrator "+
				"rotates it",
			"the account %q must change its password before it may do anything", s.account.name())
	case nobody:
		return engine.Errorf(engine.TargetFailed, "disable anonymous access, or correct the user name",
			"the server treats the login as anonymous")
	}
	return nil
}

// anonymous is the SID of anonymous logins, S-1-5-7.
// Source: https://learn.microsoft.com/en-us/windows-server/identity/ad-ds/manage/understand-security-identifiers
const anonymous = "\x01\x01\x00\x00\x00\x00\x00\x05\x07\x00\x00\x00"

// nobody reports whether the server treats the login as anonymous. Samba's domain controller lacks the "Who am I?"
// operation, and instead shows the SIDs of the login, as Windows does.
// Source: https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-adts/96f7b086-1ca3-4764-9a08-33f8f7a543db
func (s *session) nobody() (bool, error) {
	who, err := s.conn.WhoAmI(nil)
	if err == nil {
		return who.AuthzID == "" || who.AuthzID == "dn:", nil
	}
	if !s.ad || !ldap.IsErrorWithCode(err, ldap.LDAPResultProtocolError) {
		return false, err
	}
	root, err := s.entry("", "tokenGroups")
	if err != nil {
		return false, err
	}
	sids := root.GetAttributeValues("tokenGroups")
	return len(sids) == 0 || slices.Contains(sids, anonymous), nil
}

// subcode matches Active Directory's reason for refusing a bind.
var subcode = lazyregexp.New(`(?i)AcceptSecurityContext error, data ([0-9a-f]+),`)

// wrongPassword is the subcode for a wrong password.
const wrongPassword = "52e"

const adviceExpired = "set a password as an administrator, or rotate more often than the password's lifetime"

// states are Active Directory's reasons why an account cannot log in with any password.
// Source: https://learn.microsoft.com/en-us/windows/win32/debug/system-error-codes--1300-1699-, in hexadecimal
var states = map[string][2]string{
	"530": {"may not log in at this time", "change the account's logon hours"},
	"531": {"may not log in from here", "change the account's workstations"},
	"532": {"has a password that has expired", adviceExpired},
	"533": {"is disabled", "enable the account"},
	"701": {"has expired", "extend the account's life"},
	"773": {"must change its password", "clear the account's option to change the password at the next logon"},
	"775": {"is locked", "unlock the account; the server counts refused logins"},
}

// refusal adds the cause and advice to the answer to a bind.
func (s *session) refusal(err error, policy *ldap.ControlBeheraPasswordPolicy) error {
	if !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		return s.failed("the login is not possible", err)
	}
	code := wrongPassword
	if m := subcode.FindStringSubmatch(err.Error()); m != nil {
		code = strings.ToLower(m[1])
	}
	cause, what, advice := engine.TargetFailed, "is refused", "look up the number in Windows' system error codes"
	state, known := states[code]
	switch {
	case known:
		what, advice = state[0], state[1]
	case policy.Error == ldap.BeheraAccountLocked:
		what, advice = "is locked", "unlock the account by removing its attribute pwdAccountLockedTime"
	case policy.Error == ldap.BeheraPasswordExpired:
		what, advice = "has a password that has expired", adviceExpired
	case code == "525":
		cause, what, advice = engine.LoginRefused, "does not exist", "correct the secret's user name"
	case code == wrongPassword:
		cause, advice = engine.LoginRefused,
			"check the entry's password at the server, which gives the same answer if the entry does not exist"
	}
	return engine.Errorf(cause, advice, "the account %q %s: %w", s.account.name(), what, err)
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
		if s.ctx.Err() != nil {
			err = errors.Join(s.ctx.Err(), err)
		}
		if n := engine.NetworkError(s.account.Target, err); n != nil {
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
		cause, advice = engine.InvalidSecret, "correct the entry's name in the secret"
	case ldap.LDAPResultInsufficientAccessRights:
		cause, advice = engine.PrivilegeMissing,
			"let the user write its own userPassword, or name in masterarn the secret of a user who may"
	case ldap.LDAPResultConstraintViolation:
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
		return nil, s.failed("the entry could not be read", err)
	}
	if len(found.Entries) != 1 {
		return nil, engine.Errorf(engine.PrivilegeMissing, "let the login read the entry",
			"the entry %q is not visible to %q", dn, s.account.name())
	}
	return found.Entries[0], nil
}

// defaultBase returns the name of the domain's entry in Active Directory.
func (s *session) defaultBase() (string, error) {
	root, err := s.entry("", "defaultNamingContext")
	if err != nil {
		return "", err
	}
	return root.GetAttributeValue("defaultNamingContext"), nil
}

// find returns the name of an account's entry, which must exist.
func (s *session) find(a account) (string, error) {
	base, scope, filter := a.dn, ldap.ScopeBaseObject, "(objectClass=*)"
	if a.dn == "" {
		domain, err := s.defaultBase()
		if err != nil {
			return "", err
		}
		base, scope = domain, ldap.ScopeWholeSubtree
		filter = "(userPrincipalName=" + ldap.EscapeFilter(a.User) + ")"
	}
	found, err := s.conn.Search(ldap.NewSearchRequest(base, scope, ldap.NeverDerefAliases, 2, 0, false, filter,
		[]string{"1.1"}, nil))
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) || err == nil && len(found.Entries) == 0:
		// A server gives the same answer for an entry that the login may not see.
		return "", engine.Errorf(engine.InvalidSecret,
			"correct the secret's user name or give the entry's name in the field dn; the login must be able to read "+
				"the entry", "there is no entry for %q", a.name())
	case err != nil:
		return "", s.failed("the entry could not be read", err)
	case len(found.Entries) > 1:
		return "", engine.Errorf(engine.InvalidSecret, "give the entry's name in the field dn",
			"several entries have the name %q", a.User)
	}
	return found.Entries[0].DN, nil
}
