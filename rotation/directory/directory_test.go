package directory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/internal/testing/world"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/operator"
)

const (
	first  = "First-Passw0rd"
	second = "Second-Passw0rd"
)

// user adds a user with the password first, and returns its name and DN, and a directory's ID.
func (f *fixture) user(t *testing.T) (name, dn, directory string) {
	t.Helper()
	name = testserver.Unique("user-")
	return name, f.Person(t, name, first), f.directory(88)
}

func (f *fixture) request(directory, user, current string) *engine.Request {
	v := f.value(directory, user, current)
	const secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:x-AbCdEf"
	return &engine.Request{Secret: secret, Current: v, Login: v, Pending: f.value(directory, user, second)}
}

// do rehearses a change, then makes it even if the rehearsal fails.
func (f *fixture) do(t *testing.T, r *engine.Request) error {
	t.Helper()
	e := f.engine()
	err := e.Verify(enginetest.Within(t), r, r.Login)
	return errors.Join(e.Set(enginetest.Within(t), r), err)
}

// wantReset checks whether the API was called to reset a password.
func (f *fixture) wantReset(t *testing.T, want bool) {
	t.Helper()
	if slices.Contains(f.fake.Calls(), "ResetUserPassword") != want {
		t.Errorf("the API was called: %q", f.fake.Calls())
	}
}

func TestRepeatedChange(t *testing.T) {
	f := newFixture(t)
	name, _, directory := f.user(t)
	r := f.request(directory, strings.ToUpper(name), first) // names are not case-sensitive
	for range 2 {
		if err := errors.Join(f.do(t, r), f.engine().Verify(enginetest.Within(t), r, r.Pending)); err != nil {
			t.Fatal(err)
		}
		r.Login = r.Pending // as the machine does, since current is refused
	}
	resets := slices.DeleteFunc(f.fake.Calls(), func(c string) bool { return c != "ResetUserPassword" })
	if len(resets) != 1 {
		t.Errorf("%d resets", len(resets))
	}
	enginetest.WantCause(t, f.engine().Verify(enginetest.Within(t), r, r.Current), engine.LoginRefused, "is refused")
}

// TestOnlyAProvedUserIsReset: a user is reset only if the secret's own password opens the account.
func TestOnlyAProvedUserIsReset(t *testing.T) {
	for what, c := range map[string]struct {
		// prepare returns the user that the secret names, with the password first.
		prepare func(t *testing.T, f *fixture, name, dn string) string
		cause   engine.Cause
		text    string
	}{
		"an administrator": {func(*testing.T, *fixture, string, string) string { return "Administrator" },
			engine.LoginRefused, "is refused"},
		"nobody": {func(*testing.T, *fixture, string, string) string { return "nobody-at-all" },
			engine.LoginRefused, "does not exist"},
		"disabled": {func(t *testing.T, f *fixture, name, dn string) string {
			f.Set(t, dn, "userAccountControl", "514")
			return name
		}, engine.TargetFailed, "disabled"},
		"expired": {func(t *testing.T, f *fixture, name, dn string) string {
			f.Set(t, dn, "accountExpires", "1")
			return name
		}, engine.TargetFailed, "expired"},
		"must change": {func(t *testing.T, f *fixture, name, dn string) string {
			f.Set(t, dn, "pwdLastSet", "0")
			return name
		}, engine.TargetFailed, "must be changed"},
		"locked": {func(t *testing.T, f *fixture, name, dn string) string {
			f.Policy(t, dn, "msDS-LockoutThreshold", "1")
			_ = f.Bind(dn, "wrong")
			return name
		}, engine.TargetFailed, "locked"},
		// The password belongs to the owner of a userPrincipalName that begins with another account's name.
		"a name that means another account": {func(t *testing.T, f *fixture, _, dn string) string {
			other := testserver.Unique("ghost-")
			f.Set(t, dn, "userPrincipalName", other+"@"+strings.ToLower(testserver.ADRealm))
			return other
		}, engine.TakeoverRefused, "ghost-"},
	} {
		t.Run(what, func(t *testing.T) {
			f := newFixture(t)
			name, dn, directory := f.user(t)
			r := f.request(directory, c.prepare(t, f, name, dn), first)
			enginetest.WantCause(t, f.do(t, r), c.cause, c.text)
			f.wantReset(t, false)
		})
	}
	f := newFixture(t)
	name, _, directory := f.user(t)
	other, _, _ := f.user(t)
	r := f.request(directory, name, first)
	r.Pending = f.value(directory, other, second)
	enginetest.WantCause(t, f.engine().Set(enginetest.Within(t), r), engine.TakeoverRefused, "not that of the user")
	f.wantReset(t, false)
}

