package secretsim

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	current  = "AWSCURRENT"
	pending  = "AWSPENDING"
	previous = "AWSPREVIOUS"
)

// secret is one secret. The Sim's lock guards it.
type secret struct {
	name, arn   string
	description string
	key         string
	created     time.Time
	changed     time.Time
	accessed    time.Time
	deleted     time.Time // the end of the recovery window; zero for none
	tags        []tag
	everTagged  bool
	versions    map[string]*version
	labels      map[string]string // the version that a label is on
	policy      string
	rotation    rotation
	hadAnyValue bool
}

type tag struct{ Key, Value string }

// version is one version. A version without a value is the place that a rotation
// has reserved.
type version struct {
	id       string
	text     *string
	binary   []byte
	created  time.Time
	accessed time.Time
	maker    *string // the rotation token that a Put came with; nil for no Put
}

func (v *version) filled() bool { return v.text != nil || v.binary != nil }

func (v *version) same(text *string, binary []byte) bool {
	if (v.text == nil) != (text == nil) {
		return false
	}
	if text != nil {
		return *v.text == *text
	}
	return string(v.binary) == string(binary)
}

// stages returns the labels of a version in a fixed order.
func (s *secret) stages(id string) []string {
	var out []string
	for l, v := range s.labels {
		if v == id {
			out = append(out, l)
		}
	}
	slices.Sort(out)
	return out
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9/_+=.@!-]+$`)

const badName = "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"

// suffix returns six random characters, as every ARN has at its end.
func suffix() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, 6)
	_, _ = rand.Read(b)
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b)
}

func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

var complete = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)

// find looks a secret up by name, ARN or partial ARN.
func (s *Sim) find(id string) (*secret, *fault) {
	if id == "" {
		return nil, constraint("", "secretId", "have length greater than or equal to 1")
	}
	name := id
	if strings.HasPrefix(id, "arn:") {
		parts := strings.SplitN(id, ":", 7)
		if len(parts) != 7 {
			return nil, validation(badName)
		}
		name = parts[6]
	}
	if !nameForm.MatchString(name) {
		return nil, validation(badName)
	}
	if sec := s.secrets[id]; sec != nil {
		return sec, nil
	}
	if strings.HasPrefix(id, "arn:") {
		for _, sec := range s.secrets {
			if sec.arn == id || !complete.MatchString(id) && sec.arn[:len(sec.arn)-7] == id {
				return sec, nil
			}
		}
	}
	return nil, notFound("secret.")
}

// live is find for an operation that a secret scheduled for deletion refuses.
func (s *Sim) live(id string) (*secret, *fault) {
	sec, f := s.find(id)
	if f == nil && !sec.deleted.IsZero() {
		return nil, invalidRequest("You can't perform this operation on the secret because it was marked for deletion.")
	}
	return sec, f
}
