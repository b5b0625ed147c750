package mysql

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// parity gives an account the rights of the current user's. Anyone who holds a right with its grant
// option can grant it to either user. Such a right is copied where that is possible, and never stops
// a rotation. A right that an administrator granted is never lost silently.
type parity struct {
	target
	from     account // the current user's
	newborn  bool    // nothing uses the other account yet, so refusing loses nothing
	send     func(ctx context.Context, statement string) error
	left     map[right]string  // the differences that stay, with the warning or ""
	grantors map[string]string // who granted what the current account has, by object
}

// parity compares with t's current account. other is nil where it is to be created.
func (t target) parity(current account, other *account, send func(context.Context, string) error) *parity {
	newborn := other == nil || other.locked && !current.locked || !t.dialect.marks() && other.accepts(t.birth())
	return &parity{target: t, from: current, newborn: newborn, send: send, left: map[right]string{}}
}

// level brings the rights of an account to those of the current one. It looks again after each pass: a
// server may answer one grant with another, as where a restriction ends with what it restricts.
func (t target) level(ctx context.Context, other, current account) error {
	p := t.parity(current, &other, func(ctx context.Context, statement string) error { return t.alter(ctx, statement) })
	for pass := 0; ; pass++ {
		take, give, err := p.differences(ctx, &other)
		switch {
		case err != nil:
		case len(take)+len(give) == 0:
			p.warn()
			return nil
		case pass == 3:
			err = p.settle(ctx, take, give, other)
		default:
			if err = p.take(ctx, take, other); err == nil {
				err = p.give(ctx, give, other)
			}
		}
		if err != nil {
			return err
		}
	}
}

// rehearseRights gives the missing rights to a user that does not exist. The server first looks at the
// privileges of the user who grants. What the superuser may not revoke, a change leaves alone.
func (t target) rehearseRights(ctx context.Context, current account, other *account) error {
	p := t.parity(current, other, func(ctx context.Context, statement string) error {
		err := t.exec(ctx, statement)
		if code(err) == 1410 || errors.Is(err, engine.TargetFailed) && !locked(err) {
			return nil // there is no such user
		}
		return err
	})
	_, give, err := p.differences(ctx, other)
	if err == nil {
		err = p.give(ctx, give, nobody)
	}
	p.warn()
	return err
}

// differences returns the rights to take from and to give to an account, without those that stay.
func (p *parity) differences(ctx context.Context, other *account) (take []right, give []gift, err error) {
	want, err := p.grants(ctx, p.from)
	if err != nil {
		return nil, nil, err
	}
	var have grants
	if other != nil {
		if have, err = p.grants(ctx, *other); err != nil {
			return nil, nil, err
		}
	}
	take, give = difference(want, have)
	left := func(r right) bool { _, ok := p.left[r]; return ok }
	for i := range give {
		give[i].missing = slices.DeleteFunc(give[i].missing, left)
	}
	return slices.DeleteFunc(take, left), slices.DeleteFunc(give, func(g gift) bool { return len(g.missing) == 0 }), nil
}

// take revokes rights from an account. What the superuser may not revoke was granted by somebody else.
func (p *parity) take(ctx context.Context, rights []right, a account) error {
	for _, r := range rights {
		err := p.send(ctx, r.statement(a))
		switch {
		case errors.Is(err, engine.PrivilegeMissing):
			p.keep(r, a)
		case slices.Contains([]int{1141, 1147, 1403}, code(err)): // somebody else has just revoked it
		case err != nil:
			return err
		}
	}
	return nil
}

// keep leaves a right to an account.
func (p *parity) keep(r right, a account) {
	p.left[r] = fmt.Sprintf("the user %s has a right that %s does not have, and that the superuser may not take: %s", a.name(), p.from.name(), r.statement(a))
}

// give grants rows of rights to an account and, where the server refuses a row, each of its missing
// rights alone: one that cannot be granted takes no other with it.
func (p *parity) give(ctx context.Context, gifts []gift, a account) error {
	if len(gifts) == 0 {
		return nil
	}
	// The owner of a table can lock it for as long as it likes.
	if err := p.exec(ctx, "SET SESSION lock_wait_timeout = 2"); err != nil {
		return err
	}
	for _, g := range gifts {
		err := p.try(ctx, g.grant, a)
		if err == nil {
			continue
		}
		for _, r := range g.missing {
			one := g.alone(r)
			if one.statement(a) != g.statement(a) && !locked(err) {
				err = p.try(ctx, one, a)
			}
			if err == nil {
				continue
			}
			if err := p.refused(ctx, r, one, err); err != nil {
				return err
			}
		}
	}
	return p.exec(ctx, "SET SESSION lock_wait_timeout = 5")
}