func TestDirectories(t *testing.T) {
	f := newFixture(t)
	name, _, _ := f.user(t)
	domain := strings.ToLower(testserver.ADRealm)
	try := func(d fakeDirectory) error {
		f.fake.Put("d-0123456789", d)
		r := f.request("d-0123456789", name, first)
		return f.engine().Verify(enginetest.Within(t), r, r.Current)
	}
	for kind, text := range map[string]string{"ADConnector": "ADConnector", "SharedMicrosoftAD": "SharedMicrosoftAD"} {
		enginetest.WantCause(t, try(fakeDirectory{Name: domain, Type: kind, Addresses: []string{f.Host}}),
			engine.InvalidSecret, text)
	}
	enginetest.WantCause(t, try(fakeDirectory{Name: domain}), engine.TargetFailed, "Creating")
	enginetest.WantCause(t, try(fakeDirectory{Name: "other.example.com", Addresses: []string{f.Host}}),
		engine.LoginRefused, "does not exist")
	// Nothing listens at the first address.
	if err := try(fakeDirectory{Name: domain, Type: "SimpleAD",
		Addresses: []string{"127.0.0.2", f.Host}}); err != nil {
		t.Error(err)
	}
	enginetest.WantCause(t, try(fakeDirectory{Name: domain, Addresses: []string{"127.0.0.2"}}), engine.Unreachable,
		"127.0.0.2:88")
	r := f.request("d-00000fffff", name, first)
	enginetest.WantCause(t, f.engine().Verify(enginetest.Within(t), r, r.Current), engine.InvalidSecret, "d-00000fffff")
}

func TestErrorsOfTheAPI(t *testing.T) {
	f := newFixture(t)
	name, dn, directory := f.user(t)
	for code, cause := range map[string]engine.Cause{
		"UserDoesNotExistException": engine.InvalidSecret, "UnsupportedOperationException": engine.TargetFailed,
		"EntityDoesNotExistException": engine.InvalidSecret, "InvalidPasswordException": engine.PolicyRejected,
		"DirectoryUnavailableException": engine.TargetFailed, "AccessDeniedException": engine.PrivilegeMissing,
		"ClientException": engine.TargetFailed,
	} {
		f.fake.Fail(func(action string) (string, string) {
			if action == "ResetUserPassword" {
				return code, "made up"
			}
			return "", ""
		})
		enginetest.WantCause(t, f.engine().Set(enginetest.Within(t), f.request(directory, name, first)), cause, code)
	}
	f.fake.Fail(nil)
	f.Policy(t, dn, "msDS-MinimumPasswordLength", "30")
	enginetest.WantCause(t, f.engine().Set(enginetest.Within(t), f.request(directory, name, first)),
		engine.PolicyRejected, "InvalidPassword")
	if err := f.Bind(dn, first); err != nil {
		t.Error(err)
	}
}

