package engine

import (
	"context"
	"errors"
)

// Engine knows one kind of credential and the system that checks it. It talks
// to that system and never to Secrets Manager; it keeps no state between calls
// and is safe for concurrent use.
//
// Every method may be repeated, run twice at once, or run again after it was
// cut off at any point, with the same Request, and must then come to the same
// outcome. Every method returns when ctx is done. Errors are made by Errorf with
// a cause; an error without one counts as TargetFailed. The errors a driver
// returns may be wrapped as they are: the core removes the secret's values from
// their text.
type Engine interface {
	// Kind describes the engine. It always returns the same.
	Kind() Kind

	// Next returns the value to follow r.Current, and changes nothing. An error with
	// the cause InvalidSecret says everything that is wrong with the value's form. A
	// Minter, which cannot know the value, checks the form and returns r.Current.
	Next(ctx context.Context, r *Request) (Value, error)

	// Set makes r.Pending open the target, acting as r.Login. Where the target
	// accepts two credentials, r.Current still opens it when Set returns. With
	// r.KeepCurrent, Set changes the target only if r.Current keeps opening it;
	// otherwise it changes nothing and returns an error that wraps ErrOneAtATime.
	//
	// The error has the cause LoginRefused only if the target refused r.Login
	// itself, before anything was changed. After any other error the core decides
	// by a login whether the change was made, so an engine does not need to look.
	Set(ctx context.Context, r *Request) error

	// Verify logs in with v and checks what it may do: at least that a command
	// is answered, and where v is to make the next rotation by itself, that it
	// may. It changes nothing. nil means accepted; an error with the cause
	// LoginRefused means that the target refused v; any other error means that
	// it could not be told. One that wraps ErrNotVerifiable means that it never can be,
	// as the value does not say where to log in.
	Verify(ctx context.Context, r *Request, v Value) error
}

// ErrNotVerifiable is in the error of a Verify that has nothing to log in to and never
// will. testSecret then lets the rotation go on, as it would without the step; wherever
// an answer decides something, it is no answer.
var ErrNotVerifiable = errors.New("the credential cannot be tried")

// ErrOneAtATime is in the error of a Set that was asked to keep r.Current valid and could
// not. It is not a failure: finishSecret then makes the change.
var ErrOneAtATime = errors.New("the target accepts one credential at a time")

// Overlap says when a target accepts the old and the new credential of a single user.
type Overlap int

const (
	// OneAtATime: setting the new credential ends the old one, now or after a time
	// that the target chooses. finishSecret makes the change.
	OneAtATime Overlap = iota
	// AskTarget: only the target knows. setSecret calls Set with Request.KeepCurrent.
	AskTarget
	// BothWork: the old credential works until a later rotation or Retire ends it.
	// setSecret makes the change.
	BothWork
)

// DryRunner is an Engine that can find out whether Set would succeed. The core
// then calls DryRun with the value that Next returned before it is stored, so
// that a value that the target's policy rejects is never staged.
type DryRunner interface {
	Engine
	// DryRun logs in as r.Login and proves as far as the target lets it that
	// Set(ctx, r) would succeed, and leaves the target as it was. The errors
	// are those of Set, and PolicyRejected.
	DryRun(ctx context.Context, r *Request) error
}

// Retirer is an Engine whose target lets old and new open it at once. By
// default the old one is retired by the Set of the next rotation; the core
// calls Retire where the configuration asks for it to happen earlier.
type Retirer interface {
	Engine
	// Retire makes every credential of the user but r.Pending, which is proved
	// to work, stop working, acting as r.Login. A credential that is gone already
	// is no error.
	Retire(ctx context.Context, r *Request) error
}

// Minter is an Engine whose target issues the credentials, such as tokens and access keys.
//
// A call can be cut off after the target has issued a credential and before it is stored. So
// that none stays behind, a later Mint or Set for this secret finds and revokes it; Set is the
// safer place, because it knows which one was stored. A stray credential must be told from what
// others issued, and from what a concurrent call is about to store.
type Minter interface {
	Engine
	// Mint has the target issue the credential to follow r.Current, acting as r.Login, and
	// returns the value with it.
	Mint(ctx context.Context, r *Request) (Value, error)
	// Revoke takes r.Pending back, which Mint returned and which was not stored. A
	// credential that is gone already is no error.
	Revoke(ctx context.Context, r *Request) error
}
