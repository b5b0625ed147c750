package iam

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// intentTag is the key of the tag at the user that says what the last rotation was about to do.
const intentTag = "rotator:intent"

// intent says that a call for a version of this secret, which acted by the key
// login, was about to make a key at a time on IAM's clock.
type intent struct {
	login   string
	version string
	at      time.Time
}

// digest stands for a secret in the tag: its ARN may be too long, and have characters that a tag must not have.
func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:8])
}

// text returns the tag's value.
func (i intent) text(secret string) string {
	return fmt.Sprintf("%s %d %s %s", digest(secret), i.at.Unix(), i.login, i.version)
}

// readIntent reads a tag's value. One of another secret or form is the zero intent, which explains nothing.
func readIntent(secret, text string) intent {
	words := strings.Split(text, " ")
	if len(words) != 4 || words[0] != digest(secret) {
		return intent{}
	}
	at, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil || words[2] == "" {
		return intent{}
	}
	return intent{login: words[2], version: words[3], at: time.Unix(at, 0)}
}

// attempt is as long as a call of the engine takes at most, the core's patience.
const attempt = 15 * time.Second

// explains reports whether a key is the one that the call acted by, or the one that it made: created
// while the call can have been at work. A key made later is somebody else's. Concurrent calls may have
// noted after one of them made its key, so the time counts both ways.
func (i intent) explains(id string, created time.Time) bool {
	return i.login != "" && (id == i.login || created.Sub(i.at).Abs() <= attempt)
}
