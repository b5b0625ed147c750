package ldap

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// domain stands in for a domain controller, which cannot be had here: it speaks
// as much LDAP as the engine needs, answers as Microsoft's documents say, and
// knows nothing else of Active Directory.
type domain struct {
	ca   *testserver.CA
	port int

	mu      sync.Mutex
	members map[string]*member // by distinguished name
	changes []string           // kinds of the modifications that were made
	grace   map[string]string  // old passwords that logins accept for an hour
}

type member struct {
	upn      string
	password string
	data     string   // the sub-code with which a bind is refused
	history  []string // passwords that the policy rejects
	resets   bool     // may reset others' passwords
	// What a search shows: the last part of a group's SID, and what marks administrators.
	group      uint32
	adminCount string
}

const adBase = "DC=corp,DC=example"

func newDomain(t testing.TB) *domain {
	t.Helper()
	ca, err := testserver.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert.CertPEM, cert.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	d := &domain{ca: ca, port: l.Addr().(*net.TCPAddr).Port, members: map[string]*member{}}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go d.serve(conn)
		}
	}()
	return d
}

func (d *domain) serve(conn net.Conn) {
	defer conn.Close()
	bound := "" // the distinguished name
	for {
		packet, err := ber.ReadPacket(conn)
		if err != nil || len(packet.Children) < 2 {
			return
		}
		id, op := packet.Children[0].Value.(int64), packet.Children[1]
		d.mu.Lock()
		var answers []*ber.Packet
		switch op.Tag {
		case ldap.ApplicationBindRequest:
			var code uint16
			var text string
			bound, code, text = d.bind(op.Children[1].Value.(string), op.Children[2].Data.String())
			answers = append(answers, result(ldap.ApplicationBindResponse, code, text))
		case ldap.ApplicationExtendedRequest:
			r := result(ldap.ApplicationExtendedResponse, 0, "")
			if m := d.members[bound]; m != nil {
				r.AppendChild(ber.NewString(ber.ClassContext, ber.TypePrimitive, 11, `u:CORP\somebody`, ""))
			}
			answers = append(answers, r)
		case ldap.ApplicationSearchRequest:
			answers = d.search(op)
		case ldap.ApplicationModifyRequest:
			code, text := d.modify(bound, op)
			answers = append(answers, result(ldap.ApplicationModifyResponse, code, text))
		}
		d.mu.Unlock()
		for _, a := range answers {
			envelope := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
			envelope.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
			envelope.AppendChild(a)
			if _, err := conn.Write(envelope.Bytes()); err != nil {
				return
			}
		}
	}
}

func result(tag ber.Tag, code uint16, text string) *ber.Packet {
	r := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
	r.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, int64(code), ""))
	r.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
	r.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, text, ""))
	return r
}

func (d *domain) bind(name, password string) (bound string, code uint16, text string) {
	data := "52e"
	for dn, m := range d.members {
		if name != dn && name != m.upn {
			continue
		}
		if m.data == "" && (m.password == password || d.grace[dn] == password) {
			return dn, 0, ""
		}
		if m.data != "" {
			data = m.data
		}
	}
	return "", ldap.LDAPResultInvalidCredentials, "80090308: LdapErr: DSID-0C090447, comment: AcceptSecurityContext error, data " + data + ", v3839"
}

