package mysql

import (
	"slices"
	"strings"
	"testing"
)

var app = account{user: "app", host: "%"}

// rows builds rows of SHOW GRANTS from the texts before and after the name.
func rows(t *testing.T, list ...string) rights {
	t.Helper()
	set := rights{}
	for _, row := range list {
		if !strings.Contains(row, "app") {
			preposition := " TO "
			if strings.HasPrefix(row, "REVOKE") {
				preposition = " FROM "
			}
			before, after, _ := strings.Cut(row, " WITH")
			if row = before + preposition + "`app`@`%`"; after != "" {
				row += " WITH" + after
			}
		}
		if err := set.add(row, app); err != nil {
			t.Fatalf("%s: %v", row, err)
		}
	}
	return set
}

func TestDifferenceOfRights(t *testing.T) {
	clone := account{user: "app_clone", host: "%"}
	const to = "'app_clone'@'%'"
	for name, c := range map[string]struct{ want, have, statements []string }{
		"none":       {[]string{"GRANT SELECT ON `d`.*"}, []string{"GRANT SELECT ON `d`.*"}, nil},
		"only USAGE": {[]string{"GRANT USAGE ON *.*"}, nil, nil},
		"new": {[]string{"GRANT SELECT, INSERT ON `d`.*"}, []string{"GRANT USAGE ON *.*"},
			[]string{"GRANT INSERT ON `d`.* TO " + to, "GRANT SELECT ON `d`.* TO " + to}},
		"revoked": {[]string{"GRANT SELECT ON `d`.*"}, []string{"GRANT SELECT, INSERT ON `d`.*"},
			[]string{"REVOKE INSERT ON `d`.* FROM " + to}},
		"gone": {nil, []string{"GRANT SELECT ON `d`.*"},
			[]string{"REVOKE SELECT ON `d`.* FROM " + to}},
		"less than all": {[]string{"GRANT SELECT ON `d`.*"}, []string{"GRANT ALL PRIVILEGES ON `d`.*"},
			[]string{"REVOKE ALL PRIVILEGES ON `d`.* FROM " + to}},
		"all": {[]string{"GRANT ALL PRIVILEGES ON `d`.*"}, []string{"GRANT SELECT ON `d`.*"},
			[]string{"GRANT ALL PRIVILEGES ON `d`.* TO " + to}},
		"grant option": {[]string{"GRANT SELECT ON `d`.* WITH GRANT OPTION"},
			[]string{"GRANT SELECT ON `d`.*"}, []string{"GRANT USAGE ON `d`.* TO " + to + " WITH GRANT OPTION"}},
		"no grant option": {[]string{"GRANT SELECT ON `d`.*"},
			[]string{"GRANT SELECT ON `d`.* WITH GRANT OPTION"}, []string{"REVOKE GRANT OPTION ON `d`.* FROM " + to}},
		"all without grant option": {[]string{"GRANT ALL PRIVILEGES ON `d`.*"}, []string{
			"GRANT ALL PRIVILEGES ON `d`.* WITH GRANT OPTION"}, []string{"REVOKE GRANT OPTION ON `d`.* FROM " + to}},
		"columns in another order": {[]string{"GRANT SELECT (`a`, `b`) ON `d`.`t`"},
			[]string{"GRANT SELECT (`b`, `a`) ON `d`.`t`"}, nil},
		"columns": {[]string{"GRANT SELECT (`a`, `c,(`), INSERT ON `d`.`t`"},
			[]string{"GRANT SELECT (`a`, `b)`), INSERT ON `d`.`t`"},
			[]string{"REVOKE SELECT (`b)`) ON `d`.`t` FROM " + to, "GRANT SELECT (`c,(`) ON `d`.`t` TO " + to}},
		"a database called a TO b": {[]string{"GRANT SELECT ON `a TO b`.*"},
			[]string{"GRANT SELECT ON ` ON ``x`` FROM `.*"},
			[]string{"REVOKE SELECT ON ` ON ``x`` FROM `.* FROM " + to, "GRANT SELECT ON `a TO b`.* TO " + to}},
		"roles": {[]string{"GRANT `r`@`%`,`s`@`%`"}, []string{"GRANT `s`@`%`", "GRANT `t`@`%`"},
			[]string{"REVOKE `t`@`%` FROM " + to, "GRANT `r`@`%` TO " + to}},
		"admin option": {[]string{"GRANT `r`"}, []string{"GRANT `r` WITH ADMIN OPTION"},
			[]string{"REVOKE `r` FROM " + to, "GRANT `r` TO " + to}},
		"dynamic privileges have their own option": {
			[]string{"GRANT USAGE ON *.*", "GRANT BACKUP_ADMIN ON *.* WITH GRANT OPTION"},
			[]string{"GRANT BACKUP_ADMIN ON *.*"},
			[]string{"REVOKE BACKUP_ADMIN ON *.* FROM " + to,
				"GRANT BACKUP_ADMIN ON *.* TO " + to + " WITH GRANT OPTION"}},
		"proxy": {[]string{"GRANT PROXY ON ``@`` WITH GRANT OPTION"}, []string{"GRANT PROXY ON `x`@`y`"},
			[]string{"REVOKE PROXY ON `x`@`y` FROM " + to, "GRANT PROXY ON ``@`` TO " + to + " WITH GRANT OPTION"}},
		"partial revokes": {[]string{"GRANT SELECT, INSERT ON *.*", "REVOKE INSERT ON `m`.*"},
			[]string{"GRANT SELECT ON *.*", "REVOKE SELECT ON `m`.*"},
			[]string{"GRANT SELECT ON `m`.* TO " + to, "GRANT INSERT ON *.* TO " + to,
				"REVOKE INSERT ON `m`.* FROM " + to}},
		"routines": {[]string{"GRANT EXECUTE, ALTER ROUTINE ON PROCEDURE `d`.`p`"}, nil,
			[]string{"GRANT ALTER ROUTINE ON PROCEDURE `d`.`p` TO " + to,
				"GRANT EXECUTE ON PROCEDURE `d`.`p` TO " + to}},
		"a row with password and limits": {
			[]string{"GRANT SELECT ON *.* TO `app`@`%` IDENTIFIED BY PASSWORD '*00' REQUIRE SUBJECT 'WITH GRANT " +
				"OPTION' WITH GRANT OPTION MAX_QUERIES_PER_HOUR 1"},
			nil, []string{"GRANT USAGE ON *.* TO " + to + " WITH GRANT OPTION", "GRANT SELECT ON *.* TO " + to}},
		"what only looks like an option": {
			[]string{"GRANT SELECT ON *.* TO `app`@`%` REQUIRE SUBJECT ' GRANT OPTION ''GRANT OPTION'"}, nil,
			[]string{"GRANT SELECT ON *.* TO " + to}},
	} {
		t.Run(name, func(t *testing.T) {
			toTake, toGive := difference(rows(t, c.want...), rows(t, c.have...))
			var got []string
			for _, r := range toTake {
				got = append(got, r.take(clone))
			}
			for _, r := range toGive {
				got = append(got, r.give(clone))
			}
			if !slices.Equal(got, c.statements) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.statements, "\n"))
			}
		})
	}
}

