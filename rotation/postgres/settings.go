package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/rotation/internal/pgsession"
)

// lists are the settings whose stored text is a list of quoted names, which must
// be given back to the server item by item.
// Source: https://github.com/postgres/postgres/blob/master/src/include/utils/guc.h (GUC_LIST_QUOTE)
var lists = []string{"local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries", "temp_tablespaces", "unix_socket_directories"}

// setting is one value that a role's sessions begin with, in one database or,
// with database "", in all.
type setting struct{ database, name, text string }

// settings gives the other user's sessions the settings of the current one's. The sessions of a
// second user, moreover, become the first, unless the pair's sessions become a third role anyhow: by
// a setting of the first, or of the database. One that the login may not give is reported.
func (t *target) settings(ctx context.Context, first string, current, other *role) error {
	begin, err := t.readSettings(ctx, current.oid)
	if err != nil {
		return err
	}
	have, err := t.readSettings(ctx, other.oid)
	if err != nil {
		return err
	}
	general, err := t.readSettings(ctx, 0) // of databases, for all roles
	if err != nil {
		return err
	}
	pairOf := []string{current.name, other.name}
	own := func(v setting) bool { return v.name == "role" && slices.Contains(pairOf, v.text) }
	want := slices.DeleteFunc(slices.Clone(begin), own)
	third := slices.ContainsFunc(want, func(v setting) bool { return v.name == "role" && v.database == "" })
	if other.name != first && !third {
		want = append(want, setting{"", "role", first})
		for _, v := range general {
			if v.name == "role" && v.database != "" && !slices.ContainsFunc(want, func(w setting) bool { return w.name == "role" && w.database == v.database }) {
				want = append(want, v) // which the second user's own setting would hide
			}
		}
	}
	if became := (setting{"", "role", first}); current.name != first && !third && !slices.Contains(begin, became) {
		// A second user that AWS's templates made still works as itself.
		if err := t.assign(ctx, current.name, became); err != nil {
			return err
		}
	}
	for _, v := range have {
		if !slices.ContainsFunc(want, func(w setting) bool { return w.database == v.database && w.name == v.name }) {
			if err := t.change(ctx, other.name, v, t.reset); err != nil {
				return err
			}
		}
	}
	for _, v := range want {
		if slices.Contains(have, v) || other.name == first && slices.Contains(general, v) {
			continue
		}
		if err := t.change(ctx, other.name, v, t.assign); err != nil {
			return err
		}
	}
	return nil
}

// change changes a setting, or reports that the login may not. The role of the sessions is no
// setting to do without.
func (t *target) change(ctx context.Context, role string, v setting, do func(context.Context, string, setting) error) error {
	if v.name == "role" {
		return do(ctx, role, v)
	}
	denied, err := t.optional(ctx, func() error { return do(ctx, role, v) })
	if denied != nil {
		t.request.Warn("the setting " + v.name + " of the one user could not be given to " + role + ": " + code(denied))
	}
	return err
}

func (t *target) readSettings(ctx context.Context, role uint32) ([]setting, error) {
	rows, err := t.tx.Query(ctx, `SELECT coalesce(d.datname, ''), split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)
	FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) c
	WHERE s.setrole = $1`, role)
	if err != nil {
		return nil, t.classify("the role's settings could not be read", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (v setting, err error) {
		return v, row.Scan(&v.database, &v.name, &v.text)
	})
	return all, t.classify("the role's settings could not be read", err)
}

// scope begins the statement that changes a setting of a role.
func scope(role string, v setting) (string, []string) {
	name := strings.Repeat(".%I", strings.Count(v.name, ".")+1)[1:]
	if v.database == "" {
		return "ALTER ROLE %I SET " + name, append([]string{role}, strings.Split(v.name, ".")...)
	}
	return "ALTER ROLE %I IN DATABASE %I SET " + name, append([]string{role, v.database}, strings.Split(v.name, ".")...)
}

func (t *target) assign(ctx context.Context, role string, v setting) error {
	format, args := scope(role, v)
	items := []string{v.text}
	if slices.Contains(lists, v.name) {
		items = pgsession.Names(v.text)
	}
	if len(items) == 0 {
		items = []string{""}
	}
	return t.grant(ctx, format+" TO "+strings.Repeat(", %L", len(items))[2:], append(args, items...)...)
}

func (t *target) reset(ctx context.Context, role string, v setting) error {
	format, args := scope(role, v)
	return t.grant(ctx, strings.Replace(format, " SET ", " RESET ", 1), args...)
}