func (d *domain) search(op *ber.Packet) []*ber.Packet {
	base, filter := op.Children[0].Value.(string), op.Children[6]
	text, _ := ldap.DecompileFilter(filter)
	var out []*ber.Packet
	entry := func(dn string, attributes map[string]string) {
		e := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationSearchResultEntry, nil, "")
		e.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, dn, ""))
		list := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
		for attribute, value := range attributes {
			a := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
			a.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, attribute, ""))
			set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
			set.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, value, ""))
			a.AppendChild(set)
			list.AppendChild(a)
		}
		e.AppendChild(list)
		out = append(out, e)
	}
	if base == "" {
		entry("", map[string]string{"defaultNamingContext": adBase})
	}
	for dn, m := range d.members {
		if base == dn || base == adBase && text == "(userPrincipalName="+ldap.EscapeFilter(m.upn)+")" {
			attributes := map[string]string{}
			if m.group != 0 {
				attributes["tokenGroups"] = string(binary.LittleEndian.AppendUint32([]byte("\x01\x05\x00\x00\x00\x00\x00\x05"), m.group))
			}
			if m.adminCount != "" {
				attributes["adminCount"] = m.adminCount
			}
			entry(dn, attributes)
		}
	}
	return append(out, result(ldap.ApplicationSearchResultDone, 0, ""))
}

func (d *domain) modify(bound string, op *ber.Packet) (code uint16, text string) {
	m := d.members[op.Children[0].Value.(string)]
	if m == nil {
		return ldap.LDAPResultNoSuchObject, "0000208D: NameErr: DSID-03100241"
	}
	var given = map[int64]string{}
	for _, c := range op.Children[1].Children {
		modification := c.Children[1]
		if name := modification.Children[0].Value.(string); name != "unicodePwd" {
			return ldap.LDAPResultUnwillingToPerform, "00002077: SvcErr: the domain knows " + name + " not"
		}
		raw := modification.Children[1].Children[0].Data.Bytes()
		var units []uint16
		for i := 0; i+1 < len(raw); i += 2 {
			units = append(units, binary.LittleEndian.Uint16(raw[i:]))
		}
		password := string(utf16.Decode(units))
		if len(raw)%2 != 0 || len(password) < 2 || password[0] != '"' || password[len(password)-1] != '"' {
			return ldap.LDAPResultUnwillingToPerform, "0000001F: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0"
		}
		given[c.Children[0].Value.(int64)] = password[1 : len(password)-1]
	}
	next, reset := given[ldap.ReplaceAttribute]
	kind := "reset"
	if !reset {
		kind, next = "change", given[ldap.AddAttribute]
		if given[ldap.DeleteAttribute] != m.password {
			return ldap.LDAPResultConstraintViolation, "00000056: AtrErr: DSID-03191083, #1:"
		}
		for _, old := range append(m.history, m.password) {
			if next == old {
				return ldap.LDAPResultConstraintViolation, "0000052D: AtrErr: DSID-03191083, #1:"
			}
		}
	} else if who := d.members[bound]; who == nil || !who.resets {
		return ldap.LDAPResultInsufficientAccessRights, "00000005: SecErr: DSID-031A1190, problem 4003 (INSUFF_ACCESS_RIGHTS), data 0"
	}
	if len(next) < 7 {
		return ldap.LDAPResultUnwillingToPerform, "0000052D: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0"
	}
	m.history = append(m.history, m.password)
	m.password = next
	d.changes = append(d.changes, kind)
	return 0, ""
}

func (d *domain) value(user, password string) engine.Value {
	return engine.StringValue(fmt.Sprintf(`{"engine":"ad","host":"localhost","port":%d}`, d.port)).With("username", user).With("password", password)
}

func (d *domain) engine() *Engine { return New(engine.TLSPolicy{ExtraCAs: d.ca.PEM}) }

func (d *domain) self(user, current, pending string) *engine.Request {
	r := &engine.Request{Secret: "arn", Version: pending, Current: d.value(user, current), Pending: d.value(user, pending)}
	r.Login = r.Current
	return r
}

func (d *domain) password(dn string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.members[dn].password
}

