// Package iam rotates the access keys of IAM users.
//
// A user may have two keys, so that a rotation needs the place of the old one:
// the key before the current one is deleted when the next is made, and until then
// works beside it. Nothing but a tag at the user tells what a crash left behind.
package iam

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

// Settings returns the SDK's configuration for a secret: region, HTTP client,
// and the function's own credentials, or those of its role in the secret's
// account.
type Settings func(ctx context.Context, secret string) (aws.Config, error)

// Engine rotates access keys.
type Engine struct {
	settings Settings
	byRole   bool
}

var (
	_ engine.Minter    = (*Engine)(nil)
	_ engine.Retirer   = (*Engine)(nil)
	_ engine.DryRunner = (*Engine)(nil)
)

// New returns the engine. A key makes its successor itself, with the permissions
// that its user has on itself; byRole has the settings' credentials do that, for
// users who must not have such permissions. Even then the secret's own key must
// be accepted first. That choice is the operator's and is in no secret or tag.
func New(settings Settings, byRole bool) *Engine { return &Engine{settings, byRole} }

// The secret's fields. With "Version": 1 beside them, the value is what the SDKs
// and the CLI expect of a credential_process.
// Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html
const (
	userField   = "username"
	idField     = "AccessKeyId"
	secretField = "SecretAccessKey"
)

// Kind describes the engine. IAM makes the keys, so there is no password policy.
func (*Engine) Kind() engine.Kind {
	return engine.Kind{Names: []string{"iam"}, Overlap: engine.BothWork, UserField: userField, SecretFields: []string{idField, secretField}}
}

// login is an access key as a secret holds it.
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
	const advice = `the value must be {"engine":"iam","username":"…","AccessKeyId":"AKIA…","SecretAccessKey":"…"}`
	if !v.IsObject() {
		return login{}, engine.Errorf(engine.InvalidSecret, advice, "the secret's value cannot be read: %s", v.Fault())
	}
	var l login
	var faults []string
	for _, f := range []struct {
		name string
		to   *string
		form *lazyregexp.Regexp
		what string
	}{
		{userField, &l.user, userForm, "is not the name of an IAM user"},
		{idField, &l.id, idForm, "is not the id of a user's access key"},
		{secretField, &l.secret, secretForm, "is not a secret access key"},
	} {
		var ok bool
		switch *f.to, ok = v.Text(f.name); {
		case !ok || *f.to == "":
			faults = append(faults, f.name+" is missing")
		case !f.form.MatchString(*f.to):
			faults = append(faults, f.name+" "+f.what)
		}
	}
	if faults != nil {
		return login{}, engine.Errorf(engine.InvalidSecret, advice, "the secret's value is not an access key: %s", strings.Join(faults, ", "))
	}
	return l, nil
}

// settled is the age from which on a key that is in no version of the secret can
// be nobody's who is still at work: one attempt has its time, and storing what it
// made takes some seconds more. Secrets Manager repeats a failed rotation
// later than this.
const settled = time.Minute

// Next checks the value's form; the target knows the next one.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	_, err := parse(r.Current)
	return r.Current, err
}

// DryRun finds out whether Mint would find a place for the next key.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error {
	_, _, _, err := e.look(ctx, r)
	if errors.Is(err, engine.Unsettled) {
		return nil // it passes
	}
	return err
}

// look opens a session with who makes the next key, and returns the user's other keys, which Mint
// deletes. It fails where one of them may be somebody else's.
func (e *Engine) look(ctx context.Context, r *engine.Request) (s *session, state state, others []string, err error) {
	if _, err := parse(r.Current); err != nil {
		return nil, state, nil, err
	}
	if s, state, err = e.state(ctx, r); err != nil {
		return nil, state, nil, err
	}
	if _, ok := find(state.keys, s.login.id); !ok {
		return nil, state, nil, engine.Errorf(engine.Unsettled, "wait: Secrets Manager repeats the rotation by itself",
			"IAM does not list the access key %s of %q, which STS accepts", s.login.id, s.login.user)
	}
	for _, k := range state.keys {
		if id := aws.ToString(k.AccessKeyId); id != s.login.id {
			if err := e.ours(ctx, r, s, state, k); err != nil {
				return nil, state, nil, err
			}
			others = append(others, id)
		}
	}
	return s, state, others, nil
}

