package mysql

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

// account is a row of the table of users. A user can have several; a login uses the one with the most specific host.
type account struct {
	user, host string
	role       bool     // a MariaDB role, which has no host
	plugins    []string // the authentication methods, in order
	plugin     string   // the one that checks a password, or ""
	attributes string   // clauses of ALTER USER: REQUIRE, WITH, ACCOUNT, PASSWORD
	roles      string   // the default roles, as the server quotes them
	marked     bool     // an administrator or the engine has marked it as part of the pair
	newborn    bool     // the engine created it and has not yet granted its rights
}

// nobody is a user that cannot exist: the top-level domain is reserved.
// Source: RFC 2606
var nobody = account{user: "rotator-nobody", host: "rotator.invalid"}

// decoy returns a password that nobody uses and that common policies accept.
func decoy() string { return rand.Text() + "-aA1" }

func (a account) name() string {
	if a.role {
		return identifier(a.user)
	}
	return text(a.user) + "@" + text(a.host)
}

// mark names a database that does not exist. A right on it marks a pair. Only a superuser can grant it, so it
// distinguishes a second user from a stranger with that name. Unlike a MariaDB role, any superuser can grant it.
func mark(user, other string) string {
	sum := sha256.Sum256([]byte(min(user, other) + "\x00" + max(user, other)))
	return "rotator-" + hex.EncodeToString(sum[:8])
}

func marking(mark string, a account) string {
	return "GRANT SHOW VIEW ON " + identifier(mark) + ".* TO " + a.name()
}

// birth is a second user's clause until its rights are granted. No CA issues the certificate, so nobody can log in.
func birth(mark string) string { return "REQUIRE SUBJECT " + text("/CN="+mark) }

func (s *session) describe(ctx context.Context, a *account) error {
	var statement string
	if err := s.Conn.QueryRowContext(ctx, "SHOW CREATE USER "+a.name()).Scan(&statement); err != nil {
		return s.Classify(ctx, "the user's attributes cannot be read", err)
	}
	return a.parse(statement, s.facts.defaults)
}

var (
	// description matches a masked CREATE USER: methods, default roles, REQUIRE, WITH, and the rest, which has no quoted
	// part and so no verifier. ALTER USER also accepts the last three.
	description = lazyregexp.New(`^CREATE USER \S+` +
		`(?: IDENTIFIED (?:WITH|VIA|BY (PASSWORD)) (\S+(?: (?:AS|USING) \S+)?(?: OR \S+(?: USING \S+)?)*))?` +
		`(?: DEFAULT ROLE (\S+(?:, ?\S+)*))?` +
		`(?: REQUIRE (NONE|SSL|X509|(?:ISSUER|SUBJECT|CIPHER) \S+(?: (?:ISSUER|SUBJECT|CIPHER) \S+)*))?` +
		`(?: WITH((?: MAX_\w+ [\d.]+)+))?((?: (?:ACCOUNT|PASSWORD|FAILED_LOGIN_ATTEMPTS) [^\x00]+)?)$`)
	expired = lazyregexp.New(` PASSWORD EXPIRE( ACCOUNT| PASSWORD|$)`)
)

// limits are in the server's description of a user only if they are not 0.
var limits = []string{"MAX_QUERIES_PER_HOUR 0", "MAX_UPDATES_PER_HOUR 0", "MAX_CONNECTIONS_PER_HOUR 0",
	"MAX_USER_CONNECTIONS 0"}

// parse reads the server's CREATE USER and adds the clauses that it omits because they have the default. It ignores
// ATTRIBUTE, which is last and, like certificate names, not escaped. It refuses a user who logs in without a password.
func (a *account) parse(statement string, defaults []string) error {
	masked, quoted := mask(statement)
	masked, _, _ = strings.Cut(strings.Join(strings.Fields(masked), " "), " ATTRIBUTE ")
	m := description().FindStringSubmatch(masked)
	if m == nil || strings.ContainsAny(masked, "`'") {
		return unreadable(statement)
	}
	// An account whose password has expired shows that instead of the interval.
	with, rest := m[5], expired().ReplaceAllString(m[6], " PASSWORD EXPIRE DEFAULT$1")
	for _, clause := range defaults {
		name, part := clause[:strings.LastIndexByte(clause, ' ')+1], &rest
		if strings.HasPrefix(name, "MAX_") {
			part = &with
		}
		if !strings.Contains(*part+" ", " "+name) {
			*part += " " + clause
		}
	}
	a.attributes = unmask("REQUIRE "+cmp.Or(m[4], "NONE")+" WITH"+with+rest, quoted)
	if m[3] != "" {
		a.roles = unmask(m[3], quoted)
	}
	for method := range strings.SplitSeq(m[2], " OR ") {
		plugin, _, _ := strings.Cut(method, " ")
		a.plugins = append(a.plugins, strings.Trim(unmask(plugin, quoted), "'`"))
	}
	if m[1] != "" {
		a.plugins = []string{native}
	}
	for _, p := range []string{"sha256_password", "caching_sha2_password", ed25519, native} {
		if slices.Contains(a.plugins, p) {
			a.plugin = p
		}
	}
	if a.plugin != "" {
		return nil
	}
	return engine.Errorf(engine.InvalidSecret, adviceNoPassword,
		"the user %s does not log in with a password but with %s", a.name(), strings.Join(a.plugins, ", "))
}

// Source: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.DBAccounts.html
const adviceNoPassword = "use a plugin that checks a password; IAM tokens (AWSAuthenticationPlugin) need no rotation"

// quoting is the SQL mode of every session. With it, both servers parse strings and names in the same way regardless of
// their settings: a quotation mark is doubled, and no other character is special.
// Source: https://dev.mysql.com/doc/refman/8.4/en/sql-mode.html#sqlmode_no_backslash_escapes
const quoting = "NO_BACKSLASH_ESCAPES"

func text(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func identifier(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

var (
	quotation   = lazyregexp.New("`(?:[^`]|``)*`|'(?:[^']|'')*'")
	placeholder = lazyregexp.New(`\x00\d+\x00`)
)

// mask replaces the quoted parts of a server's statement with numbers, because they can look like keywords.
func mask(statement string) (masked string, quoted []string) {
	masked = quotation().ReplaceAllStringFunc(statement, func(q string) string {
		quoted = append(quoted, q)
		return "\x00" + strconv.Itoa(len(quoted)-1) + "\x00"
	})
	return masked, quoted
}

func unmask(masked string, quoted []string) string {
	return placeholder().ReplaceAllStringFunc(masked, func(p string) string {
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

// unreadable returns the error for a statement that cannot be parsed. It omits the verifier, which follows IDENTIFIED.
func unreadable(statement string) error {
	statement, _, _ = strings.Cut(statement, "IDENTIFIED")
	return engine.Errorf(engine.TargetFailed, "report this with the server's version",
		"the server's answer cannot be parsed: %s", statement)
}
