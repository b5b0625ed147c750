package postgres

import (
	"context"
	"slices"
	"strings"

	"example.com/rotator/rotation/internal/pgsession"
)

// differing returns the settings to change: user, database or "" for all, name, whether to reset it, and text. The
// other user, $2, gets the settings of the current one, $1; $3 is the first of the two. The sessions of a second user
// become the first, unless a setting of the first or of a database makes both a third role. The last part does that
// for a second user that AWS's template created, while it is current.
const differing = `WITH setting AS (
	SELECT setrole, setdatabase AS base, split_part(c, '=', 1) AS key, substr(c, strpos(c, '=') + 1) AS value
	FROM pg_db_role_setting, unnest(setconfig) c
), becoming AS (
	SELECT base, key, value FROM setting WHERE setrole = 0 AND base <> 0 AND key = 'role'
	UNION ALL SELECT 0::oid, 'role', pg_get_userbyid($3)::text
), own AS (
	SELECT base, key, value FROM setting
	WHERE setrole = $1 AND ($2 <> $3 OR (base, key, value) NOT IN (SELECT * FROM becoming))
), want AS (
	SELECT * FROM own UNION ALL SELECT * FROM becoming b
	WHERE $2 <> $3 AND NOT EXISTS (SELECT FROM own WHERE key = 'role' AND base IN (0, b.base))
), have AS (SELECT base, key, value FROM setting WHERE setrole = $2)
SELECT pg_get_userbyid($2)::text, coalesce(datname::text, ''), key, want.value IS NULL, want.value
FROM want FULL JOIN have USING (base, key) LEFT JOIN pg_database d ON d.oid = base
WHERE want.value IS DISTINCT FROM have.value
UNION ALL SELECT pg_get_userbyid($1)::text, '', 'role', false, pg_get_userbyid($3)::text
WHERE $2 = $3 AND NOT EXISTS (SELECT FROM setting WHERE setrole = $1 AND base = 0 AND key = 'role')`

// settings copies the current user's settings to the other user. It reports those that the login may not set, except
// role, which is required.
func (t *target) settings(ctx context.Context, first, current, other *role) error {
	rows, err := t.Query(ctx, "the settings could not be read", 5, differing, current.oid, other.oid, first.oid)
	for _, row := range rows {
		user, name := row[0], row[2]
		change := func() error { return t.setting(ctx, user, row[1], name, row[3] == "t", row[4]) }
		if name == "role" {
			err = change()
		} else {
			var refused error
			if refused, err = t.optional(ctx, change); refused != nil {
				t.Request.Warn("the setting " + name + " of the one user could not be given to " + user + ": " +
					pgsession.Code(refused))
			}
		}
		if err != nil {
			break
		}
	}
	return err
}

// lists are a role's settings whose stored text is a list of quoted names, which must be set item by item.
// Source: https://github.com/postgres/postgres/blob/master/src/include/utils/guc.h (GUC_LIST_QUOTE)
var lists = []string{"local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces"}

func (t *target) setting(ctx context.Context, user, database, name string, reset bool, text string) error {
	statement, quoted := "ALTER ROLE "+pgsession.Quote(user), strings.ReplaceAll(pgsession.Quote(name), ".", `"."`)
	if database != "" {
		statement += " IN DATABASE " + pgsession.Quote(database)
	}
	if reset {
		return t.Change(ctx, statement+" RESET "+quoted)
	}
	items := []string{text}
	if slices.Contains(lists, name) && text != "" {
		items = pgsession.Names(text)
	}
	statement += " SET " + quoted + " TO"
	err := t.exec(ctx, statement, items...)
	if err == nil {
		t.Request.Changed(statement + " ...")
	}
	return err
}