// Mint makes a key, after it has deleted the one before the current one, or one
// that a crash left behind.
func (e *Engine) Mint(ctx context.Context, r *engine.Request) (engine.Value, error) {
	s, state, others, err := e.look(ctx, r)
	if err != nil {
		return engine.Value{}, err
	}
	for _, id := range others {
		if err := s.delete(ctx, id); err != nil {
			return engine.Value{}, err
		}
	}
	// Noted before the key is made, this tells a later call whose it is.
	if err := s.note(ctx, intent{login: s.login.id, version: r.Version, at: state.now}.text(r.Secret)); err != nil {
		return engine.Value{}, err
	}
	id, secret, err := s.create(ctx)
	if err != nil {
		if turnedAway(err) && !errors.Is(err, engine.Unsettled) {
			// There is no key of this call for the note to explain, but somebody may
			// make one by hand now. Where the note stays, its time bounds it; where a
			// second key is there all of a sudden, another call's may need the note.
			_ = s.note(ctx, state.noted)
		}
		return engine.Value{}, err
	}
	// The rest of the time is for taking the key back.
	within, cancel := ctx, context.CancelFunc(func() {})
	if end, ok := ctx.Deadline(); ok {
		within, cancel = context.WithDeadline(ctx, end.Add(-time.Until(end)/3))
	}
	defer cancel()
	if _, err := s.await(within, id, true); err != nil {
		if derr := s.delete(ctx, id); derr != nil {
			err = engine.Errorf(engine.CauseOf(err), "delete that key if a rotation a minute later does not", "the new access key %s could not be taken back: %w; that is due because: %w", id, derr, err)
		}
		return engine.Value{}, err
	}
	return r.Current.With(idField, id).With(secretField, secret), nil
}

// ours returns an error unless a key, which is not the one that acts, is this secret's. The values of
// the secret alone prove nothing: whoever may write them can put any key's id there. So the intent has
// to explain the key, or its login has to be accepted. One that is so young that a call at the same
// time may be about to store it is left alone.
func (e *Engine) ours(ctx context.Context, r *engine.Request, s *session, state state, k types.AccessKeyMetadata) error {
	id, created := aws.ToString(k.AccessKeyId), aws.ToTime(k.CreateDate)
	current, _ := r.Current.Text(idField)
	if id == current && k.Status == types.StatusTypeActive {
		// STS refused it and IAM says that it works.
		return engine.Errorf(engine.TargetFailed, "put the right "+secretField+" into the current value, or make the key inactive, upon which a rotation replaces it",
			"the access key %s of %q in AWSCURRENT is active, but was refused with the secret's "+secretField, id, s.login.user)
	}
	if id == state.intent.login {
		return nil
	}
	proved, err := e.proves(ctx, r, s, r.Previous, id)
	switch {
	case err != nil || proved:
		return err
	case state.now.Sub(created) < settled:
		return engine.Errorf(engine.Unsettled, "wait: Secrets Manager repeats the rotation by itself",
			"the access key %s of %q is less than a minute old, so that another call may be about to store it", id, s.login.user)
	case !state.intent.explains(id, created):
		return engine.Errorf(engine.TakeoverRefused, "delete that key if nothing uses it, as `aws iam get-access-key-last-used` tells: a user has two keys, and a rotation needs one of the places",
			"the access key %s of %q is not known to be this secret's", id, s.login.user)
	}
	return nil
}

// proves reports whether a value holds the key with the id: STS accepts it, as the session's user.
func (e *Engine) proves(ctx context.Context, r *engine.Request, s *session, v engine.Value, id string) (bool, error) {
	if named, _ := v.Text(idField); named != id {
		return false, nil
	}
	by, err := e.open(ctx, r, v)
	if errors.Is(err, engine.LoginRefused) || errors.Is(err, engine.InvalidSecret) {
		return false, nil
	}
	return err == nil && by.user == s.user, err
}