func TestRowsThatAreNotGrantsToTheAccount(t *testing.T) {
	for _, row := range []string{"SET DEFAULT ROLE `r` FOR `app`@`%`", "GRANT USAGE ON *.* TO `app`",
		"GRANT SELECT ON *.* TO `app`@`localhost`", "GRANT SELECT ON *.* TO `r`"} {
		set := rights{}
		if err := set.add(row, app); len(set) > 0 || err != nil {
			t.Errorf("%s: %v, %v", row, set, err)
		}
	}
	for _, row := range []string{"GRANT", "GRANT SELECT ON", "GRANT SELECT ON `d", "GRANT SELECT ON TO `app`@`%`"} {
		set := rights{}
		if err := set.add(row, app); err == nil || len(set) > 0 {
			t.Errorf("%s: %v, want an error", row, set)
		}
	}
}

func TestUnreadableRowIsQuotedWithoutItsVerifier(t *testing.T) {
	err := rights{}.add("GRANT SELECT ON TO `app`@`%` IDENTIFIED BY PASSWORD '*00'", app)
	perr := new(account).parse("CREATE USER `app`@`%` IDENTIFIED VIA ed25519 USING '*00' OR `unended", nil)
	for _, err := range []error{err, perr} {
		if err == nil || strings.Contains(err.Error(), "*00") || !strings.Contains(err.Error(), "`app`") {
			t.Errorf("%v", err)
		}
	}
}

