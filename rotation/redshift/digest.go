package redshift

import (
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
)

// digest returns what Redshift stores for a password that it is given as it is.
// The user's name is the salt, so that a repeated step stores the same bytes.
//
// Redshift also takes 'sha256|digest|salt'. A user with such a password is asked
// for it by a message of Redshift's own, authentication type 13, which libpq and
// all drivers made on PostgreSQL's documentation refuse, pgx among them; so that
// form would lock out clients that worked before the rotation.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_USER.html
func digest(password, user string) string {
	sum := md5.Sum([]byte(password + user))
	return "md5" + hex.EncodeToString(sum[:])
}

// decoy returns the digest of a random password that nobody knows.
func decoy(user string) string { return digest(rand.Text(), user) }
