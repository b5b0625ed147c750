// Package mark names the credentials that engines create, to tell later whose they are and whether
// anybody still needs them.
package mark

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"

	"example.com/rotator/rotation/engine"
)

// Settled is the age from which nobody can be about to store a credential: one call of the engine takes 15 seconds
// at most, and storing what it created takes a few more. Secrets Manager repeats a failed rotation later than this.
const Settled = time.Minute

// LeaveTime returns a context that leaves a third of the time for taking back what is created.
func LeaveTime(ctx context.Context) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, end.Add(-time.Until(end)/3))
	}
	return context.WithCancel(ctx)
}

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
	return !same || err != nil || len(own) != 8 ||
		time.Since(time.Unix(int64(binary.BigEndian.Uint32(own)), 0)) > Settled
}

// Lost adds to the failure of a Mint that the token with the mark could not be taken back, unless err is nil.
func Lost(mark string, failure, err error) error {
	if err == nil {
		return failure
	}
	return engine.Errorf(engine.CauseOf(failure), "look for the token "+mark+" at the target and revoke it",
		"%w; the token may be valid, as it could not be taken back: %w", failure, err)
}
