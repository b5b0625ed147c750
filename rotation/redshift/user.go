package redshift

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"example.com/rotator/rotation/internal/pgsession"
)

// user is what the server knows of a user.
type user struct {
	name      string
	superuser bool
	createdb  bool
	limit     string // connections: a number or UNLIMITED
	syslog    string // RESTRICTED or UNRESTRICTED
	timeout   int    // of an idle session in seconds, 0 for none
	until     string // as the server writes it, "" for no end
	settings  []string
}

// attributes gives the other user the current one's attributes and settings.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_ALTER_USER.html
func (t target) attributes(ctx context.Context, current, other *user) error {
	alter := "ALTER USER " + name(other.name) + " "
	var clauses []string
	add := func(where bool, clause string) {
		if where {
			clauses = append(clauses, clause)
		}
	}
	add(current.createdb && !other.createdb, "CREATEDB")
	add(!current.createdb && other.createdb, "NOCREATEDB")
	add(current.limit != other.limit, "CONNECTION LIMIT "+current.limit)
	add(current.syslog != other.syslog, "SYSLOG ACCESS "+current.syslog)
	add(current.until != other.until, "VALID UNTIL "+text(cmp.Or(current.until, "infinity")))
	add(current.timeout != other.timeout && current.timeout > 0, "SESSION TIMEOUT "+strconv.Itoa(current.timeout))
	add(current.timeout == 0 && other.timeout > 0, "RESET SESSION TIMEOUT")
	for _, have := range other.settings {
		key, _, _ := strings.Cut(have, "=")
		add(!slices.ContainsFunc(current.settings, func(want string) bool { return strings.HasPrefix(want, key+"=") }), "RESET "+name(key))
	}
	for _, c := range clauses {
		if err := t.exec(ctx, alter+c); err != nil {
			return err
		}
	}
	for _, want := range current.settings {
		if slices.Contains(other.settings, want) {
			continue
		}
		key, value, _ := strings.Cut(want, "=")
		items := []string{value}
		if key == "search_path" {
			// The one setting that is a list of names, stored quoted.
			items = pgsession.Names(value)
		}
		var quoted []string
		for _, item := range items {
			quoted = append(quoted, text(item))
		}
		// A setting's value may be a key, which does not belong in an error or a log.
		shown := alter + "SET " + name(key)
		_, err := t.tx.Exec(ctx, shown+" TO "+strings.Join(quoted, ", "))
		if err = t.classify(shown, pgsession.Without(err, items)); err != nil {
			return err
		}
		t.change.Request.Changed(shown)
	}
	return nil
}
