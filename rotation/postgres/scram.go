package postgres

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/text/secure/precis"
)

// iterations is the server's default; more would slow down every login.
// Source: https://www.postgresql.org/docs/current/runtime-config-connection.html (scram_iterations)
const iterations = 4096

// scramVerifier returns what the server stores for a password. The salt is derived from secret, version and user, so
// a repeated step stores the same bytes and poolers that pass SCRAM through keep working. A salt does not have to be
// secret, only different for each user and change.
// Source: https://www.postgresql.org/docs/current/catalog-pg-authid.html
func scramVerifier(password string, use ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(use, "\x00")))
	salt := sum[:16]
	// Both server and clients use a password unchanged if it cannot be normalized.
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