// TestNeeds: a change succeeds with the printed permissions, and fails with fewer.
func TestNeeds(t *testing.T) {
	f := newFixture(t)
	name, _, directory := f.user(t)
	var n engine.Needs
	if err := f.engine().Needs(t.Context(), f.request(directory, name, first), &n); err != nil {
		t.Fatal(err)
	}
	whole, lesser := enginetest.Policies(t, n.Permissions)
	for what, policy := range lesser {
		if err := f.fake.PutPolicy(policy); err != nil {
			t.Fatal(err)
		}
		err := f.engine().Set(enginetest.Within(t), f.request(directory, name, first))
		if !errors.Is(err, engine.PrivilegeMissing) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := f.fake.PutPolicy(whole); err != nil {
		t.Fatal(err)
	}
	if err := f.do(t, f.request(directory, name, first)); err != nil {
		t.Errorf("by %s: %v", whole, err)
	}
	// The permissions do not cover another directory.
	other := f.directory(88)
	r := f.request(other, name, second)
	r.Pending = f.value(other, name, first)
	enginetest.WantCause(t, f.engine().Set(enginetest.Within(t), r), engine.PrivilegeMissing, other)
}

// TestCheck: what an operator sees for a secret that can be rotated, a wrong password, and a directory in which AWS
// cannot reset passwords.
func TestCheck(t *testing.T) {
	f := newFixture(t)
	w := world.New(t, f.engine())
	name, _, directory := f.user(t)
	f.fake.Put("d-0aaaaaaaaa", fakeDirectory{Name: "corp.example.com", Type: "ADConnector",
		Addresses: []string{f.Host}})
	for failure, v := range map[string]engine.Value{
		"": f.value(directory, name, first), "loginclients": f.value(directory, name, "wrong"),
		"login": f.value("d-0aaaaaaaaa", name, first),
	} {
		arn := w.Secret("check/"+failure, v)
		r, err := w.Rotator()
		if err != nil {
			t.Fatal(err)
		}
		failed := ""
		for finding := range operator.Check(enginetest.Within(t), r, arn) {
			if finding.State == operator.Failed {
				failed += finding.Check
			}
		}
		if failed != failure {
			t.Errorf("check fails at %q, want %q", failed, failure)
		}
		if n, err := operator.Needs(enginetest.Within(t), r, arn); err != nil || n.Login != name {
			t.Errorf("%+v, %v", n, err)
		}
	}
	f.wantReset(t, false)
}

func TestFormatOfTheSecret(t *testing.T) {
	f := newFixture(t)
	for text, v := range map[string]engine.Value{
		"cannot be read": engine.StringValue("just text"),
		"DirectoryId is missing": engine.StringValue(
			`{"awsSeamlessDomainUsername":"app","awsSeamlessDomainPassword":"x"}`),
		"Password is missing":     f.value("d-0123456789", "app", ""),
		"not a directory's ID":    f.value("corp.example.com", "app", "x"),
		"not a user's logon name": f.value("d-0123456789", "app@corp.example.com", "x"),
	} {
		_, err := f.engine().Next(t.Context(), &engine.Request{Current: v})
		enginetest.WantCause(t, err, engine.InvalidSecret, text)
	}
	r := &engine.Request{Current: f.value("d-0123456789", "app", "x"), Passwords: engine.PasswordPolicy{Length: 128}}
	_, err := f.engine().Next(t.Context(), r)
	enginetest.WantCause(t, err, engine.PolicyRejected, "longer")
}

func TestNamesOfFields(t *testing.T) {
	env := map[string]string{"DICT_KEY_DIRECTORY": "DirectoryId", "DICT_KEY_USERNAME": "Username",
		"DICT_KEY_PASSWORD": "Password"}
	fields, err := ReadFields(func(name string) string { return env[name] })
	if err != nil || fields != (Fields{"DirectoryId", "Username", "Password"}) {
		t.Errorf("%+v, %v", fields, err)
	}
	if k := New(nil, fields).Kind(); k.MarkField != "DirectoryId" || k.UserField != "Username" ||
		k.SecretFields[0] != "Password" {
		t.Errorf("%+v", k)
	}
	env["DICT_KEY_USERNAME"] = "DirectoryId"
	_, err = ReadFields(func(name string) string { return env[name] })
	enginetest.WantCause(t, err, engine.InvalidConfiguration, "same name")
}

func TestRefusals(t *testing.T) {
	for code, cause := range map[int]engine.Cause{
		24: engine.LoginRefused, 6: engine.LoginRefused, 18: engine.TargetFailed, 1: engine.TargetFailed,
		23: engine.TargetFailed, 12: engine.TargetFailed, 14: engine.TargetFailed, 37: engine.TargetFailed,
		60: engine.TargetFailed,
	} {
		enginetest.WantCause(t, kerberos{user: "app"}.refused(code), cause, fmt.Sprintf("Kerberos error %d", code))
	}
}

// TestStrangeDomainControllers: a response that proves nothing is not a login.
func TestStrangeDomainControllers(t *testing.T) {
	type reply struct {
		Realm  string        `asn1:"utf8,explicit,tag:3"`
		Client principal     `asn1:"explicit,tag:4"`
		Sealed encryptedData `asn1:"explicit,tag:6"`
	}
	type refusal struct {
		Code  int    `asn1:"explicit,tag:6"`
		Hints []byte `asn1:"explicit,tag:12"`
	}
	ticket := encode(reply{"CORP", name(person, "app"), encryptedData{18, make([]byte, 60)}},
		"application,explicit,tag:11")
	ask := encode(refusal{errPreauthRequired, hints(rounds)}, "application,explicit,tag:30")
	for text, answers := range map[string][][]byte{
		"without a password":       {framed(ticket)},
		"with the password's key":  {framed(ask), framed(ticket)},
		"allow AES-256":            {framed(encode(refusal{Code: errPreauthRequired}, "application,explicit,tag:30"))},
		"not a Kerberos message":   {framed([]byte("HTTP/1.1 400 Bad Request"))},
		"the answer has":           {[]byte("HTTP/1.1 400 Bad Request")},
		"connection to 127.0.0.1:": {{0, 0}},
	} {
		var asked atomic.Int32
		port := testserver.Hostile(t, nil, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = c.Write(answers[int(asked.Add(1)-1)%len(answers)])
			c.Close()
		})
		err := kerberos{"CORP", "app", "x"}.login(enginetest.Within(t),
			engine.Target{Host: "127.0.0.1", Port: port})
		if err == nil || errors.Is(err, engine.LoginRefused) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)
}

