package mysql

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// twoUsers are the two users that alternate. Each is a user of its own with the same
// rights: for every account of the one, such as app@'%' and app@localhost, the
// other has an account for the same hosts.
type twoUsers struct {
	current, other string
	known          passwords
}

// role is the name of the role that both have and that allows nothing. Who has
// it was given it by an administrator, so that it tells a second user from a
// stranger of that name. What a user can set itself, as MySQL's attributes, or
// choose, as its name, would tell nothing.
func (p twoUsers) role() string {
	names := []string{p.current, p.other}
	slices.Sort(names)
	sum := sha256.Sum256([]byte(strings.Join(names, "\x00")))
	return "rotator_" + hex.EncodeToString(sum[:8])
}

// survey is what the server has of a pair.
type survey struct {
	current, other []account
	marked         map[string]bool // the hosts of the other's marked accounts
	unmarked       []account       // of the current user
}

// at returns the account for the hosts, or nil.
func at(list []account, host string) *account {
	for i := range list {
		if list[i].host == host {
			return &list[i]
		}
	}
	return nil
}

// survey reads both users and refuses to touch an other that is not ours.
func (s *session) survey(ctx context.Context, p twoUsers) (v survey, err error) {
	for _, user := range []string{p.current, p.other} {
		if err := s.notMyself(user); err != nil {
			return v, err
		}
	}
	if v.current, err = s.existing(ctx, p.current); err != nil {
		return v, err
	}
	if v.other, err = s.dialect.accounts(ctx, p.other); err != nil {
		return v, err
	}
	if s.dialect.marks() {
		if v.marked, err = s.dialect.marked(ctx, p.role(), p.other); err != nil {
			return v, err
		}
	}
	if v.unmarked, err = s.unmarked(ctx, p, v.current); err != nil {
		return v, err
	}
	for _, a := range v.other {
		if v.marked[a.host] {
			continue
		}
		like := at(v.current, a.host)
		switch {
		case like == nil && a.plugin == "":
			continue // it is no way to log in with a secret
		case like == nil:
			// For logins from there the server would take this account, with
			// its own password, in place of the one that the secret names.
			return v, engine.Errorf(engine.TakeoverRefused, fmt.Sprintf("create an account of %q for the same host, or drop this one", p.current),
				"the user %s exists, and %q has no account for its host", a.name(), p.current)
		case !a.accepts(p.known[p.other]):
			advice := "use a user name without the suffix _clone, or drop that user"
			if s.dialect.marks() {
				advice = "if it is this secret's second user all the same, " + p.adoption(a)
			}
			return v, engine.Errorf(engine.TakeoverRefused, advice, "the user %s exists, and nothing but its name says that it belongs to %q", a.name(), p.current)
		}
		if err := s.weaker(ctx, a, *like); err != nil {
			return v, err
		}
	}
	return v, nil
}

// adoption tells how an administrator says that an account is one of the pair's.
func (p twoUsers) adoption(a account) string {
	return fmt.Sprintf("say so as an administrator: CREATE ROLE IF NOT EXISTS %s; GRANT %[1]s TO %s", p.role(), a.name())
}

// unmarked returns those accounts of the current user that are not marked. It
// refuses one that does not accept the secret's password either: the secret's
// login is the proof of the one account that it meets, and an account of the same
// name for other hosts can be somebody else's.
func (s *session) unmarked(ctx context.Context, p twoUsers, accounts []account) (list []account, err error) {
	marked := map[string]bool{}
	if s.dialect.marks() {
		if marked, err = s.dialect.marked(ctx, p.role(), p.current); err != nil {
			return nil, err
		}
	}
	for _, a := range accounts {
		switch {
		case marked[a.host]:
		case a.accepts(p.known[p.current]):
			list = append(list, a)
		default:
			advice := "give it the secret's password if it is the same user's, else rename or drop it"
			if s.dialect.marks() {
				advice = "if it is the same user's all the same, " + p.adoption(a) + "; else rename or drop it"
			}
			return nil, engine.Errorf(engine.TakeoverRefused, advice, "the user %s has another password than the secret, and nothing but its name says that it is the secret's", a.name())
		}
	}
	return list, nil
}

// weaker refuses an account that may do more to the whole server than the
// current user.
func (s *session) weaker(ctx context.Context, a, like account) error {
	theirs, err := s.powers(ctx, a)
	if err != nil {
		return err
	}
	ours, err := s.powers(ctx, like)
	if err != nil {
		return err
	}
	if power := theirs.exceeds(ours); power != "" {
		return engine.Errorf(engine.TakeoverRefused, "use a user name without the suffix _clone, or take the privilege from that user", "the user %s has more power than %s: %s", a.name(), like.name(), power)
	}
	return nil
}