// try grants a row. After one wait for a lock it does not wait for a stranger's tables again: there
// can be many.
func (p *parity) try(ctx context.Context, row grant, a account) error {
	if p.stuck != nil {
		if origin, err := p.origin(ctx, row); err != nil || origin == stranger {
			return cmp.Or(err, p.stuck)
		}
	}
	err := p.send(ctx, row.statement(a))
	if locked(err) {
		p.stuck = err
	}
	return err
}

// refused decides whether the refusal of a right stops the rotation.
func (p *parity) refused(ctx context.Context, r right, row grant, refusal error) error {
	if code(refusal) == 0 {
		return refusal
	}
	if unusable(refusal) {
		p.left[r] = ""
		return nil
	}
	origin, err := p.origin(ctx, row)
	switch {
	case err != nil:
		return err
	case origin == administrator, origin == unknown && (p.newborn || !errors.Is(refusal, engine.PrivilegeMissing)):
		return refusal
	}
	p.lose(r, row, refusal.Error())
	return nil
}

// lose leaves an account without a right.
func (p *parity) lose(r right, row grant, why string) {
	p.left[r] = fmt.Sprintf("the user %s does not get a right that %s has, and that need not come from an administrator: %s: %s",
		p.change.Pending, p.from.name(), row.head, why)
}

// settle ends the attempts where the rights keep changing.
func (p *parity) settle(ctx context.Context, take []right, give []gift, a account) error {
	const why = "somebody keeps changing it"
	stop := func(row grant, statement string) error {
		origin, err := p.origin(ctx, row)
		if err == nil && origin == administrator {
			err = engine.Errorf(engine.TargetFailed, "give both users the same rights by hand", "the rights of %s and %s still differ: %s", a.name(), p.from.name(), statement)
		}
		return err
	}
	for _, r := range take {
		if err := stop(grant{revoke: r.revoke, rights: []string{r.name}, object: r.object}, r.statement(a)); err != nil {
			return err
		}
		p.keep(r, a)
	}
	for _, g := range give {
		for _, r := range g.missing {
			one := g.alone(r)
			if err := stop(one, one.statement(a)); err != nil {
				return err
			}
			p.lose(r, one, why)
		}
	}
	return nil
}

// warn reports the differences that stay.
func (p *parity) warn() {
	for _, text := range slices.Sorted(maps.Values(p.left)) {
		if text != "" {
			p.change.Request.Warn(text)
		}
	}
}

// unusable reports whether a right is on something that does not exist or cannot be opened: a table,
// a column, a routine, or what a view or a merged table is made of. Nobody can use such a right.
func unusable(err error) bool {
	return slices.Contains([]int{1054, 1146, 1168, 1305, 1356, 1449}, code(err))
}

// origin says who can have granted a right.
type origin int

const (
	unknown       origin = iota // anyone who has it with its grant option; the server does not say
	stranger                    // somebody who is not an administrator
	administrator               // nobody else
)

// marks reports whether a role, as the server quotes it, is the mark of the pair.
func (p *parity) marks(role string) bool {
	name, err := scan(role)
	return err == nil && len(name) > 0 && name[0].text == p.role()
}

// origin looks up who granted a row of the current account's. The servers keep that for tables,
// columns, routines and PROXY, and not for databases and roles.
func (p *parity) origin(ctx context.Context, row grant) (origin, error) {
	switch {
	case row.revoke, row.object == "*.*" && !dynamic(row.rights[0]), row.object == "" && p.marks(row.rights[0]):
		return administrator, nil
	}
	if p.grantors == nil {
		p.grantors = map[string]string{}
		of := " WHERE User = " + text(p.from.user) + " AND Host = " + text(p.from.host)
		if err := p.rows(ctx, "the grantors", "SELECT '', Db, '.', Table_name, Grantor FROM mysql.tables_priv"+of+
			" UNION ALL SELECT CONCAT(Routine_type, ' '), Db, '.', Routine_name, Grantor FROM mysql.procs_priv"+of+
			" UNION ALL SELECT '', Proxied_user, '@', Proxied_host, Grantor FROM mysql.proxies_priv"+of, func(rows *sql.Rows) error {
			var kind, first, between, second, grantor string
			err := rows.Scan(&kind, &first, &between, &second, &grantor)
			p.grantors[kind+identifier(first)+between+identifier(second)] = grantor
			return err
		}); err != nil {
			return unknown, err
		}
	}
	grantor, ok := p.grantors[row.object]
	if !ok {
		return unknown, nil
	}
	// It is a user's name and the address of its client.
	accounts, err := p.dialect.accounts(ctx, grantor[:max(strings.LastIndexByte(grantor, '@'), 0)], p.role())
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
