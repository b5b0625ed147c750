package rabbitmq

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// rights are a user's rights in addition to its tags. Each is a permission, a topic permission or a limit.
// Source: https://www.rabbitmq.com/docs/access-control, https://www.rabbitmq.com/docs/user-limits
type rights map[right]any

// right identifies a right: its kind, as in the API's paths, a virtual host or limit, and for topics an exchange.
type right struct{ kind, in, exchange string }

const (
	permissions = "permissions"
	topics      = "topic-permissions"
	limits      = "user-limits"
)

func (r right) path(user string) string {
	if r.kind == limits {
		return path(limits, user, r.in)
	}
	return path(r.kind, r.in, user)
}

func (r right) String() string { return strings.TrimSpace(r.kind + " of " + r.in + " " + r.exchange) }

type permission struct {
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

type topic struct {
	Exchange string `json:"exchange"`
	Write    string `json:"write"`
	Read     string `json:"read"`
}

// anyTopic returns a topic permission that restricts nothing: every routing key is allowed.
func anyTopic(exchange string) topic { return topic{exchange, ".*", ".*"} }

type limit struct {
	Value int64 `json:"value"`
}

func (s *session) rights(ctx context.Context, name string) (rights, error) {
	var hosts []struct {
		Host string `json:"vhost"`
		permission
	}
	var exchanges []struct {
		Host string `json:"vhost"`
		topic
	}
	var numbers []struct {
		Value map[string]int64 `json:"value"`
	}
	for _, list := range []struct {
		path string
		out  any
	}{
		{path("users", name, permissions), &hosts},
		{path("users", name, topics), &exchanges},
		{path(limits, name), &numbers},
	} {
		if _, err := s.get(ctx, "reading a user's rights", list.path, list.out); err != nil {
			return nil, err
		}
	}
	r := rights{}
	for _, h := range hosts {
		r[right{permissions, h.Host, ""}] = h.permission
	}
	for _, e := range exchanges {
		if e.topic != anyTopic(e.Exchange) {
			r[right{topics, e.Host, e.Exchange}] = e.topic
		}
	}
	for _, n := range numbers {
		for name, value := range n.Value {
			r[right{limits, name, ""}] = limit{value}
		}
	}
	return r, nil
}

func (t target) level(ctx context.Context, name string, have, want rights) error {
	type change struct {
		method string
		right
		body any
	}
	// Topic permissions restrict the permissions, so they are removed only once the permissions are as wanted.
	var taken, given, removed []change
	for r := range have {
		_, keep := want[r]
		switch {
		case keep:
		case r.kind == topics: // the API can only delete all topic permissions of a virtual host
			removed = append(removed, change{http.MethodPut, r, anyTopic(r.exchange)})
		default:
			taken = append(taken, change{http.MethodDelete, r, nil})
		}
	}
	for _, kind := range []string{topics, permissions, limits} {
		for r, body := range want {
			if r.kind == kind && have[r] != body {
				given = append(given, change{http.MethodPut, r, body})
			}
		}
	}
	for _, c := range slices.Concat(taken, given, removed) {
		if _, err := t.call(ctx, "changing the "+c.kind+" of a user", c.method, c.path(name), c.body, nil); err != nil {
			return err
		}
		t.request.Changed(fmt.Sprintf("%s %s %+v", c.method, c.path(name), c.body))
	}
	now, err := t.rights(ctx, name)
	if differ := now.differ(want); err == nil && differ != nil {
		err = engine.Errorf(engine.TargetFailed, "let Secrets Manager retry; if that fails, compare the two users",
			"the rights of %q differ from the current user's: %v", name, differ)
	}
	return err
}

func (r rights) differ(other rights) (names []string) {
	for _, two := range [][2]rights{{r, other}, {other, r}} {
		for right, value := range two[0] {
			if two[1][right] != value {
				names = append(names, right.String())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

const administrator = "administrator"

type user struct {
	Name      string `json:"name,omitempty"`
	Hash      string `json:"password_hash"`
	Algorithm string `json:"hashing_algorithm"`
	Tags      tags   `json:"tags"`
}

func (u *user) has(tag string) bool { return slices.Contains(u.Tags, tag) }

// tags are a list in RabbitMQ 3.9 and later, and a comma-separated string in earlier versions.
type tags []string

func (t *tags) UnmarshalJSON(raw []byte) error {
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		*t = list
		return nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return fmt.Errorf("a user's tags are neither a list nor a string: %w", err)
	}
	*t = strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' })
	return nil
}

// MarshalJSON writes the format that all versions accept.
func (t tags) MarshalJSON() ([]byte, error) { return json.Marshal(strings.Join(t, ",")) }

// The algorithms, by their names in the API.
const (
	saltedSHA256 = "rabbit_password_hashing_sha256"
	saltedSHA512 = "rabbit_password_hashing_sha512"
)

// with returns the user with a new password. It replaces the algorithm only if that is MD5 or unknown.
func (u *user) with(password string, r *engine.Request) *user {
	next := *u
	if next.Algorithm != saltedSHA512 {
		next.Algorithm = saltedSHA256
	}
	next.Hash = hash(next.Algorithm, salt(r, u.Name, password), password)
	return &next
}

// salt is derived, so a repeated Set sends the same hash.
func salt(r *engine.Request, user, password string) []byte {
	mac := hmac.New(sha256.New, []byte(password))
	fmt.Fprintf(mac, "rotator rabbitmq salt\x00%s\x00%s\x00%s", r.Secret, r.Version, user)
	return mac.Sum(nil)[:4]
}

// hash returns what the server stores: the salt, then the digest of salt and password, in base64.
// Source: https://www.rabbitmq.com/docs/passwords#computing-password-hash
func hash(algorithm string, salt []byte, password string) string {
	salted := slices.Concat(salt, []byte(password))
	if algorithm == saltedSHA512 {
		digest := sha512.Sum512(salted)
		return base64.StdEncoding.EncodeToString(slices.Concat(salt, digest[:]))
	}
	digest := sha256.Sum256(salted)
	return base64.StdEncoding.EncodeToString(slices.Concat(salt, digest[:]))
}
