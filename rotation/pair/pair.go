// Package pair implements alternating users for the engines and the machine.
package pair

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// Next is engine.NextPassword and, if users alternate, also sets the other user's name. It
// validates both values with parse and returns its error.
func Next[T any](k engine.Kind, r *engine.Request, parse func(engine.Value) (T, error)) (engine.Value, error) {
	if _, err := parse(r.Current); err != nil {
		return engine.Value{}, err
	}
	next := engine.NextPassword(k, r)
	if r.Strategy == engine.AlternatingUsers {
		user, _ := r.Current.Text(k.UserField)
		other, err := Other(k, r, user)
		if err != nil {
			return engine.Value{}, err
		}
		next = next.With(k.UserField, other)
	}
	_, err := parse(next)
	return next, err
}

// Other returns the name of the user that alternates with the given one.
func Other(k engine.Kind, r *engine.Request, user string) (string, error) {
	if first, ok := strings.CutSuffix(user, k.CloneSuffix); ok {
		if first == "" {
			return "", engine.Errorf(engine.InvalidSecret, "set the field "+k.UserField+" to the first user",
				"the user name consists only of the suffix %s", k.CloneSuffix)
		}
		return first, nil
	}
	clone, limit := user+k.CloneSuffix, cmp.Or(r.UserLimit, k.CloneLimit)
	if len(clone) > limit {
		return "", engine.Errorf(engine.InvalidSecret,
			"use a shorter user name or set USERNAME_CHARACTER_LIMIT to the server's own limit",
			"the second user's name %q would have more than %d characters", clone, limit)
	}
	return clone, nil
}

// Proved reports whether the secret holds an accepted credential of the user that Current names and
// one of the user that Pending names. Without it, an engine must not change a second user that it
// cannot recognize as its own work: names alone prove nothing.
func Proved(k engine.Kind, r *engine.Request) bool {
	return ProvedCurrent(k, r) && proves(k, r, r.Pending)
}

// ProvedCurrent reports whether the secret holds an accepted credential of the user that Current names.
func ProvedCurrent(k engine.Kind, r *engine.Request) bool { return proves(k, r, r.Current) }

func proves(k engine.Kind, r *engine.Request, v engine.Value) bool {
	user, _ := v.Text(k.UserField)
	return slices.ContainsFunc(r.Proofs, func(p engine.Value) bool { u, _ := p.Text(k.UserField); return u == user })
}

// BirthPassword returns the password for creating a user that an engine cannot mark in the same
// change. A repeated step recognizes its own user by it, and nobody can derive it without the
// current password. It has 29 characters, of every kind that common policies require.
func BirthPassword(r *engine.Request, user string) string {
	current, _ := r.Current.Text("password")
	h := hmac.New(sha256.New, []byte(current))
	h.Write([]byte("rotator: second user " + user))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))[:25] + "aA1_"
}
