package enginetest

import (
	"context"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"example.com/rotator/rotation/engine"
)

// tagger tags the secret like somebody who can neither read nor write it. No password becomes
// weaker, and the function's own settings stay in force.
func tagger(t testing.TB, h Harness) {
	w := newWorld(t, h)
	w.tag("recover-by-superuser", "true", "adopt-pairs", "true", "allow-plaintext-fallback", "true",
		"rotation-role-arn", "arn:aws:iam::123456789012:role/x")
	if name, _ := w.first.Text("engine"); name != "" {
		w.tag("engine", "generic")
	}
	token := w.begin()
	w.must(errors.Join(w.all(context.Background(), token), w.ended(token)), "tags that must have no effect")
	if w.kind.Passwords.Length == 0 {
		return
	}
	w.tag("password-length", "8", "require-each-included-type", "false")
	failure := w.rotate()
	if engine.CauseOf(failure) != engine.InvalidConfiguration || failure == nil {
		t.Errorf("a tag for a password of 8 characters: the rotation returned %v, want InvalidConfiguration", failure)
	}
}

// tag sets tags of the secret, given as pairs of a name without prefix and a value.
func (w *world) tag(pairs ...string) {
	w.t.Helper()
	var tags []types.Tag
	for i := 0; i < len(pairs); i += 2 {
		tags = append(tags, types.Tag{Key: aws.String("rotator:" + pairs[i]), Value: &pairs[i+1]})
	}
	_, err := w.client.TagResource(context.Background(), &secretsmanager.TagResourceInput{SecretId: &w.arn, Tags: tags})
	w.must(err, "TagResource")
}
