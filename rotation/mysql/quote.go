package mysql

import "strings"

// quoting is the mode that every session of this package sets, so that both
// servers read text and names by one rule, whatever their own settings are: a
// quotation mark inside is doubled, and nothing else has a meaning.
// Source: https://dev.mysql.com/doc/refman/8.4/en/sql-mode.html#sqlmode_no_backslash_escapes
const quoting = "NO_BACKSLASH_ESCAPES"

// text quotes a string.
func text(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// identifier quotes a name.
func identifier(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }
