package sqlserver

import "strings"

// identifier quotes a name as QUOTENAME does.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/functions/quotename-transact-sql
func identifier(s string) string { return "[" + strings.ReplaceAll(s, "]", "]]") + "]" }

// text quotes a string as a Unicode constant. A backslash has a meaning only
// before the end of a line, which parse refuses in passwords and names.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/language-elements/sql-server-utilities-statements-backslash
func text(s string) string { return "N'" + strings.ReplaceAll(s, "'", "''") + "'" }

// in makes a statement run in a database without leaving the session's own.
func in(database, statement string) string {
	return "EXEC " + identifier(database) + ".sys.sp_executesql " + text(statement)
}
