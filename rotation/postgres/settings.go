package postgres

import (
	"context"
	"maps"
	"slices"
	"strings"

	"example.com/rotator/rotation/internal/pgsession"
)

// lists are a role's settings whose stored text is a list of quoted names, which must be set item by item.
// Source: https://github.com/postgres/postgres/blob/master/src/include/utils/guc.h (GUC_LIST_QUOTE)
var lists = []string{"local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces"}

// setting is a default of a role's sessions, in one database or, with database "", in all.
type setting struct{ database, name string }

// settings copies the current user's settings to the other user and reports those that the login may not set. A second
// user's sessions become the first, unless settings of the first or of a database make both a third role.
func (t *target) settings(ctx context.Context, first string, current, other *role) error {
	all := map[string]map[setting]string{current.oid: {}, other.oid: {}, "0": {}} // "0": for all roles
	rows, err := t.Query(ctx, "the settings could not be read", 4, `SELECT setrole, coalesce(datname, ''), key, value
	FROM pg_db_role_setting LEFT JOIN pg_database d ON d.oid = setdatabase, unnest(setconfig) c,
		LATERAL (VALUES (split_part(c, '=', 1), substr(c, strpos(c, '=') + 1))) v (key, value)
	WHERE setrole IN ($1, $2) OR setrole = 0 AND key = 'role'`, current.oid, other.oid)
	if err != nil {
		return err
	}
	for _, row := range rows {
		all[row[0]][setting{row[1], row[2]}] = row[3]
	}
	want, have, roles, become := all[current.oid], all[other.oid], all["0"], setting{"", "role"}
	becomes := want[become] == first
	maps.DeleteFunc(want, func(s setting, text string) bool {
		return s.name == "role" && (text == current.name || text == other.name)
	})
	_, third := want[become]
	switch {
	case third:
	case other.name != first:
		want[become] = first
		for s, text := range roles {
			if _, own := want[s]; !own {
				want[s] = text // the second user's own setting would hide it
			}
		}
	case !becomes: // the sessions of a second user that AWS's templates created
		if err := t.change(ctx, current.name, become, " SET ", first); err != nil {
			return err
		}
	}
	for s := range have {
		if _, keep := want[s]; !keep {
			if err := t.change(ctx, other.name, s, " RESET "); err != nil {
				return err
			}
		}
	}
	for s, text := range want {
		was, kept := have[s]
		role, shared := roles[s]
		if kept && was == text || shared && role == text && other.name == first {
			continue
		}
		items := []string{text}
		if slices.Contains(lists, s.name) && text != "" {
			items = pgsession.Names(text)
		}
		if err := t.change(ctx, other.name, s, " SET ", items...); err != nil {
			return err
		}
	}
	return nil
}

// change sets or resets a setting. It reports one that the login may not change, except role, which is required.
func (t *target) change(ctx context.Context, role string, s setting, verb string, items ...string) error {
	format, args := "ALTER ROLE %I", []string{role}
	if s.database != "" {
		format, args = format+" IN DATABASE %I", append(args, s.database)
	}
	format += verb + strings.Repeat(".%I", strings.Count(s.name, ".")+1)[1:]
	args = append(args, strings.Split(s.name, ".")...)
	if items != nil {
		format += " TO " + strings.Repeat(", %L", len(items))[2:]
	}
	do := func() error { return t.grant(ctx, format, append(args, items...)...) }
	if s.name == "role" {
		return do()
	}
	refused, err := t.optional(ctx, do)
	if refused != nil {
		t.Request.Warn("the setting " + s.name + " of the one user could not be given to " + role + ": " +
			pgsession.Code(refused))
	}
	return err
}
