// Package iam rotates the access keys of IAM users.
//
// A user can have only two keys, so a rotation needs the previous key's slot: that key works until the next rotation
// deletes it. Only a tag on the user identifies a key that a crash left behind.
package iam

import (
	"context"
	"errors"
	"time"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/awsapi"
	"example.com/rotator/rotation/internal/form"
	"example.com/rotator/rotation/internal/httpapi"
	"example.com/rotator/rotation/internal/mark"
)

// Engine rotates access keys.
type Engine struct {
	settings awsapi.Settings
	byRole   bool
}

// New returns the engine. A key creates its successor with its user's permissions. With byRole, which no secret or tag
// can set, the settings' credentials do that, but the secret's own key must still be accepted first.
func New(settings awsapi.Settings, byRole bool) *Engine { return &Engine{settings, byRole} }

// The secret's fields. With "Version": 1 the value also serves as the output of a credential_process.
// Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html
const (
	userField   = "username"
	idField     = "AccessKeyId"
	secretField = "SecretAccessKey"
)

// Kind describes the engine. IAM generates the keys, so there is no password policy.
func (*Engine) Kind() engine.Kind {
	return engine.Kind{Names: []string{"iam"}, MarkField: idField, Overlap: engine.BothWork, UserField: userField,
		SecretFields: []string{idField, secretField}}
}

type login struct{ user, id, secret string }

// Source: https://docs.aws.amazon.com/IAM/latest/APIReference/API_AccessKey.html,
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html (AKIA for long-term keys)
var (
	userForm   = lazyregexp.New(`^[\w+=,.@-]{1,64}$`)
	idForm     = lazyregexp.New(`^AKIA[A-Z0-9]{12,124}$`)
	secretForm = lazyregexp.New(`^[!-~]{16,256}$`)
)

// parse reads a value. The error has the cause InvalidSecret and names every fault.
func parse(v engine.Value) (login, error) {
	f := form.Form{Value: v}
	l := login{
		f.Required(userField, userForm, "is not the name of an IAM user"),
		f.Required(idField, idForm, "is not the id of a user's access key"),
		f.Required(secretField, secretForm, "is not a secret access key"),
	}
	return l, f.Err()
}

// Next checks the value's format. IAM chooses the next key.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	_, err := parse(r.Current)
	return r.Current, err
}

// DryRun makes the read calls of a rotation, and checks that every other key may be deleted.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error {
	_, _, err := e.look(ctx, r)
	if errors.Is(err, engine.Unsettled) {
		return nil // a later rotation will succeed
	}
	return err
}

// look opens a session and returns the user's other keys for Mint to delete. It fails unless all belong to the secret.
func (e *Engine) look(ctx context.Context, r *engine.Request) (s *session, others []string, err error) {
	if _, err := parse(r.Current); err != nil {
		return nil, nil, err
	}
	if s, err = e.acting(ctx, r); err != nil {
		return nil, nil, err
	}
	if _, ok := s.keys[s.login.id]; !ok {
		return nil, nil, unsettled("IAM does not list the key %s of %q, which STS accepts", s.login.id, s.login.user)
	}
	for id := range s.keys {
		if id == s.login.id {
			continue
		}
		if err := s.ours(ctx, id); err != nil {
			return nil, nil, err
		}
		others = append(others, id)
	}
	return s, others, nil
}

// Mint creates a key, after deleting the previous key or one that a crash left behind.
func (e *Engine) Mint(ctx context.Context, r *engine.Request) (engine.Value, error) {
	s, others, err := e.look(ctx, r)
	if err != nil {
		return engine.Value{}, err
	}
	for _, id := range others {
		if err := s.delete(ctx, id); err != nil {
			return engine.Value{}, err
		}
	}
	// The intent is noted before the key is created, so a later call can identify the key's owner.
	if err := s.note(ctx, intent{s.login.id, s.now}.text(r.Secret)); err != nil {
		return engine.Value{}, err
	}
	id, secret, err := s.create(ctx)
	if err != nil {
		if turnedAway(err) && !errors.Is(err, engine.Unsettled) {
			// This note must not explain a key created by hand later. A concurrent call may need the old note.
			_ = s.note(ctx, s.noted)
		}
		return engine.Value{}, err
	}
	return r.Current.With(idField, id).With(secretField, secret), nil
}

