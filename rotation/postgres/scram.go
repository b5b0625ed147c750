package postgres

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/xdg-go/scram"
)

// iterations is the server's default; more would slow down every login.
// Source: https://www.postgresql.org/docs/current/runtime-config-connection.html (scram_iterations)
const iterations = 4096

// scramVerifier returns what the server stores for a password. The salt is derived from secret, version and user, so
// a repeated step stores the same bytes and poolers that pass SCRAM through keep working. A salt does not have to be
// secret, only different for each user and change.
// Source: https://www.postgresql.org/docs/current/catalog-pg-authid.html
func scramVerifier(password string, use ...string) (string, error) {
	client, err := scram.SHA256.NewClient("", password, "")
	if err != nil { // both server and clients use a password unchanged if it cannot be normalized
		client, _ = scram.SHA256.NewClientUnprepped("", password, "") // never fails
	}
	salt := sha256.Sum256([]byte(strings.Join(use, "\x00")))
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt[:16]), Iters: iterations})
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt[:16]), b64(stored.StoredKey),
		b64(stored.ServerKey)), err
}
