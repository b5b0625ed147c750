// Package ldap rotates passwords in directories: OpenLDAP and similar servers, and Active Directory.
//
// An entry in OpenLDAP may have several passwords. If the server allows that, a rotation sends salted hashes and leaves
// two passwords, the new one and the current one; the next rotation retires the older. If a password policy allows only
// one, and in Active Directory, the old password stops working when the new one is set.
package ldap

import (
	"context"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"example.com/rotator/rotation/engine"
)

// Engine rotates the passwords of directory entries.
type Engine struct{ tls engine.TLSPolicy }

// New returns the engine with the given policy for its connections, which are always encrypted.
func New(tls engine.TLSPolicy) *Engine { return &Engine{tls} }

// The engine's settings.
const (
	// changeOption is "overlap", the default, or "exop" for servers that should hash and check passwords themselves.
	changeOption = "ldap-change"
	// startOption is "true" to encrypt with StartTLS on any port, and "false" for LDAPS. The default is StartTLS on
	// port 389 and LDAPS on all others.
	startOption = "ldap-starttls"
)

// Kind describes the engine.
func (*Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:         []string{"ldap", "openldap", "activedirectory", "ad"},
		Overlap:       engine.AskTarget,
		UserField:     "username",
		SecretFields:  []string{"password"},
		Passwords:     engine.PasswordPolicy{Length: 32, ExcludeCharacters: `/@"'\`, RequireEachIncludedType: true},
		Options:       []string{changeOption, startOption},
		AccountFields: []string{"dn"},

		SuperuserField: "masterarn",
	}
}

// account is a login from a secret.
type account struct {
	engine.Target
	// dn is the entry's name, or "" to look it up in Active Directory.
	dn string
}

// name returns the name that the account binds with.
func (a account) name() string {
	if a.dn != "" {
		return a.dn
	}
	return a.User
}

// isAD reports whether a value's engine is Active Directory.
func isAD(v engine.Value) bool {
	engine, _ := v.Text("engine")
	return engine == "ad" || engine == "activedirectory"
}

// parse reads a login. The entry's name is the field dn, or the user name if that is a distinguished name. Active
// Directory also finds an entry by its userPrincipalName.
func parse(v engine.Value, ad bool) (account, error) {
	const advice = "correct the secret's value; the engine's page in the documentation shows its format"
	t, err := engine.ParseTarget(v, 636, "")
	if err != nil {
		return account{}, err
	}
	if t.TLS == engine.TLSOff {
		return account{}, engine.Errorf(engine.InvalidSecret,
			`remove "ssl": false; StartTLS encrypts a connection to port 389`,
			"a bind would reveal the password, so this engine makes no unencrypted connection")
	}
	a := account{Target: t}
	a.dn, _ = v.Text("dn")
	if a.dn == "" && strings.Contains(t.User, "=") {
		a.dn = t.User
	}
	switch {
	case a.dn != "":
		if dn, err := ldap.ParseDN(a.dn); err != nil || len(dn.RDNs) == 0 {
			return account{}, engine.Errorf(engine.InvalidSecret,
				"escape its special characters according to RFC 4514, such as \\, for a comma",
				"the entry's name is not a distinguished name")
		}
	case !ad:
		return account{}, engine.Errorf(engine.InvalidSecret, advice,
			"the user name is not a distinguished name, and there is no field dn")
	case !strings.Contains(t.User, "@"):
		return account{}, engine.Errorf(engine.InvalidSecret, advice,
			"the user name is neither a distinguished name nor a userPrincipalName, and there is no field dn")
	}
	return a, nil
}

// CheckOptions checks the engine's settings.
func (*Engine) CheckOptions(r *engine.Request) error {
	_, err := read(r)
	return err
}

// settings are the engine's settings in a request.
type settings struct {
	one   bool // never two passwords
	start string
}

func read(r *engine.Request) (s settings, err error) {
	s.start = r.Option(startOption)
	if _, err = r.Choice(startOption, "true", "false"); err == nil {
		s.one, err = r.Choice(changeOption, "overlap", "exop")
	}
	return s, err
}

// Next returns the current value with a new password.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	if _, err := parse(r.Current, isAD(r.Current)); err != nil {
		return engine.Value{}, err
	}
	if _, err := read(r); err != nil {
		return engine.Value{}, err
	}
	return engine.NextPassword(e.Kind(), r), nil
}

// DryRun logs in, finds the entry, and checks as far as possible that its password can be changed now.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error {
	return e.with(ctx, r, (*session).rehearse)
}

// Set makes the pending password valid, next to the current one if the server allows two.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error {
	current, _ := r.Current.Text("password")
	return e.with(ctx, r, func(s *session) error { return s.set(current) })
}

// Retire makes all passwords but the pending one invalid. If there can be only one, Set has already done so.
func (e *Engine) Retire(ctx context.Context, r *engine.Request) error {
	return e.with(ctx, r, func(s *session) error {
		if s.ad || s.one {
			return nil
		}
		return s.set("")
	})
}

// with logs in as r.Login, finds the entry of r.Pending, and calls do.
func (e *Engine) with(ctx context.Context, r *engine.Request, do func(*session) error) error {
	pending, err := parse(r.Pending, isAD(r.Current))
	if err != nil {
		return err
	}
	s, err := e.open(ctx, r, r.Login)
	if err != nil {
		return err
	}
	defer s.conn.Close()
	s.pending = pending.Password
	if s.dn, err = s.find(pending); err == nil && r.Superuser {
		err = s.mayLend()
	}
	if err == nil {
		err = do(s)
	}
	return err
}

// Verify logs in. If users change their own passwords, it also checks that they can, as far as the server reveals it.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	s, err := e.open(ctx, r, v)
	if err != nil {
		return err
	}
	defer s.conn.Close()
	if r.SuperuserChanges {
		return nil
	}
	if s.dn, err = s.find(s.account); err == nil {
		err = s.mayChange()
	}
	return err
}
