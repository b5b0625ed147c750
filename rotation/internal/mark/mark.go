// Package mark names the credentials that engines create, to tell later whose they are and whether anybody
// still needs them.
package mark

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"
)

// settled is the age from which nobody can be about to store a credential: one call of the engine takes 15
// seconds at most, and storing what it created takes a few more.
const settled = time.Minute

// Prefix is how every mark of a secret begins.
func Prefix(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return "rotator-" + hex.EncodeToString(sum[:6]) + "-"
}

// New returns a unique mark for a credential that is about to be created for a version of the secret.
func New(secret, version string) string {
	var own [8]byte
	_, _ = rand.Read(own[4:]) // never fails, says crypto/rand
	binary.BigEndian.PutUint32(own[:4], uint32(time.Now().Unix()))
	return Prefix(secret) + version + "-" + hex.EncodeToString(own[:])
}

// Abandoned reports whether a mark is the secret's and no call for the version can be about to store the
// credential: it was created for another version, or long ago. The versions of the secret may still hold it.
func Abandoned(mark, secret, version string) bool {
	rest, ours := strings.CutPrefix(mark, Prefix(secret))
	if !ours {
		return false
	}
	rest, same := strings.CutPrefix(rest, version+"-")
	own, err := hex.DecodeString(rest)
	if !same || err != nil || len(own) != 4 && len(own) != 8 {
		return true
	}
	// Earlier releases wrote four random bytes and no time.
	return len(own) == 8 && time.Since(time.Unix(int64(binary.BigEndian.Uint32(own)), 0)) > settled
}