func TestActiveDirectoryUserGivesTheOldPasswordWithTheNew(t *testing.T) {
	d := newDomain(t)
	const dn = "CN=App\\, the (first)*,OU=Services," + adBase
	for _, user := range []string{dn, "app(1)*@corp.example"} {
		d.members[dn] = &member{upn: "app(1)*@corp.example", password: "first-password"}
		r := d.self(user, "first-password", "sécond-pass€word")
		for range 2 {
			if err := errors.Join(d.engine().DryRun(enginetest.Within(t), r), d.engine().Set(enginetest.Within(t), r), d.engine().Verify(enginetest.Within(t), r, r.Pending)); err != nil {
				t.Fatalf("%s: %v", user, err)
			}
			r.Login = r.Pending // as the core does, since current is refused
		}
		if d.password(dn) != "sécond-pass€word" || len(d.changes) != 1 || d.changes[0] != "change" {
			t.Errorf("%s: changes %q", user, d.changes)
		}
		d.changes = nil
	}
}

func TestActiveDirectorySuperuserResets(t *testing.T) {
	d := newDomain(t)
	const dn, boss = "CN=app," + adBase, "CN=boss," + adBase
	d.members[dn] = &member{upn: "app@corp.example", password: "first-password", group: 513, adminCount: "0"}
	d.members[boss] = &member{upn: "boss@corp.example", password: "boss-password", resets: true}
	r := d.self("app@corp.example", "first-password", "second-password")
	r.Login, r.Superuser, r.SuperuserChanges = d.value("boss@corp.example", "boss-password"), true, true
	for range 2 {
		if err := errors.Join(d.engine().DryRun(enginetest.Within(t), r), d.engine().Set(enginetest.Within(t), r)); err != nil {
			t.Fatal(err)
		}
	}
	if d.password(dn) != "second-password" || d.changes[0] != "reset" {
		t.Errorf("changes %q", d.changes)
	}
	d.members[boss].resets = false
	enginetest.WantCause(t, d.engine().Set(enginetest.Within(t), r), engine.PrivilegeMissing, "00000005")
	d.members[boss].group = 512
	r.Pending = d.value(boss, "x") // the superuser by its other name
	enginetest.WantCause(t, d.engine().Set(enginetest.Within(t), r), engine.TakeoverRefused, "superuser itself")
	r.Pending = d.value("nobody@corp.example", "x")
	enginetest.WantCause(t, d.engine().DryRun(enginetest.Within(t), r), engine.InvalidSecret, "nobody@corp.example")
	d.members["CN=twin,"+adBase] = &member{upn: "app@corp.example"}
	r.Pending = d.value("app@corp.example", "x")
	enginetest.WantCause(t, d.engine().DryRun(enginetest.Within(t), r), engine.InvalidSecret, "several")
}

// An ordinary user is reset also where the secret does not have its password.
func TestActiveDirectorySuperuserResetsNoAdministrator(t *testing.T) {
	d := newDomain(t)
	const dn, boss = "CN=app," + adBase, "CN=boss," + adBase
	d.members[boss] = &member{password: "boss-password", resets: true, group: 544}
	for name, c := range map[string]struct {
		member
		cause engine.Cause
	}{
		"an ordinary user":                 {member{group: 513}, ""},
		"a member of Domain Admins":        {member{group: 512}, engine.TakeoverRefused},
		"a member of Administrators":       {member{group: 544}, engine.TakeoverRefused},
		"a user protected by its domain":   {member{group: 513, adminCount: "1"}, engine.TakeoverRefused},
		"a user whose groups are not seen": {member{}, engine.PrivilegeMissing},
	} {
		c.password = "first-password"
		d.members[dn] = &c.member
		for proved, proofs := range map[bool][]engine.Value{false: nil, true: {d.value(dn, "first-password")}} {
			r := d.self(dn, "a-guess", testserver.Unique("next-"))
			r.Login, r.Superuser, r.SuperuserChanges, r.Proofs = d.value(boss, "boss-password"), true, true, proofs
			err := errors.Join(d.engine().DryRun(enginetest.Within(t), r), d.engine().Set(enginetest.Within(t), r))
			if c.cause != "" {
				enginetest.WantCause(t, err, c.cause, dn)
			} else if err != nil {
				t.Errorf("%s, proved %v: %v", name, proved, err)
			}
			if changed := d.password(dn) != "first-password"; changed != (c.cause == "") {
				t.Errorf("%s, proved %v: the password is changed: %v", name, proved, changed)
			}
		}
	}
}

