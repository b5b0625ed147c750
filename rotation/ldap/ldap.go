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
type Engine struct {
	tls engine.TLSPolicy
	// startTLS is the port at which a connection begins in plain text; at all others, it is LDAPS.
	startTLS int
}

// New returns the engine with the given policy for its connections, which are always encrypted.
func New(tls engine.TLSPolicy) *Engine { return &Engine{tls, 389} }

// Kind describes the engine.
func (*Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:          []string{"ldap", "openldap", "activedirectory", "ad"},
		Overlap:        engine.AskTarget,
		UserField:      "username",
		SecretFields:   []string{"password"},
		Passwords:      engine.PasswordPolicy{Length: 32, ExcludeCharacters: `/@"'\`, RequireEachIncludedType: true},
		SuperuserField: "masterarn",
	}
}

// isAD reports whether a value's engine is Active Directory.
func isAD(v engine.Value) bool {
	engine, _ := v.Text("engine")
	return engine == "ad" || engine == "activedirectory"
}

// isDN reports whether a user name that parse accepts is a distinguished name, not a userPrincipalName.
func isDN(user string) bool { return strings.Contains(user, "=") }

// parse reads a login. The user name is the entry's distinguished name, or its userPrincipalName in Active Directory.
func parse(v engine.Value, ad bool) (engine.Target, error) {
	t, err := engine.ParseTarget(v, 636, "")
	if err != nil {
		return t, err
	}
	if t.TLS == engine.TLSOff {
		return t, engine.Errorf(engine.InvalidSecret, `remove "ssl": false; StartTLS encrypts a connection to port 389`,
			"a bind would reveal the password, so this engine makes no unencrypted connection")
	}
	dn, err := ldap.ParseDN(t.User)
	if isDN(t.User) && (err != nil || len(dn.RDNs) == 0) || !isDN(t.User) && !(ad && strings.Contains(t.User, "@")) {
		fault := "not a distinguished name"
		if ad {
			fault = "neither a distinguished name nor a userPrincipalName"
		}
		return t, engine.Errorf(engine.InvalidSecret, "set username to the entry's distinguished name, with special "+
			`characters escaped by RFC 4514 (\, for a comma), or to its userPrincipalName in Active Directory`,
			"the user name %q is %s", t.User, fault)
	}
	return t, nil
}

// Next returns the current value with a new password.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	if _, err := parse(r.Current, isAD(r.Current)); err != nil {
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
	return e.with(ctx, r, (*session).set)
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
	if s.dn, err = s.find(pending.User); err == nil && r.Superuser {
		err = s.mayLend()
	}
	if err == nil {
		err = do(s)
	}
	return err
}

// Verify logs in.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	s, err := e.open(ctx, r, v)
	if err == nil {
		s.conn.Close()
	}
	return err
}