// alternate makes the other user equal to the current one and sets its password
// last.
func (s *session) alternate(ctx context.Context, p twoUsers, password, secret string, rehearsal bool) error {
	if rehearsal {
		return s.rehearseAlternate(ctx, p, password)
	}
	if err := s.lock(ctx, lockName(secret)); err != nil {
		return err
	}
	v, err := s.survey(ctx, p)
	if err != nil {
		return err
	}
	if s.dialect.marks() {
		if err := s.exec(ctx, "CREATE ROLE IF NOT EXISTS "+identifier(p.role())); err != nil {
			return err
		}
	}
	for _, like := range v.current {
		if at(v.other, like.host) == nil {
			a := account{user: p.other, host: like.host}
			if err := s.dialect.create(ctx, a, like, p.role(), password); err != nil {
				return err
			}
		} else if s.dialect.marks() && !v.marked[like.host] {
			v.unmarked = append(v.unmarked, account{user: p.other, host: like.host})
		}
	}
	if s.dialect.marks() {
		for _, a := range v.unmarked {
			if err := s.exec(ctx, "GRANT "+identifier(p.role())+" TO "+a.name()); err != nil {
				return err
			}
		}
	}
	if err := s.parity(ctx, p, v); err != nil {
		return err
	}
	// All is as it must be before the first password is set.
	others, err := s.dialect.accounts(ctx, p.other)
	if err != nil {
		return err
	}
	for _, like := range v.current {
		a := at(others, like.host)
		if a == nil || a.attributes != like.attributes || a.roles != like.roles || a.comment != like.comment {
			return engine.Errorf(engine.TargetFailed, "give both users the same attributes by hand", "the users %q and %q still differ for the host %q", p.current, p.other, like.host)
		}
		if err := s.dialect.setPassword(ctx, *a, like, password); err != nil {
			return err
		}
	}
	return nil
}

// rehearseAlternate proves what can be proved of alternate.
func (s *session) rehearseAlternate(ctx context.Context, p twoUsers, password string) error {
	v, err := s.survey(ctx, p)
	if err != nil {
		return err
	}
	var statements []string
	for _, like := range v.current {
		want, err := s.grants(ctx, like)
		if err != nil {
			return err
		}
		var have grants
		if a := at(v.other, like.host); a != nil {
			if have, err = s.grants(ctx, *a); err != nil {
				return err
			}
		}
		statements = append(statements, difference(want, have, nobody)...)
	}
	return s.dialect.rehearseOther(ctx, password, statements)
}

// lockName names the lock of a secret. Users cannot take it, as they do not know
// the ARN; names may have 64 characters.
func lockName(secret string) string {
	sum := sha256.Sum256([]byte("rotator lock\x00" + secret))
	return "rotator_" + hex.EncodeToString(sum[:16])
}

// parity gives the other user every right and attribute of the current one, and
// takes what the current one has not, accounts for other hosts included.
func (s *session) parity(ctx context.Context, p twoUsers, v survey) error {
	others, err := s.dialect.accounts(ctx, p.other)
	if err != nil {
		return err
	}
	for _, a := range others {
		like := at(v.current, a.host)
		if like == nil {
			if v.marked[a.host] {
				if err := s.exec(ctx, "DROP USER "+a.name()); err != nil {
					return err
				}
			}
			continue
		}
		if err := s.equalise(ctx, a, *like); err != nil {
			return err
		}
		if err := s.dialect.attributes(ctx, a, *like); err != nil {
			return err
		}
	}
	return nil
}

// equalise brings the rights of an account to those of another. It looks again
// after each pass: a server may answer one grant with another, as where a
// restriction ends with what it restricts.
func (s *session) equalise(ctx context.Context, a, like account) error {
	for pass := 0; ; pass++ {
		want, err := s.grants(ctx, like)
		if err != nil {
			return err
		}
		have, err := s.grants(ctx, a)
		if err != nil {
			return err
		}
		statements := difference(want, have, a)
		if statements == nil {
			return nil
		}
		if pass == 3 {
			return engine.Errorf(engine.TargetFailed, "give both users the same rights by hand", "the rights of %s and %s still differ: %s", a.name(), like.name(), strings.Join(statements, "; "))
		}
		for _, statement := range statements {
			if err := s.exec(ctx, statement); err != nil {
				return err
			}
		}
	}
}

// patch returns the JSON merge patch that makes one object of another: MySQL
// merges an ATTRIBUTE into what is there. "" stands for no object.
// Source: RFC 7396
func patch(from, to string) (string, error) {
	var old, next map[string]any
	for _, p := range []struct {
		text string
		into *map[string]any
	}{{from, &old}, {to, &next}} {
		if p.text == "" {
			continue
		}
		dec := json.NewDecoder(strings.NewReader(p.text))
		dec.UseNumber()
		if err := dec.Decode(p.into); err != nil {
			return "", err
		}
	}
	out, err := json.Marshal(merge(old, next))
	return string(out), err
}

func merge(old, next map[string]any) map[string]any {
	patch := map[string]any{}
	for k := range old {
		if _, ok := next[k]; !ok {
			patch[k] = nil
		}
	}
	for k, v := range next {
		inner, both := old[k].(map[string]any)
		outer, object := v.(map[string]any)
		if both && object {
			patch[k] = merge(inner, outer)
		} else {
			patch[k] = v
		}
	}
	return patch
}