// ours returns an error unless a key other than the session's belongs to this secret. A writer of the secret can name
// any key, so the intent must explain the key, or STS must accept it. A new key is left alone, because a concurrent
// call may be about to store it.
func (s *session) ours(ctx context.Context, id string) error {
	k := s.keys[id]
	if current, _ := s.request.Current.Text(idField); id == current && k.active {
		// STS refused it, but IAM lists it as active.
		return engine.Errorf(engine.TargetFailed, "correct "+secretField+", or deactivate the key to replace it",
			"the access key %s of %q in AWSCURRENT is active, but STS refused its "+secretField, id, s.login.user)
	}
	if id == s.intent.login {
		return nil
	}
	proved, err := s.proves(ctx, s.request.Previous, id)
	switch {
	case err != nil || proved:
		return err
	case s.now.Sub(k.created) < mark.Settled:
		return unsettled("the access key %s of %q is new: a concurrent call may be about to store it", id, s.login.user)
	case !s.intent.explains(id, k.created):
		return strange(id, s.login.user)
	}
	return nil
}

func strange(id, user string) error {
	return engine.Errorf(engine.TakeoverRefused,
		"delete that key if `aws iam get-access-key-last-used` shows no use: a rotation needs a free slot",
		"the access key %s of %q is not proved to belong to this secret", id, user)
}

func (s *session) proves(ctx context.Context, v engine.Value, id string) (bool, error) {
	if named, _ := v.Text(idField); named != id {
		return false, nil
	}
	by, err := s.engine.open(ctx, s.request, v)
	if errors.Is(err, engine.LoginRefused) || errors.Is(err, engine.InvalidSecret) {
		return false, nil
	}
	return err == nil && by.user == s.user, err
}

// Set logs in. The pending key is valid already. An inactive key, which may have leaked or be a different one, is never
// reactivated, and testSecret reports it.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error {
	_, err := e.open(ctx, r, r.Login)
	return err
}

// Verify asks STS for the key's user and, unless the role acts, reads from IAM what the next rotation needs. IAM
// refuses a new key for some seconds, so a pending key is retried until ctx is nearly done.
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	for begin := time.Now(); ; {
		s, err := e.open(ctx, r, v)
		if err == nil && !e.byRole {
			err = s.look(ctx)
		}
		if !errors.Is(err, engine.LoginRefused) || !v.Equal(r.Pending) || v.Equal(r.Login) {
			return err
		}
		if httpapi.Wait(ctx, 250*time.Millisecond) != nil {
			if time.Since(begin) < delay {
				return unsettled("IAM may not know the new access key yet: %w", err)
			}
			return err
		}
	}
}

// delay is the usual time until IAM accepts a new key.
const delay = 5 * time.Second

// Revoke deletes the key that Mint created. It fails unless the key is gone or belongs to this secret.
func (e *Engine) Revoke(ctx context.Context, r *engine.Request) error {
	named, err := parse(r.Pending)
	if err != nil {
		return err
	}
	s, err := e.acting(ctx, r)
	if err != nil {
		return err
	}
	if k, ok := s.keys[named.id]; ok && !s.intent.explains(named.id, k.created) {
		proved, err := s.proves(ctx, r.Pending, named.id)
		if err != nil {
			return err
		}
		if !proved {
			return strange(named.id, s.login.user)
		}
	}
	return s.delete(ctx, named.id)
}

// Needs adds permissions on the user, for the user itself or for the function's role. STS returns the user's ARN.
func (e *Engine) Needs(ctx context.Context, r *engine.Request, n *engine.Needs) error {
	s, err := e.open(ctx, r, r.Current)
	if err != nil {
		return err
	}
	n.Note = "none: the user has no password; IAM grants its rights"
	principal := ""
	if !e.byRole {
		principal = s.user
	}
	n.Permissions = append(n.Permissions,
		engine.Permission{Principal: principal, Sid: "AccessKeys", Resources: []string{s.user},
			Actions: []string{"iam:ListAccessKeys", "iam:CreateAccessKey", "iam:DeleteAccessKey", "iam:ListUserTags"}},
		engine.Permission{Principal: principal, Sid: "Intent", Resources: []string{s.user},
			Actions:    []string{"iam:TagUser"},
			Conditions: map[string]map[string]string{"ForAllValues:StringEquals": {"aws:TagKeys": intentTag}}})
	return nil
}