// Set makes sure that the pending key is there and active. It became valid when it was made. One that
// somebody has made inactive since stays so: it may have leaked, or be another key altogether.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error {
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	s, err := e.open(ctx, r, r.Login)
	if err != nil {
		return err
	}
	advice := "remove AWSPENDING from version " + r.Version + " and rotate again"
	k, err := s.await(ctx, pending.id, true)
	switch {
	case errors.Is(err, engine.Unsettled):
		return engine.Errorf(engine.TargetFailed, advice, "the pending access key %s of %q does not exist", pending.id, pending.user)
	case err == nil && k.Status != types.StatusTypeActive:
		return engine.Errorf(engine.TargetFailed, advice, "the pending access key %s of %q was made inactive, and stays so", pending.id, pending.user)
	}
	return err
}

// Verify asks STS who the key is, and where keys make their successors, IAM for
// what that needs and changes nothing. A key that IAM has just made is refused for
// some seconds, so that a pending one is asked about until ctx is nearly done.
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	for begin := time.Now(); ; {
		err := e.verify(ctx, r, v)
		fresh := v.Equal(r.Pending) && !v.Equal(r.Login)
		if !errors.Is(err, engine.LoginRefused) || !fresh {
			return err
		}
		if pause(ctx, moment) != nil {
			if time.Since(begin) < delay {
				return engine.Errorf(engine.Unsettled, "wait: Secrets Manager repeats the rotation by itself", "IAM may not know the new access key yet: %w", err)
			}
			return err
		}
	}
}

// moment is how long to wait for IAM before asking again.
const moment = 250 * time.Millisecond

// delay is how long IAM may take to know a new key, as a rule: who asked for less has
// not been told that the key is wrong.
const delay = 5 * time.Second

func (e *Engine) verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	s, err := e.open(ctx, r, v)
	if err != nil || e.byRole {
		return err
	}
	_, err = s.state(ctx)
	return err
}

// Retire makes the key that r.Pending replaced inactive. It can be made active
// again until the next rotation deletes it.
func (e *Engine) Retire(ctx context.Context, r *engine.Request) error {
	old, err := parse(r.Current)
	if err != nil {
		return err
	}
	pending, err := parse(r.Pending)
	if err != nil || old.id == pending.id {
		return err
	}
	s, state, err := e.state(ctx, r)
	if err != nil {
		return err
	}
	if err := e.mayEnd(ctx, r, s, state, r.Current); err != nil {
		return err
	}
	return s.deactivate(ctx, old.id)
}

// Revoke deletes the key that Mint has made. Mint has waited until it was listed.
func (e *Engine) Revoke(ctx context.Context, r *engine.Request) error {
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	s, state, err := e.state(ctx, r)
	if err != nil {
		return err
	}
	if err := e.mayEnd(ctx, r, s, state, r.Pending); err != nil {
		return err
	}
	if err := s.delete(ctx, pending.id); err != nil {
		return err
	}
	_, err = s.await(ctx, pending.id, false)
	return err
}

// state opens a session with r.Login and reads what IAM knows of the user.
func (e *Engine) state(ctx context.Context, r *engine.Request) (s *session, is state, err error) {
	if s, err = e.open(ctx, r, r.Login); err == nil {
		is, err = s.state(ctx)
	}
	return s, is, err
}

// mayEnd returns an error unless the key that a value names is gone, or is this secret's.
func (e *Engine) mayEnd(ctx context.Context, r *engine.Request, s *session, state state, v engine.Value) error {
	id, _ := v.Text(idField)
	k, ok := find(state.keys, id)
	if !ok || state.intent.explains(id, aws.ToTime(k.CreateDate)) {
		return nil
	}
	proved, err := e.proves(ctx, r, s, v, id)
	if err == nil && !proved {
		err = engine.Errorf(engine.TakeoverRefused, "delete that key by hand if nothing uses it", "the access key %s of %q is not known to be this secret's", id, s.login.user)
	}
	return err
}

// pause waits for a moment, and fails where ctx would be done soon after.
func pause(ctx context.Context, moment time.Duration) error {
	const reserve = 250 * time.Millisecond
	if end, ok := ctx.Deadline(); ok && time.Until(end) < moment+reserve {
		return fmt.Errorf("no time is left: %w", context.DeadlineExceeded)
	}
	t := time.NewTimer(moment)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
