package enginetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"example.com/rotator/rotation/engine"
)

// tagger tags the secret like somebody who can neither read nor write it. No password becomes
// weaker, and the function's own settings stay in force.
func tagger(t testing.TB, h Harness) error {
	w, err := newWorld(t, h)
	if err != nil {
		return err
	}
	if err := w.tag("recover-by-superuser", "true", "adopt-pairs", "true", "allow-plaintext-fallback", "true",
		"rotation-role-arn", "arn:aws:iam::123456789012:role/x"); err != nil {
		return err
	}
	if name, _ := w.first.Text("engine"); name != "" {
		if err := w.tag("engine", "generic"); err != nil {
			return err
		}
	}
	token, err := w.begin()
	if err != nil {
		return err
	}
	if err := errors.Join(w.all(context.Background(), token), w.ended(token)); err != nil {
		return fmt.Errorf("tags that must have no effect: %w", err)
	}
	if w.kind.Passwords.Length == 0 {
		return nil
	}
	if err := w.tag("password-length", "8", "require-each-included-type", "false"); err != nil {
		return err
	}
	failure := w.rotate()
	if engine.CauseOf(failure) != engine.InvalidConfiguration || failure == nil {
		return fmt.Errorf("a tag for a password of 8 characters: the rotation returned %v, want InvalidConfiguration",
			failure)
	}
	return nil
}

// tag sets tags of the secret, given as pairs of a name without prefix and a value.
func (w *world) tag(pairs ...string) error {
	var tags []types.Tag
	for i := 0; i < len(pairs); i += 2 {
		tags = append(tags, types.Tag{Key: aws.String("rotator:" + pairs[i]), Value: &pairs[i+1]})
	}
	_, err := w.client.TagResource(context.Background(), &secretsmanager.TagResourceInput{SecretId: &w.arn, Tags: tags})
	return err
}