// hints returns the hints of a domain controller that asks for n rounds.
func hints(n uint32) []byte {
	type entry struct {
		Cipher int    `asn1:"explicit,tag:0"`
		Salt   string `asn1:"utf8,explicit,tag:1"`
		Rounds []byte `asn1:"explicit,tag:2"`
	}
	entries := []entry{{23, "", nil}, {18, "salt", binary.BigEndian.AppendUint32(nil, n)}}
	return encode([]paData{{136, nil}, {cipherHints, encode(entries, "")}}, "")
}

// TestKeyTakesLimitedTime: the domain controller chooses the number of rounds, which nothing can interrupt.
func TestKeyTakesLimitedTime(t *testing.T) {
	for n, ok := range map[uint32]bool{rounds: true, roundsLimit + 1: false, 0: false} {
		if _, err := (kerberos{password: "x"}).key(hints(n)); (err == nil) != ok {
			t.Errorf("%d rounds: %v", n, err)
		}
	}
}

// FuzzAnswer: any response of a domain controller is either a message or an error.
func FuzzAnswer(f *testing.F) {
	f.Add(hints(1))
	f.Add(encode(encryptedData{18, make([]byte, 60)}, "application,explicit,tag:30"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		if m, err := read(answer, asReply, asError); err == nil {
			_, _ = key(make([]byte, 32)).open(usageReply, m.bytes(2))
		}
		_, _ = kerberos{password: "x"}.key(answer)
	})
}
