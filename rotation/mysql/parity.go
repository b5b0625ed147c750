package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// parity gives an account the rights of the current user's account. Anyone with a right's grant option can grant that
// right to either user, and servers do not record who granted a right on a database or a role. So only the rights that
// administrators alone can grant, default roles, and those on the secret's database must be copied. Any other right
// that cannot be copied or revoked causes a warning, and does not stop a rotation.
//
// The second user also loses what the first lacks. The first loses nothing: people may have granted it a right while
// the second was current, or revoked one only from the second.
type parity struct {
	*target
	from, to account // to is nobody in a rehearsal
	have     *account
	send     func(ctx context.Context, statement string) error
	left     map[right]bool  // the differences that remain
	locked   map[string]bool // the databases of tables for whose locks a grant has waited in vain
}

// level makes an account's rights equal to the current one's. It compares after each pass, because a restriction can
// appear or disappear with the right that it restricts.
func (t *target) level(ctx context.Context, current, other account) error {
	p := &parity{target: t, from: current, to: other, have: &other, send: t.alter, left: map[right]bool{},
		locked: map[string]bool{}}
	for range 4 {
		toTake, toGive, err := p.differences(ctx)
		if err == nil {
			err = p.take(ctx, toTake)
		}
		if err == nil {
			err = p.give(ctx, toGive)
		}
		if err != nil || len(toTake)+len(toGive) == 0 {
			return err
		}
	}
	_, toGive, err := p.differences(ctx)
	for _, r := range toGive {
		if p.required(r) {
			return engine.Errorf(engine.TargetFailed, "give both users the same rights by hand",
				"the rights of %s and %s still differ: %s", p.to.name(), p.from.name(), r.give(p.to))
		}
		p.lose(r, "it keeps changing")
	}
	return err
}

// rehearseRights grants the missing rights to a user that does not exist: the server checks the grantor's privileges
// first. Revocations need no rehearsal, because a change skips rights that the superuser may not revoke. A restricted
// superuser passes its restrictions on with its rights.
func (t *target) rehearseRights(ctx context.Context, current account, other *account) error {
	p := &parity{target: t, from: current, to: nobody, have: other, left: map[right]bool{}, locked: map[string]bool{}}
	p.send = func(ctx context.Context, statement string) error {
		err := t.Exec(ctx, statement)
		if code(err) == grantCreatesNoUser || errors.Is(err, engine.TargetFailed) && !locked(err) {
			return nil // there is no such user
		}
		return err
	}
	if err := p.send(ctx, marking(t.mark(), nobody)); err != nil {
		return err
	}
	_, toGive, err := p.differences(ctx)
	if err != nil {
		return err
	}
	return p.give(ctx, slices.DeleteFunc(toGive, func(r right) bool { return r.revoke }))
}

// differences returns the rights to revoke from and to grant to the account, except those in left.
func (p *parity) differences(ctx context.Context) (toTake, toGive []right, err error) {
	want, err := p.rights(ctx, p.from)
	have := rights{}
	if err == nil && p.have != nil {
		have, err = p.rights(ctx, *p.have)
	}
	if err != nil {
		return nil, nil, err
	}
	toTake, toGive = difference(want, have)
	toFirst := p.change.Current == p.change.Pending+p.change.Kind.CloneSuffix
	for _, r := range toTake {
		switch {
		case p.left[r] || !toFirst:
		case !r.revoke:
			p.leave(r, "the user %s keeps a right that %s lacks until the next rotation; to revoke it: %s",
				p.have.name(), p.from.name(), r.take(*p.have))
		case !want[right{name: r.name, object: "*.*"}]:
			p.left[r] = true // it restricts a right that stays
		}
	}
	stays := func(r right) bool { return p.left[r] }
	return slices.DeleteFunc(toTake, stays), slices.DeleteFunc(toGive, stays), nil
}

// leave lets a difference remain, with a warning.
func (p *parity) leave(r right, format string, args ...any) {
	p.left[r] = true
	p.change.Request.Warn(fmt.Sprintf(format, args...))
}

func (p *parity) lose(r right, why string) {
	p.leave(r, "the user %s does not get a right that %s has: %s: %s",
		p.change.Pending, p.from.name(), r.give(p.to), why)
}

// take revokes rights. A right that the superuser may not revoke was granted by another user.
func (p *parity) take(ctx context.Context, list []right) error {
	for _, r := range list {
		err := p.send(ctx, r.take(p.to))
		switch {
		case errors.Is(err, engine.PrivilegeMissing):
			p.leave(r, "the user %s has a right that %s lacks and that the superuser may not revoke: %s",
				p.to.name(), p.from.name(), r.take(p.to))
		case absent(err):
			p.left[r] = true
		case err != nil:
			return err
		}
	}
	return nil
}

// give grants rights, and restrictions later. It does not wait for every table that a stranger has locked, which can be
// indefinitely.
func (p *parity) give(ctx context.Context, list []right) error {
	if len(list) == 0 {
		return nil
	}
	if err := p.Exec(ctx, "SET SESSION lock_wait_timeout = 2"); err != nil {
		return err
	}
	for _, r := range list {
		if r.revoke && !list[0].revoke {
			break // the grants may have added this restriction
		}
		database, required := quotation().FindString(r.object), p.required(r)
		if !required && (p.locked[database] || len(p.locked) == 3) {
			p.lose(r, "a table is locked")
			continue
		}
		err := p.send(ctx, r.give(p.to))
		switch {
		case err == nil:
		case absent(err):
			p.left[r] = true
		case required || code(err) == 0: // or the server did not answer
			return err
		default:
			if locked(err) {
				p.locked[database] = true
			}
			p.lose(r, err.Error())
		}
	}
	return p.Exec(ctx, "SET SESSION lock_wait_timeout = "+lockWait)
}

// required reports whether a rotation stops if the account does not get a right. Default roles are activated later.
func (p *parity) required(r right) bool {
	database, _ := p.change.Request.Current.Text("dbname")
	return r.revoke || r.object == "*.*" && !dynamic(r.name) || r.object == identifier(p.mark())+".*" ||
		r.object == "" && strings.Contains(p.from.roles, r.name) ||
		strings.HasSuffix(r.object, ".*") && covers(r.object, database)
}

// absent reports whether a right does not exist, or is on an object that does not exist or cannot be opened, so nobody
// can use it.
func absent(err error) bool {
	return slices.Contains([]int{unknownColumn, noSuchGrant, noSuchTable, noSuchTableGrant, brokenMerge, noSuchRoutine,
		brokenView, noSuchRoutineGrant, noSuchDefiner}, code(err))
}
