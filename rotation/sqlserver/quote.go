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

// guard stands before what a superuser changes in a database, and ends the batch
// if one of its triggers would run then as who sends it: whoever may make triggers
// there must not get the superuser's rights by one. A trigger that runs as a user
// of the database, by EXECUTE AS, cannot leave it.
// Source: https://learn.microsoft.com/en-us/sql/relational-databases/triggers/manage-trigger-security
const guard = "IF EXISTS (SELECT 1 FROM sys.triggers t LEFT JOIN sys.sql_modules m ON m.object_id = t.object_id LEFT JOIN sys.assembly_modules a ON a.object_id = t.object_id" +
	" WHERE t.parent_class = 0 AND t.is_disabled = 0 AND COALESCE(m.execute_as_principal_id, a.execute_as_principal_id) IS NULL)" +
	" THROW 50741, N'a DDL trigger of the database would run as the superuser', 1; "

// unguarded returns a statement for an error, without the guard.
func unguarded(statement string) string {
	statement = strings.ReplaceAll(statement, strings.ReplaceAll(guard, "'", "''"), "")
	return strings.ReplaceAll(statement, guard, "")
}
