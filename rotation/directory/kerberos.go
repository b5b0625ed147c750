package directory

import (
	"context"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/boundconn"
)

// kerberos is a Kerberos login. It requests one ticket and discards it, so it needs only a small part of the protocol.
// The common library, github.com/jcmturner/gokrb5, has had no release since 2023. Its client ignores contexts and
// allocates as many bytes as a server announces.
// Source: https://www.rfc-editor.org/rfc/rfc4120#section-3.1
type kerberos struct{ realm, user, password string }

const (
	messageLimit = 64 << 10 // bytes of a response; a ticket with 1,000 groups has 12 KiB
	roundsLimit  = 1 << 16  // of PBKDF2; the standard and Windows use 4,096
	rounds       = 4096     // the default

	// Types of messages, names and authentication data, and uses of keys.
	asRequest, asReply, asError = 10, 11, 30
	person, service             = 1, 2
	encryptedTime, cipherHints  = 2, 19
	usageTime, usageReply       = 1, 3
)

// canonicalize is option bit 15: the response names the account that the name resolves to.
var canonicalize = []byte{0, 1, 0, 0}

// encryptedData is a sealed message.
type encryptedData struct {
	Cipher int    `asn1:"explicit,tag:0"`
	Sealed []byte `asn1:"explicit,tag:2"`
}

type paData struct {
	Type  int    `asn1:"explicit,tag:1"`
	Value []byte `asn1:"explicit,tag:2"`
}

type principal struct {
	Type  int             `asn1:"explicit,tag:0"`
	Names []asn1.RawValue `asn1:"explicit,tag:1"`
}

// request is an AS-REQ.
type request struct {
	Version int      `asn1:"explicit,tag:1"`
	Type    int      `asn1:"explicit,tag:2"`
	Data    []paData `asn1:"explicit,optional,tag:3"`
	Body    body     `asn1:"explicit,tag:4"`
}

type body struct {
	Options asn1.BitString `asn1:"explicit,tag:0"`
	Client  principal      `asn1:"explicit,tag:1"`
	Realm   asn1.RawValue  // [2]
	Server  principal      `asn1:"explicit,tag:3"`
	Till    time.Time      `asn1:"generalized,explicit,tag:5"`
	Nonce   int            `asn1:"explicit,tag:7"`
	Ciphers []int          `asn1:"explicit,tag:8"`
}

func text(s string) asn1.RawValue {
	return asn1.RawValue{Tag: asn1.TagGeneralString, Bytes: []byte(s)}
}

func name(kind int, parts ...string) principal {
	p := principal{Type: kind}
	for _, part := range parts {
		p.Names = append(p.Names, text(part))
	}
	return p
}

// encode encodes a message of this package, which cannot fail.
func encode(v any, params string) []byte {
	out, err := asn1.MarshalWithParams(v, params)
	if err != nil {
		panic(err)
	}
	return out
}

// login logs in to a domain controller. The cause is LoginRefused only if the response can mean nothing else.
func (k kerberos) login(ctx context.Context, controller engine.Target) error {
	err := k.prove(ctx, controller)
	if _, ok := errors.AsType[*engine.Error](err); err == nil || ok {
		return err
	}
	return engine.Errorf(engine.TargetFailed, "check that the directory's DNS addresses are its domain controllers",
		"the login of %q at %s failed: %w", k.user, controller.Address(), err)
}

func (k kerberos) prove(ctx context.Context, controller engine.Target) error {
	now := time.Now().UTC()
	realm := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, IsCompound: true, Bytes: encode(text(k.realm), "")}
	r := request{Version: 5, Type: asRequest, Body: body{
		Options: asn1.BitString{Bytes: canonicalize, BitLength: 32},
		Client:  name(person, k.user), Realm: realm, Server: name(service, "krbtgt", k.realm),
		Till: now.Add(5 * time.Minute).Truncate(time.Second), Nonce: int(rand.Int32()), Ciphers: []int{aes256},
	}}
	// The first response says how to derive the key from the password.
	reply, err := send(ctx, controller, r)
	switch {
	case err != nil:
		return err
	case reply.tag == asReply:
		return engine.Errorf(engine.TargetFailed,
			`clear the account's option "Do not require Kerberos preauthentication"`,
			"the domain controller answers for %q without a password", k.user)
	case reply.number(6) != errPreauthRequired:
		return k.refused(reply.number(6))
	}
	secret, err := k.key(reply.bytes(12))
	if err != nil {
		return err
	}
	type stamp struct {
		Time         time.Time `asn1:"generalized,explicit,tag:0"`
		Microseconds int       `asn1:"explicit,tag:1"`
	}
	proof := secret.seal(usageTime, encode(stamp{now.Truncate(time.Second), now.Nanosecond() / 1000}, ""))
	r.Data = []paData{{encryptedTime, encode(encryptedData{aes256, proof}, "")}}
	reply, err = send(ctx, controller, r)
	switch {
	case err != nil:
		return err
	case reply.tag == asError:
		return k.refused(reply.number(6))
	}
	// Only a server that knows the key can send this response.
	sealed, err := read(reply.fields[6])
	if err != nil {
		return err
	}
	plain, err := secret.open(usageReply, sealed.bytes(2))
	if err != nil {
		return err
	}
	part, err := read(plain, 25, 26) // some servers use the tag of another message
	if err != nil || part.number(2) != r.Body.Nonce {
		return errors.New("the answer is not to this login")
	}
	var client principal
	if _, err := asn1.Unmarshal(reply.fields[4], &client); err != nil || len(client.Names) == 0 {
		return errors.New("the answer names no account")
	}
	// A name can also be the beginning of another account's userPrincipalName.
	if account := string(client.Names[0].Bytes); !strings.EqualFold(account, k.user) {
		return engine.Errorf(engine.TakeoverRefused, "name the account by its logon name (sAMAccountName)",
			"the password belongs to the account %q, not to %q", account, k.user)
	}
	return nil
}

