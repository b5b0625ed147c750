package postgres

import (
	"context"
	"maps"
	"slices"
	"strings"

	"example.com/rotator/rotation/internal/pgsession"
)

// lists are the settings whose stored text is a list of quoted names, which must be set item by item.
// Source: https://github.com/postgres/postgres/blob/master/src/include/utils/guc.h (GUC_LIST_QUOTE)
var lists = []string{"local_preload_libraries", "search_path", "session_preload_libraries",
	"shared_preload_libraries", "temp_tablespaces", "unix_socket_directories"}

// setting is a default of a role's sessions, in one database or, with database "", in all.
type setting struct{ database, name string }

// settings copies the current user's settings to the other user and reports those that the login may not set. A second
// user's sessions become the first, unless settings of the first or of the database make both a third role.
func (t *target) settings(ctx context.Context, first string, current, other *role) error {
	all := map[string]map[setting]string{current.oid: {}, other.oid: {}, "0": {}} // "0" means all roles
	rows, err := t.Query(ctx, "the settings could not be read", 4, `SELECT
	s.setrole, coalesce(d.datname, ''), split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)
	FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase,
		unnest(s.setconfig) c
	WHERE s.setrole IN ($1, $2, 0)`, current.oid, other.oid)
	if err != nil {
		return err
	}
	for _, row := range rows {
		all[row[0]][setting{row[1], row[2]}] = row[3]
	}
	begin, have, general := all[current.oid], all[other.oid], all["0"]
	want := maps.Clone(begin)
	maps.DeleteFunc(want, func(s setting, text string) bool {
		return s.name == "role" && (text == current.name || text == other.name)
	})
	roleOf := setting{"", "role"}
	if _, third := want[roleOf]; !third {
		if other.name != first {
			want[roleOf] = first
			for s, text := range general {
				if _, own := want[s]; s.name == "role" && !own {
					want[s] = text // the second user's own setting would hide it
				}
			}
		}
		if current.name != first && begin[roleOf] != first {
			// The sessions of a second user that AWS's templates created do not become the first yet.
			if err := t.assign(ctx, current.name, roleOf, first); err != nil {
				return err
			}
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
		if was, ok := have[s]; ok && was == text {
			continue
		}
		if was, ok := general[s]; ok && was == text && other.name == first {
			continue
		}
		if err := t.assign(ctx, other.name, s, text); err != nil {
			return err
		}
	}
	return nil
}

func (t *target) assign(ctx context.Context, role string, s setting, text string) error {
	items := []string{text}
	if slices.Contains(lists, s.name) && text != "" {
		items = pgsession.Names(text)
	}
	return t.change(ctx, role, s, " SET ", items...)
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