func TestAdministratorsAreKnownByTheirRights(t *testing.T) {
	for row, want := range map[string]string{
		"GRANT ALL PRIVILEGES ON *.*":                 "ALL PRIVILEGES on everything",
		"GRANT SELECT ON *.* WITH GRANT OPTION":       "GRANT OPTION on everything",
		"GRANT SELECT, CREATE USER ON *.*":            "CREATE USER on everything",
		"GRANT SUPER ON *.*":                          "SUPER on everything",
		"GRANT SYSTEM_USER ON *.*":                    "SYSTEM_USER on everything",
		"GRANT ROLE_ADMIN ON *.*":                     "ROLE_ADMIN on everything",
		"GRANT SET_USER_ID ON *.*":                    "SET_USER_ID on everything",
		"GRANT SET_ANY_DEFINER ON *.*":                "SET_ANY_DEFINER on everything",
		"GRANT SET USER ON *.*":                       "SET USER on everything",
		"GRANT UPDATE ON *.*":                         "UPDATE on everything",
		"GRANT INSERT ON `mysql`.*":                   "INSERT on `mysql`.*",
		"GRANT ALL PRIVILEGES ON `mysql`.`user`":      "ALL PRIVILEGES on `mysql`.`user`",
		"GRANT UPDATE (`Host`) ON `mysql`.`user`":     "UPDATE (`Host`) on `mysql`.`user`",
		"GRANT DELETE ON `my%`.*":                     "DELETE on `my%`.*",
		"GRANT DELETE ON `_ysql`.*":                   "DELETE on `_ysql`.*",
		"GRANT ALL PRIVILEGES ON `d`.*":               "",
		"GRANT ALL PRIVILEGES ON `my\\_ql`.*":         "",
		"GRANT ALL PRIVILEGES ON `mysql2`.*":          "",
		"GRANT SELECT ON `d`.* WITH GRANT OPTION":     "",
		"GRANT SELECT ON `mysql`.*":                   "",
		"GRANT EXECUTE ON PROCEDURE `mysql`.`p`":      "",
		"GRANT PROCESS, BACKUP_ADMIN ON *.*":          "",
		"GRANT BACKUP_ADMIN ON *.* WITH GRANT OPTION": "",
	} {
		if got := rows(t, row).power(); got != want {
			t.Errorf("%s: %q, want %q", row, got, want)
		}
	}
	restricted := []string{"GRANT SELECT, INSERT ON *.*", "REVOKE INSERT ON `mysql`.*"}
	if got := rows(t, restricted...).power(); got != "" {
		t.Errorf("%q: %q", restricted, got)
	}
}

// FuzzGrants writes rows as the servers do, with any names, and reads them back.
func FuzzGrants(f *testing.F) {
	f.Add("a TO b", "c,(", "app")
	f.Add("` ON `", "x)", "it's")
	f.Add("WITH GRANT OPTION", "`", "`")
	f.Fuzz(func(t *testing.T, database, column, user string) {
		a := account{user: user, host: "%"}
		object := identifier(database) + "." + identifier("t")
		row := "GRANT INSERT, SELECT (" + identifier(column) + "), SELECT (" + identifier(column+"x") + ") ON " +
			object + " TO "
		set := rights{}
		if err := set.add(row+identifier(user)+"@`%`", a); err != nil {
			t.Fatalf("%q: %v", row, err)
		}
		if len(set) != 3 || !set[right{name: "SELECT (" + identifier(column) + ")", object: object}] ||
			!set[right{name: "INSERT", object: object}] {
			t.Errorf("%q: %v", row, set)
		}
		want := "GRANT SELECT (" + identifier(column) + ") ON " + object + " TO 'app'@'%'"
		if list := set.sorted(); list[1].give(app) != want && list[2].give(app) != want {
			t.Errorf("%q became %v", row, list)
		}
	})
}
