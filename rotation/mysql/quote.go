package mysql

import (
	"strconv"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

// quoting is the mode that every session of this package sets, so that both servers read text and names by one
// rule, whatever their own settings are: a quotation mark inside is doubled, and nothing else has a meaning.
// Source: https://dev.mysql.com/doc/refman/8.4/en/sql-mode.html#sqlmode_no_backslash_escapes
const quoting = "NO_BACKSLASH_ESCAPES"

// text quotes a string.
func text(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// identifier quotes a name.
func identifier(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

var (
	quotation   = lazyregexp.New("`(?:[^`]|``)*`|'(?:[^']|'')*'")
	placeholder = lazyregexp.New(`\x00\d+\x00`)
)

// mask replaces what is quoted in a statement of the server's by numbers, since it can look like a keyword.
func mask(statement string) (masked string, quoted []string) {
	masked = quotation.ReplaceAllStringFunc(statement, func(q string) string {
		quoted = append(quoted, q)
		return "\x00" + strconv.Itoa(len(quoted)-1) + "\x00"
	})
	return masked, quoted
}

// unmask puts back what mask has replaced.
func unmask(masked string, quoted []string) string {
	return placeholder.ReplaceAllStringFunc(masked, func(p string) string {
		i, _ := strconv.Atoi(strings.Trim(p, "\x00")) // mask wrote it
		return quoted[i]
	})
}

// unquote returns the text of something quoted.
func unquote(q string) string {
	if len(q) < 2 {
		return q
	}
	return strings.ReplaceAll(q[1:len(q)-1], q[:1]+q[:1], q[:1])
}

// unreadable reports a statement of the server's without what follows IDENTIFIED, which is a verifier.
func unreadable(statement string) error {
	statement, _, _ = strings.Cut(statement, "IDENTIFIED")
	return engine.Errorf(engine.TargetFailed, "report this with the server's version", "the server's answer cannot be understood: %s", statement)
}
