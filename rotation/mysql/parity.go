package mysql

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// parity gives an account the rights of the current user's account. Anyone with a right's grant option can grant that
// right to either user. Such a right is copied if possible, and never stops a rotation. A right that an administrator
// granted is never lost silently.
//
// The second user also loses what the first lacks. The first loses nothing: people may have granted it a right while
// the second was current, or revoked one only from the second.
type parity struct {
	*target
	from, to account // to is nobody in a rehearsal
	have     *account
	newborn  bool // nothing uses the other account yet, so a refusal does no harm
	send     func(ctx context.Context, statement string) error
	left     map[right]string  // the remaining differences, each with a warning or ""
	grantors map[string]string // who granted what the current account has, by object
}

// level makes an account's rights equal to the current one's. It compares after each pass, because a restriction can
// appear or disappear with the right that it restricts.
func (t *target) level(ctx context.Context, current, other account) error {
	p := &parity{target: t, from: current, to: other, have: &other, newborn: other.newborn,
		send: t.alter, left: map[right]string{}}
	for pass := 0; ; pass++ {
		toTake, toGive, err := p.differences(ctx)
		switch {
		case err != nil:
		case len(toTake)+len(toGive) == 0:
			p.warn()
			return nil
		case pass == 4:
			err = p.settle(ctx, toTake, toGive)
		default:
			if err = p.take(ctx, toTake); err == nil {
				err = p.give(ctx, toGive)
			}
		}
		if err != nil {
			return err
		}
	}
}

// rehearseRights grants the missing rights to a user that does not exist: the server checks the grantor's privileges
// first. Revocations need no rehearsal, because a change skips rights that the superuser may not revoke. A restricted
// superuser passes its restrictions on with its rights.
func (t *target) rehearseRights(ctx context.Context, current account, other *account) error {
	p := &parity{target: t, from: current, to: nobody, have: other, newborn: other == nil || other.newborn,
		left: map[right]string{}}
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
	if err == nil {
		err = p.give(ctx, slices.DeleteFunc(toGive, func(r right) bool { return r.revoke }))
	}
	p.warn()
	return err
}

// differences returns the rights to revoke from and to grant to the account, except those in left.
func (p *parity) differences(ctx context.Context) (toTake, toGive []right, err error) {
	want, err := p.rights(ctx, p.from)
	if err != nil {
		return nil, nil, err
	}
	have := rights{}
	if p.have != nil {
		if have, err = p.rights(ctx, *p.have); err != nil {
			return nil, nil, err
		}
	}
	toTake, toGive = difference(want, have)
	for _, r := range toTake {
		_, known := p.left[r]
		switch {
		case known || !p.toFirst():
		case !r.revoke:
			p.left[r] = fmt.Sprintf("the user %s keeps a right that %s lacks until the next rotation; to revoke it: %s",
				p.have.name(), p.from.name(), r.take(*p.have))
		case !want[right{name: r.name, object: "*.*"}]:
			p.left[r] = "" // it restricts a right that stays
		}
	}
	stays := func(r right) bool { _, ok := p.left[r]; return ok }
	return slices.DeleteFunc(toTake, stays), slices.DeleteFunc(toGive, stays), nil
}

// take revokes rights. A right that the superuser may not revoke was granted by another user.
func (p *parity) take(ctx context.Context, list []right) error {
	for _, r := range list {
		err := p.send(ctx, r.take(p.to))
		switch c := code(err); {
		case errors.Is(err, engine.PrivilegeMissing):
			p.keep(r)
		case c == noSuchGrant, c == noSuchTableGrant, c == noSuchRoutineGrant: // already revoked
		case err != nil:
			return err
		}
	}
	return nil
}

func (p *parity) keep(r right) {
	p.left[r] = fmt.Sprintf("the user %s has a right that %s lacks and that the superuser may not revoke: %s",
		p.to.name(), p.from.name(), r.take(p.to))
}

// give grants rights in groups, or one by one if a group is refused. Restrictions come last: other grants may add them.
func (p *parity) give(ctx context.Context, list []right) error {
	if len(list) == 0 {
		return nil
	}
	if !list[0].revoke {
		list = slices.DeleteFunc(list, func(r right) bool { return r.revoke })
	}
	// The owner of a table can lock it indefinitely.
	if err := p.Exec(ctx, "SET SESSION lock_wait_timeout = 2"); err != nil {
		return err
	}
	for _, group := range groups(list) {
		err := p.try(ctx, group)
		for i := 0; err != nil && i < len(group); i++ {
			one := err
			if len(group) > 1 && !locked(err) {
				one = p.try(ctx, group[i:i+1])
			}
			if one = p.refused(ctx, group[i], one); one != nil {
				return one
			}
		}
	}
	return p.Exec(ctx, "SET SESSION lock_wait_timeout = "+lockWait)
}