func TestActiveDirectoryPolicy(t *testing.T) {
	d := newDomain(t)
	const dn = "CN=app," + adBase
	d.members[dn] = &member{password: "first-password", history: []string{"used-before"}, resets: true}
	enginetest.WantCause(t, d.engine().Set(enginetest.Within(t), d.self(dn, "first-password", "used-before")), engine.PolicyRejected, "minimum age")
	enginetest.WantCause(t, d.engine().Set(enginetest.Within(t), d.self(dn, "first-password", "short")), engine.PolicyRejected, "policy")
	r := d.self(dn, "first-password", "second-password")
	s, err := d.engine().open(enginetest.Within(t), r, r.Login)
	if err != nil {
		t.Fatal(err)
	}
	defer s.conn.Close()
	d.mu.Lock()
	d.members[dn].password = "by-hand"
	d.mu.Unlock()
	s.dn, s.pending = dn, "second-password"
	enginetest.WantCause(t, s.unicodePwd(), engine.TargetFailed, "as the old one")
}

// A login with the old password proves nothing for an hour after the change, so a repeated
// change logs in with it, and the server does not take it as the old one. That the new
// password opens the account tells the core that the change was made.
func TestActiveDirectoryRetryWithinTheHour(t *testing.T) {
	d := newDomain(t)
	const dn = "CN=app," + adBase
	d.members[dn] = &member{password: "first-password"}
	r := d.self(dn, "first-password", "second-password")
	if err := d.engine().Set(enginetest.Within(t), r); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	d.grace = map[string]string{dn: "first-password"}
	d.mu.Unlock()
	enginetest.WantCause(t, d.engine().Set(enginetest.Within(t), r), engine.TargetFailed, "as the old one")
	if err := d.engine().Verify(enginetest.Within(t), r, r.Pending); err != nil {
		t.Error(err)
	}
	if len(d.changes) != 1 {
		t.Errorf("changes %q", d.changes)
	}
}

func TestActiveDirectoryStatesAreTold(t *testing.T) {
	d := newDomain(t)
	const dn = "CN=app," + adBase
	for data, want := range map[string]struct {
		cause engine.Cause
		text  string
	}{
		"52e": {engine.LoginRefused, "is refused"},
		"525": {engine.LoginRefused, "does not exist"},
		"530": {engine.TargetFailed, "at this time"},
		"531": {engine.TargetFailed, "from here"},
		"532": {engine.TargetFailed, "expired"},
		"533": {engine.TargetFailed, "disabled"},
		"701": {engine.TargetFailed, "has expired"},
		"773": {engine.TargetFailed, "must change"},
		"775": {engine.TargetFailed, "locked"},
		"80":  {engine.TargetFailed, "is refused"},
	} {
		d.members[dn] = &member{password: "first-password", data: data}
		r := d.self(dn, "first-password", "x")
		enginetest.WantCause(t, d.engine().Verify(enginetest.Within(t), r, r.Current), want.cause, want.text)
	}
}

// The domain itself must refuse what a domain controller refuses, or the tests
// above would say nothing.
func TestStandInRefusesAPasswordThatIsNotInUTF16(t *testing.T) {
	d := newDomain(t)
	const dn = "CN=app," + adBase
	d.members[dn] = &member{password: "first-password", resets: true}
	conn, err := ldap.DialURL("ldaps://localhost:"+strconv.Itoa(d.port), ldap.DialWithTLSConfig(d.ca.ClientTLS("localhost")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Bind(dn, "first-password"); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"second-password", `"second-password"`, strings.Trim(quotedUTF16("x"), "\"\x00")} {
		m := ldap.NewModifyRequest(dn, nil)
		m.Replace("unicodePwd", []string{bad})
		if err := conn.Modify(m); !ldap.IsErrorWithCode(err, ldap.LDAPResultUnwillingToPerform) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