// key derives the password's key as a domain controller's hints specify.
// Source: https://www.rfc-editor.org/rfc/rfc4120#section-5.2.7.5
func (k kerberos) key(hints []byte) (key, error) {
	for _, hint := range list(hints) {
		if hint.number(1) != cipherHints {
			continue
		}
		for _, entry := range list(hint.bytes(2)) {
			if entry.number(0) != aes256 {
				continue
			}
			n := rounds
			if p := entry.bytes(2); len(p) == 4 {
				n = int(binary.BigEndian.Uint32(p))
			}
			if n == 0 || n > roundsLimit {
				return nil, fmt.Errorf("the domain controller asks for %d rounds of PBKDF2", n)
			}
			return passwordKey(k.password, string(entry.bytes(1)), n)
		}
	}
	return nil, errors.New("the account has no AES-256 key: allow AES-256 for the account, and set its password again")
}

// message is a decoded sequence: its application tag, and its fields by tag.
type message struct {
	tag    int
	fields map[int][]byte
}

var errForm = errors.New("the answer is not a Kerberos message")

// read decodes a sequence, which must have one of the application tags if any are given.
func read(der []byte, tags ...int) (message, error) {
	m := message{fields: map[int][]byte{}}
	if len(tags) > 0 {
		var v asn1.RawValue
		_, err := asn1.Unmarshal(der, &v)
		if err != nil || v.Class != asn1.ClassApplication || !slices.Contains(tags, v.Tag) {
			return m, errForm
		}
		m.tag, der = v.Tag, v.Bytes
	}
	var fields []asn1.RawValue
	if _, err := asn1.Unmarshal(der, &fields); err != nil {
		return m, errForm
	}
	for _, f := range fields {
		m.fields[f.Tag] = f.Bytes
	}
	return m, nil
}

// list decodes a sequence of sequences, and skips elements that are not sequences.
func list(der []byte) (all []message) {
	var elements []asn1.RawValue
	if _, err := asn1.Unmarshal(der, &elements); err != nil {
		return nil
	}
	for _, e := range elements {
		if m, err := read(e.FullBytes); err == nil {
			all = append(all, m)
		}
	}
	return all
}

// number returns a field that is a number, or -1.
func (m message) number(tag int) int {
	n := -1
	if _, err := asn1.Unmarshal(m.fields[tag], &n); err != nil {
		return -1
	}
	return n
}

// bytes returns the content of a field of any string type, or nil.
func (m message) bytes(tag int) []byte {
	var v asn1.RawValue
	if _, err := asn1.Unmarshal(m.fields[tag], &v); err != nil {
		return nil
	}
	return v.Bytes
}

// errPreauthRequired is the code of a response that says how to derive the key.
const errPreauthRequired = 25

// A refusal explains an error code.
type refusal struct {
	cause        engine.Cause
	what, advice string
}

// refusals are the codes that domain controllers return.
// Source: https://www.rfc-editor.org/rfc/rfc4120#section-7.5.9
var refusals = map[int]refusal{
	6:  {engine.LoginRefused, "does not exist", "correct the secret's user name"},
	24: {engine.LoginRefused, "is refused", "check the user's password in the directory"},
	// A reset would enable the account.
	1:  {engine.TargetFailed, "is expired", "extend the account's life"},
	18: {engine.TargetFailed, "is disabled, locked or expired", "enable or unlock the account"},
	23: {engine.TargetFailed, "has a password that has expired or must be changed",
		"set a password as an administrator, and rotate more often than the password's lifetime"},
	12: {engine.TargetFailed, "may not log in now or from here", "change the account's logon hours and workstations"},
	14: {engine.TargetFailed, "has no AES-256 key", "allow AES-256 for the account, and set its password again"},
	37: {engine.TargetFailed, "cannot be tried because the clocks differ", "correct the domain controller's clock"},
}

// refused adds the cause and advice to an error of a domain controller.
func (k kerberos) refused(code int) error {
	r, ok := refusals[code]
	if !ok {
		r = refusal{engine.TargetFailed, "is refused", "look the number up in RFC 4120, section 7.5.9"}
	}
	return engine.Errorf(r.cause, r.advice, "the account %q %s: Kerberos error %d", k.user, r.what, code)
}

// send sends a request and returns the response.
// Source: https://www.rfc-editor.org/rfc/rfc4120#section-7.2.2
func send(ctx context.Context, to engine.Target, r request) (message, error) {
	answer, err := exchange(ctx, to.Address(), encode(r, fmt.Sprintf("application,explicit,tag:%d", asRequest)))
	if err == nil {
		return read(answer, asReply, asError)
	}
	err = errors.Join(ctx.Err(), err)
	if n := engine.NetworkError(to, err); n != nil {
		return message{}, n
	}
	const advice = "check that the function reaches port 88 of the directory's DNS addresses"
	return message{}, engine.Errorf(engine.Unreachable, advice, "cannot speak Kerberos with %s: %w", to.Address(), err)
}

func exchange(ctx context.Context, address string, message []byte) ([]byte, error) {
	conn, err := boundconn.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)); err != nil {
		return nil, err
	}
	var size uint32
	if err := binary.Read(conn, binary.BigEndian, &size); err != nil {
		return nil, err
	}
	if size > messageLimit {
		return nil, fmt.Errorf("the answer has %d bytes", size)
	}
	answer := make([]byte, size)
	_, err = io.ReadFull(conn, answer)
	return answer, err
}