// try grants rights on one object. Once a wait for a lock has timed out, it skips rights that strangers granted.
func (p *parity) try(ctx context.Context, group []right) error {
	if p.stuck != nil {
		if origin, err := p.origin(ctx, group[0]); err != nil || origin == stranger {
			return cmp.Or(err, p.stuck)
		}
	}
	err := p.send(ctx, give(group, p.to))
	if locked(err) {
		p.stuck = err
	}
	return err
}

// refused decides whether the refusal of a right stops the rotation.
func (p *parity) refused(ctx context.Context, r right, refusal error) error {
	if code(refusal) == 0 {
		return refusal
	}
	if unusable(refusal) {
		p.left[r] = ""
		return nil
	}
	origin, err := p.origin(ctx, r)
	switch {
	case err != nil:
		return err
	case origin == administrator, origin == unknown && (p.newborn || !errors.Is(refusal, engine.PrivilegeMissing)):
		return refusal
	}
	p.lose(r, refusal.Error())
	return nil
}

func (p *parity) lose(r right, why string) {
	p.left[r] = fmt.Sprintf("the user %s does not get a right that %s has, which a stranger may have granted: %s: %s",
		p.change.Pending, p.from.name(), give([]right{r}, p.to), why)
}

func (p *parity) settle(ctx context.Context, toTake, toGive []right) error {
	for _, r := range toTake {
		p.keep(r)
	}
	for _, r := range toGive {
		if origin, err := p.origin(ctx, r); err != nil || origin == administrator {
			return cmp.Or(err, error(engine.Errorf(engine.TargetFailed, "give both users the same rights by hand",
				"the rights of %s and %s still differ: %s", p.to.name(), p.from.name(), give([]right{r}, p.to))))
		}
		p.lose(r, "it keeps changing")
	}
	return nil
}

func (p *parity) warn() {
	for _, text := range slices.Sorted(maps.Values(p.left)) {
		if text != "" {
			p.change.Request.Warn(text)
		}
	}
}

// unusable reports whether a right is on an object that does not exist or cannot be opened, so nobody can use it.
func unusable(err error) bool {
	absent := []int{unknownColumn, noSuchTable, brokenMerge, noSuchRoutine, brokenView, noSuchDefiner}
	return slices.Contains(absent, code(err))
}

type origin int

const (
	unknown       origin = iota // anyone with its grant option; the server does not record who
	stranger                    // a user who is not an administrator
	administrator               // only an administrator
)

// origin looks up who granted a right of the current account. Servers do not store that for databases and roles.
func (p *parity) origin(ctx context.Context, r right) (origin, error) {
	if r.revoke || r.object == "*.*" && !dynamic(r.name) || r.object == markObject(p.mark()) {
		return administrator, nil
	}
	if p.grantors == nil {
		p.grantors = map[string]string{}
		of := " WHERE User = " + text(p.from.user) + " AND Host = " + text(p.from.host)
		rows, err := p.Texts(ctx, "the grantors cannot be read",
			"SELECT '', Db, '.', Table_name, Grantor FROM mysql.tables_priv"+of+
				" UNION ALL SELECT CONCAT(Routine_type, ' '), Db, '.', Routine_name, Grantor FROM mysql.procs_priv"+of+
				" UNION ALL SELECT '', Proxied_user, '@', Proxied_host, Grantor FROM mysql.proxies_priv"+of)
		if err != nil {
			return unknown, err
		}
		for _, row := range rows {
			p.grantors[row[0]+identifier(row[1])+row[2]+identifier(row[3])] = row[4]
		}
	}
	grantor, ok := p.grantors[r.object]
	if !ok {
		return unknown, nil
	}
	// A grantor is a user name and the address of its client.
	accounts, err := p.accounts(ctx, grantor[:max(strings.LastIndexByte(grantor, '@'), 0)], "")
	if err != nil || len(accounts) == 0 {
		return stranger, err
	}
	for _, a := range accounts {
		if power, err := p.Administrator(ctx, &a); err != nil || power == "" {
			return stranger, err
		}
	}
	return administrator, nil
}
