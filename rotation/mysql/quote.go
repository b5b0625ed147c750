package mysql

import (
	"strconv"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

// quoting is the SQL mode of every session. With it both servers read strings and names by one rule, whatever their
// settings: a quotation mark is doubled, and no other character is special.
// Source: https://dev.mysql.com/doc/refman/8.4/en/sql-mode.html#sqlmode_no_backslash_escapes
const quoting = "NO_BACKSLASH_ESCAPES"

func text(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func identifier(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

var (
	quotation   = lazyregexp.New("`(?:[^`]|``)*`|'(?:[^']|'')*'")
	placeholder = lazyregexp.New(`\x00\d+\x00`)
)

// mask replaces what is quoted in a server's statement with numbers, because it can look like a keyword.
func mask(statement string) (masked string, quoted []string) {
	masked = quotation.ReplaceAllStringFunc(statement, func(q string) string {
		quoted = append(quoted, q)
		return "\x00" + strconv.Itoa(len(quoted)-1) + "\x00"
	})
	return masked, quoted
}

func unmask(masked string, quoted []string) string {
	return placeholder.ReplaceAllStringFunc(masked, func(p string) string {
		i, _ := strconv.Atoi(strings.Trim(p, "\x00")) // mask wrote it
		return quoted[i]
	})
}

func unquote(q string) string {
	if len(q) < 2 {
		return q
	}
	return strings.ReplaceAll(q[1:len(q)-1], q[:1]+q[:1], q[:1])
}

// unreadable is the error for a server's statement. It leaves out what follows IDENTIFIED, a verifier.
func unreadable(statement string) error {
	statement, _, _ = strings.Cut(statement, "IDENTIFIED")
	return engine.Errorf(engine.TargetFailed, "report this with the server's version",
		"the server's answer cannot be parsed: %s", statement)
}
