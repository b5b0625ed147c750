// Package mark names the credentials that engines create. The names later show which secret they belong to and whether
// they are still needed.
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

// Settled is the age after which no call can still be about to store a credential: an engine's call takes at most 15
// seconds, and storing the result a few more. Secrets Manager retries a failed rotation later than this.
const Settled = time.Minute

// LeaveTime returns a context that leaves a third of the time for revoking what is created.
func LeaveTime(ctx context.Context) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, end.Add(-time.Until(end)/3))
	}
	return context.WithCancel(ctx)
}

// Prefix returns the beginning of every mark of a secret.
func Prefix(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return "rotator-" + hex.EncodeToString(sum[:6]) + "-"
}

// New returns a unique mark for a credential that is about to be created for a version of the secret.
func New(secret, version string) string {
	var own [8]byte
	_, _ = rand.Read(own[4:]) // never fails, as crypto/rand documents
	binary.BigEndian.PutUint32(own[:4], uint32(time.Now().Unix()))
	return Prefix(secret) + version + "-" + hex.EncodeToString(own[:])
}

// Abandoned reports whether a mark belongs to the secret and no call for the version can be about to store the
// credential: it was created for another version, or long ago. A version of the secret may still hold it.
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

// Lost adds to a Mint's failure the error of revoking the token with the mark, unless err is nil.
func Lost(mark string, failure, err error) error {
	if err == nil {
		return failure
	}
	return engine.Errorf(engine.CauseOf(failure), "look for the token "+mark+" at the target and revoke it",
		"%w; the token may be valid, because it could not be revoked: %w", failure, err)
}
