package mysql

import "crypto/rand"

// account is one row of the table of users: a name and the hosts that it is for.
// The server takes the row with the most exact host for a login, so that a user
// can have several.
type account struct {
	user, host string
	role       bool   // it is one of MariaDB's roles, which have no host
	plugin     string // how a password is checked, "" where none is
	locked     bool
	attributes string // clauses of ALTER USER: REQUIRE, WITH, PASSWORD
	roles      string // the default roles, as the server quotes them
	comment    string // MySQL's ATTRIBUTE, a JSON object
	retained   bool   // a second password is valid on MySQL
	verifiers  []verifier
	marked     bool // it has the role of the pair
}

// nobody is a user that exists nowhere: the top-level domain is kept free.
// Source: RFC 2606
var nobody = account{user: "rotator-nobody", host: "rotator.invalid"}

// decoy returns a password that nobody has, and that common policies accept.
func decoy() string { return rand.Text() + "-aA1" }

// name returns the account as SQL wants it.
func (a account) name() string { return text(a.user) + "@" + text(a.host) }

// lock returns the clause that locks an account as this one is.
func (a account) lock() string {
	if a.locked {
		return " ACCOUNT LOCK"
	}
	return " ACCOUNT UNLOCK"
}

// require returns the clause REQUIRE for the columns of the table of users.
func require(kind, cipher, issuer, subject string) string {
	switch kind {
	case "":
		return "REQUIRE NONE"
	case "ANY":
		return "REQUIRE SSL"
	case "X509":
		return "REQUIRE X509"
	}
	s := "REQUIRE"
	for _, part := range [][2]string{{"CIPHER", cipher}, {"ISSUER", issuer}, {"SUBJECT", subject}} {
		if part[1] != "" {
			s += " " + part[0] + " " + text(part[1])
		}
	}
	return s
}
