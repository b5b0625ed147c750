package rabbitmq

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"example.com/rotator/rotation/engine"
)

// permission is what a user may do in a virtual host. It holds regular expressions for names of resources.
// Source: https://www.rabbitmq.com/docs/access-control
type permission struct {
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

// permissions returns a user's permissions by virtual host. It refuses a user of a pair that has topic permissions or
// limits.
func (s *session) permissions(ctx context.Context, name string) (map[string]permission, error) {
	var hosts []struct {
		Host string `json:"vhost"`
		permission
	}
	var topics []any
	var limits []struct {
		Value map[string]any `json:"value"`
	}
	for _, list := range []struct {
		path string
		out  any
	}{
		{path("users", name, "permissions"), &hosts},
		{path("users", name, "topic-permissions"), &topics},
		{path("user-limits", name), &limits},
	} {
		if _, err := s.get(ctx, "reading a user's rights", list.path, list.out); err != nil {
			return nil, err
		}
	}
	if len(topics) > 0 || len(limits) > 0 && len(limits[0].Value) > 0 {
		return nil, engine.Errorf(engine.TargetFailed, "remove them, or rotate the one user: set the strategy to single",
			"the user %q has topic permissions or limits, which alternating users would not share", name)
	}
	all := map[string]permission{}
	for _, h := range hosts {
		all[h.Host] = h.permission
	}
	return all, nil
}

// Equalize leaves the tags to SetPassword, which sends them anyway.
func (t target) Equalize(ctx context.Context, current, other *user) error {
	want, err := t.permissions(ctx, current.Name)
	if err != nil {
		return err
	}
	have, err := t.permissions(ctx, other.Name)
	if err != nil {
		return err
	}
	for host := range have {
		if _, keep := want[host]; !keep {
			if err := t.permit(ctx, http.MethodDelete, host, other.Name, nil); err != nil {
				return err
			}
		}
	}
	for host, p := range want {
		if old, has := have[host]; !has || old != p {
			if err := t.permit(ctx, http.MethodPut, host, other.Name, p); err != nil {
				return err
			}
		}
	}
	if have, err = t.permissions(ctx, other.Name); err == nil && !maps.Equal(have, want) {
		err = engine.Errorf(engine.TargetFailed, "let Secrets Manager retry; if that fails, compare the two users",
			"the permissions of %q differ from the current user's", other.Name)
	}
	return err
}

func (t target) permit(ctx context.Context, method, host, name string, p any) error {
	at := path("permissions", host, name)
	_, err := t.call(ctx, "changing the permissions of a user", method, at, p, nil)
	if err == nil {
		t.request.Changed(fmt.Sprintf("%s %s %+v", method, at, p))
	}
	return err
}

const administrator = "administrator"

type user struct {
	Name      string   `json:"name,omitempty"`
	Hash      string   `json:"password_hash"`
	Algorithm string   `json:"hashing_algorithm"`
	Tags      []string `json:"tags"`
}

func (u *user) has(tag string) bool { return slices.Contains(u.Tags, tag) }

// algorithm is the strongest that all versions have.
const algorithm = "rabbit_password_hashing_sha512"

// with returns the user with a new password. The server stores a salt, then the digest of salt and password. The salt
// is derived, so a repeated Set sends the same hash.
// Source: https://www.rabbitmq.com/docs/passwords#computing-password-hash
func (u *user) with(password string, r *engine.Request) *user {
	next := *u
	seed := sha256.Sum256([]byte(r.Secret + "\x00" + r.Version + "\x00" + u.Name))
	salt := seed[:4]
	digest := sha512.Sum512(slices.Concat(salt, []byte(password)))
	next.Algorithm, next.Hash = algorithm, base64.StdEncoding.EncodeToString(slices.Concat(salt, digest[:]))
	return &next
}
