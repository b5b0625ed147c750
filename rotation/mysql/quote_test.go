package mysql_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

// awkward are names and passwords that reveal mistakes in quoting.
var awkward = []string{
	`plain`, `it's`, `''`, `\`, `\'`, `x\`, "`", "a`b``", `"`, `%`, `_%`, `;`, `a; DROP USER b; --`, `-- `,
	`/*`, `#`, `a TO b`, ` TO '%'`,
	"new\nline", "tab\t", "\r\n", "\x1a", "é", "名前", `' OR ''='`, `@`, `a@b`, `'@'%`, `?`, `{}`, "trailing ",
	" leading", `$1`, `%s`, "\u2028", `RETAIN CURRENT PASSWORD`,
}

func TestAwkwardNamesAndPasswords(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, s := range awkward {
			f.awkward(t, s, s)
			f.awkward(t, "plain", s+"😀")
		}
	})
}

// awkward rotates a user whose name and passwords contain the given strings, with every statement of the engine. The
// name may also be refused with a clear error.
func (f *fixture) awkward(t *testing.T, name, password string) {
	t.Helper()
	// The unique part is short: names have at most 32 characters.
	user := name + testserver.Unique("")
	clone := user + "_clone"
	if _, err := f.db.Exec("CREATE USER " + account(user, "%") + " IDENTIFIED BY 'First-Pw-1'"); err != nil {
		t.Logf("%q is no name for the server: %v", user, err)
		return
	}
	defer func() {
		for _, u := range []string{strings.TrimSpace(user), user, clone} {
			// The second name may still be too long for the server.
			_, _ = f.db.Exec("DROP USER IF EXISTS " + account(u, "%"))
		}
	}()
	all, bystanders := f.users("", ""), f.users(user, clone)
	first, second, third := "First-Pw-1", password+"2nd", "3rd"+password
	r := f.single(user, first, second)
	err := f.engine.Set(context.Background(), r)
	if errors.Is(err, engine.InvalidSecret) || errors.Is(err, engine.PolicyRejected) {
		if f.users("", "") != all {
			t.Errorf("user %q, password %q: refused, and users have changed", user, second)
		}
		return
	}
	if err != nil {
		t.Errorf("user %q, password %q: %v", user, second, err)
		return
	}
	if err := f.login(user, second); err != nil {
		t.Errorf("user %q, password %q: %v", user, second, err)
	}
	a := f.alternating(user, second, clone, third)
	if _, err := f.engine.Next(context.Background(), a); err == nil {
		if err := f.engine.Set(context.Background(), a); err != nil {
			t.Errorf("second user %q, password %q: %v", clone, third, err)
		} else if err := f.login(clone, third); err != nil {
			t.Errorf("second user %q, password %q: %v", clone, third, err)
		}
	}
	if after := f.users(user, clone); after != bystanders {
		t.Errorf("user %q, password %q: other users have changed:\n%s\n%s", user, password, bystanders, after)
	}
}

// users returns all accounts except those of the given users and the marks.
func (f *fixture) users(but ...string) string {
	f.t.Helper()
	rows, err := f.db.Query("SELECT CONCAT(User, '@', Host, ' ', authentication_string) FROM mysql.user WHERE User "+
		"NOT IN (?, ?) AND User NOT LIKE 'rotator%' ORDER BY 1", but[0], but[1])
	if err != nil {
		f.t.Fatal(err)
	}
	defer rows.Close()
	var b strings.Builder
	for rows.Next() {
		var row string
		if err := rows.Scan(&row); err != nil {
			f.t.Fatal(err)
		}
		b.WriteString(row + "\n")
	}
	return b.String()
}

// FuzzQuoting sends names and passwords through the real server's parser.
func FuzzQuoting(f *testing.F) {
	for _, s := range awkward {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, name, password string) {
		if !utf8.ValidString(name) || !utf8.ValidString(password) || strings.ContainsRune(name+password, 0) ||
			len(password) > 200 {
			return // a secret cannot hold it, or the engine refuses it before it connects
		}
		server := sharedMariaDB(t, serverOptions{AllowPlaintext: true})
		newFixture(t, "mariadb", server).awkward(t, name, password)
	})
}
