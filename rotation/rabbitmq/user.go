package rabbitmq

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// administrator is the tag of those who may change users.
const administrator = "administrator"

// user is a user as the API has it, without its rights.
type user struct {
	Name      string `json:"name,omitempty"`
	Hash      string `json:"password_hash"`
	Algorithm string `json:"hashing_algorithm"`
	Tags      tags   `json:"tags"`
}

func (u *user) has(tag string) bool { return slices.Contains(u.Tags, tag) }

// tags are a list in RabbitMQ 3.9 and later, and before that one text with commas.
type tags []string

// UnmarshalJSON reads either form.
func (t *tags) UnmarshalJSON(raw []byte) error {
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		*t = list
		return nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return fmt.Errorf("a user's tags are neither a list nor a text: %w", err)
	}
	*t = strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' })
	return nil
}

// MarshalJSON writes the form that all versions take.
func (t tags) MarshalJSON() ([]byte, error) { return json.Marshal(strings.Join(t, ",")) }

// The algorithms, by their names in the API.
const (
	saltedSHA256 = "rabbit_password_hashing_sha256"
	saltedSHA512 = "rabbit_password_hashing_sha512"
)

// with returns the user with a new password, and another algorithm only for MD5 or an unknown one.
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
