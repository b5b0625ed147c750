package influxdb

import (
	"context"
	"maps"
	"slices"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/httpapi"
	"example.com/rotator/rotation/pair"
)

// target adapts the session to package pair. Only a user's password can serve as a mark in InfluxDB.
type target struct {
	*session
	engine   *Engine
	request  *engine.Request
	admins   map[string]bool // all users, true for those with all privileges
	password string
}

func (t target) Find(_ context.Context, name string) (*string, error) {
	if _, ok := t.admins[name]; !ok {
		return nil, nil
	}
	return &name, nil
}

func (t target) Administrator(_ context.Context, user *string) (string, error) {
	if t.admins[*user] {
		return "an administrator: it has all privileges", nil
	}
	return "", nil
}

func (t target) Exceeds(context.Context, *string, *string) (string, error) { return "", nil }

// Marked reports whether other still has its birth password, as after an interrupted step. AWSCURRENT must be proved: a
// writer who invents its password can also derive the birth password.
func (t target) Marked(ctx context.Context, _, other *string) (bool, error) {
	if !pair.ProvedCurrent(t.engine.Kind(), t.request) {
		return false, nil
	}
	login := t.Target
	login.User, login.Password = *other, pair.BirthPassword(t.request, *other)
	s := &session{httpapi.New(t.engine.tls, login, nil)}
	defer s.Close()
	err := s.login(ctx)
	if engine.CauseOf(err) == engine.LoginRefused {
		return false, nil
	}
	return err == nil, err
}

func (t target) Mark(_, other *string) string {
	return "drop " + *other + "; the next rotation creates it again"
}

func (t target) Rehearse(ctx context.Context, current, _ *string) error {
	if current == nil {
		return nil
	}
	_, err := t.grants(ctx, *current)
	return err
}

// Create sets the birth password, because the pending one must not open a user that lacks its grants.
func (t target) Create(ctx context.Context, _ *string, name string) (*string, error) {
	_, err := t.query(ctx, "creating a user",
		"CREATE USER "+identifier(name)+" WITH PASSWORD "+literal(pair.BirthPassword(t.request, name)))
	return &name, err
}

// Equalize changes the grants of other and checks the result.
func (t target) Equalize(ctx context.Context, current, other *string) error {
	want, err := t.grants(ctx, *current)
	if err != nil {
		return err
	}
	have, err := t.grants(ctx, *other)
	if err != nil {
		return err
	}
	var statements []string
	for database := range have {
		if _, ok := want[database]; !ok { // a new grant replaces the old one
			statements = append(statements,
				"REVOKE ALL PRIVILEGES ON "+identifier(database)+" FROM "+identifier(*other))
		}
	}
	for database, privilege := range want {
		if have[database] != privilege {
			statements = append(statements, "GRANT "+privilege+" ON "+identifier(database)+" TO "+identifier(*other))
		}
	}
	for _, statement := range statements {
		if _, err := t.query(ctx, "changing a grant", statement); err != nil {
			return err
		}
		t.request.Changed(statement)
	}
	if have, err = t.grants(ctx, *other); err != nil || maps.Equal(have, want) {
		return err
	}
	return engine.Errorf(engine.TargetFailed, "let Secrets Manager retry, or compare the users with SHOW GRANTS",
		"the grants of %q differ from the current user's: it has some on %q, the current user on %q",
		*other, slices.Sorted(maps.Keys(have)), slices.Sorted(maps.Keys(want)))
}

func (t target) SetPassword(ctx context.Context, user *string) error {
	return t.setPassword(ctx, *user, t.password)
}
