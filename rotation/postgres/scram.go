package postgres

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"golang.org/x/text/secure/precis"
)

// iterations is the server's own default; more would slow every login down.
// Source: https://www.postgresql.org/docs/current/runtime-config-connection.html (scram_iterations)
const iterations = 4096

// scramVerifier returns what the server stores for a password.
// Source: https://www.postgresql.org/docs/current/catalog-pg-authid.html
func scramVerifier(password string, salt []byte) string {
	// A password that cannot be normalised is taken as it is, by server and
	// clients alike.
	if normal, err := precis.OpaqueString.String(password); err == nil {
		password = normal
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		panic("postgres: PBKDF2 with fixed parameters failed: " + err.Error()) // unreachable
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(mac(salted, "Server Key")))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// salt derives the salt from the pending version, so that a repeated step stores
// the same bytes: poolers that pass SCRAM through keep working. A salt need be
// no secret, only different from user to user and from change to change.
func salt(secret, version, user string) []byte {
	sum := sha256.Sum256([]byte(secret + "\x00" + version + "\x00" + user))
	return sum[:16]
}

// decoy returns a verifier of a random password that nobody knows, for a change
// that is rolled back.
func decoy(user string) string {
	return scramVerifier(rand.Text(), salt("", "", user))
}
