package influxdb

import (
	"context"
	"maps"
	"slices"

	"example.com/rotator/rotation/engine"
)

// twoUsers are the two users that alternate.
type twoUsers struct {
	users          users
	current, other string
	proved         bool // other is proved to be the secret's own
}

// alternate makes the other user equal to the current one and sets its password.
//
// InfluxDB keeps nothing of a user by which it could be marked. So it is made with
// the pending password at once, which the secret has stored: by that a repeated
// call proves whose it is.
func (s *session) alternate(ctx context.Context, p twoUsers, password string, rehearsal bool) error {
	if p.current == s.target.User {
		return engine.Errorf(engine.TakeoverRefused, "give the superuser a secret of its own", "the superuser %q cannot alternate with itself", s.target.User)
	}
	if err := p.users.plain(p.current, true); err != nil {
		return err
	}
	admin, exists := p.users[p.other]
	switch {
	case admin:
		return engine.Errorf(engine.TakeoverRefused, "use a user name without the suffix _clone, or REVOKE ALL PRIVILEGES from that user", "the user %q has all privileges and %q has not", p.other, p.current)
	case exists && !p.proved:
		return engine.Errorf(engine.TakeoverRefused, "if it is this secret's second user all the same, drop it as an administrator: the rotation makes it again",
			"the user %q exists, and nothing but its name says that it belongs to %q", p.other, p.current)
	}
	want, err := s.grants(ctx, p.current)
	if err != nil || rehearsal {
		return err
	}
	if !exists {
		if _, err := s.query(ctx, "making a user", "CREATE USER "+identifier(p.other)+" WITH PASSWORD "+literal(password)); err != nil {
			return err
		}
	}
	if err := s.level(ctx, p.other, want); err != nil {
		return err
	}
	return s.password(ctx, p.other, password)
}

// grants reads a user's privileges by database.
func (s *session) grants(ctx context.Context, user string) (map[string]string, error) {
	const what = "reading a user's grants"
	rows, err := s.query(ctx, what, "SHOW GRANTS FOR "+identifier(user))
	if err != nil {
		return nil, err
	}
	grants := map[string]string{}
	for _, row := range rows {
		database, ok := at[string](row, 0)
		privilege, ok2 := at[string](row, 1)
		if !ok || !ok2 {
			return nil, engine.Errorf(engine.TargetFailed, "check that the server is InfluxDB 1", "%s is answered with something else than was asked for", what)
		}
		// What was revoked stays in the list by this name.
		if privilege != "NO PRIVILEGES" {
			grants[database] = privilege
		}
	}
	return grants, nil
}

// statements are the privileges as GRANT has them, by their names in SHOW GRANTS.
var statements = map[string]string{"READ": "READ", "WRITE": "WRITE", "ALL PRIVILEGES": "ALL"}

// level makes a user's grants equal to those wanted, and looks whether that came
// about.
func (s *session) level(ctx context.Context, user string, want map[string]string) error {
	have, err := s.grants(ctx, user)
	if err != nil {
		return err
	}
	for _, database := range slices.Sorted(maps.Keys(have)) {
		if _, ok := want[database]; ok {
			continue // a grant replaces the one before
		}
		if _, err := s.query(ctx, "taking a grant", "REVOKE ALL ON "+identifier(database)+" FROM "+identifier(user)); err != nil {
			return err
		}
	}
	for _, database := range slices.Sorted(maps.Keys(want)) {
		privilege := want[database]
		if have[database] == privilege {
			continue
		}
		statement, ok := statements[privilege]
		if !ok {
			return engine.Errorf(engine.TargetFailed, "report this", "the privilege %q on the database %q is not known here", privilege, database)
		}
		if _, err := s.query(ctx, "giving a grant", "GRANT "+statement+" ON "+identifier(database)+" TO "+identifier(user)); err != nil {
			return err
		}
	}
	if have, err = s.grants(ctx, user); err != nil || maps.Equal(have, want) {
		return err
	}
	return engine.Errorf(engine.TargetFailed, "let Secrets Manager repeat the step; if that fails, compare the two users by SHOW GRANTS",
		"the grants of %q are not those of the current user: it has some on %q, which has some on %q", user, slices.Sorted(maps.Keys(have)), slices.Sorted(maps.Keys(want)))
}
