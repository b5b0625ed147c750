package engine

import (
	"context"
	"errors"
)

// Engine handles one kind of credential and its target, the system that checks it. It talks to the target and never to
// Secrets Manager, keeps no state between calls, and is safe for concurrent use.
//
// The machine may repeat a method with the same Request, concurrently or not, even after an interruption at any point.
// The outcome must be the same. Every method returns when ctx is done. An error that Errorf did not create counts as
// TargetFailed. It may wrap a driver's error: the machine removes the secret's values from its text.
type Engine interface {
	// Kind describes the engine. It always returns the same value.
	Kind() Kind

	// Next returns the value that follows r.Current and changes nothing. An error with the cause InvalidSecret names
	// everything that is wrong with the value's format. A Minter, whose target chooses the value, checks the format and
	// returns r.Current.
	Next(ctx context.Context, r *Request) (Value, error)

	// Set makes r.Pending open the target, acting as r.Login. If the target accepts two credentials, r.Current still
	// opens it afterwards. With r.KeepCurrent, Set changes the target only if r.Current keeps opening it; otherwise it
	// changes nothing and returns an error that wraps ErrOneAtATime.
	//
	// The cause is LoginRefused only if the target refused r.Login, before anything was changed. After any other error
	// the machine logs in to see whether the change was made, so Set does not need to find out.
	Set(ctx context.Context, r *Request) error

	// Verify logs in with v, sends a command that the target answers, and changes nothing. If v's user will perform the
	// next rotation itself, Verify also checks that it can. The result is nil if the target accepted v, an error with
	// the cause LoginRefused if it refused v, and any other error if the answer is unknown. An error that wraps
	// ErrNotVerifiable means that it will always be unknown.
	Verify(ctx context.Context, r *Request, v Value) error
}

// Constructor returns an engine whose connections follow a TLS policy. It does not connect.
type Constructor func(TLSPolicy) Engine

// ErrNotVerifiable is wrapped by Verify's error if the value does not say where to log in. The rotation then skips the
// login in testSecret; a decision that depends on the login fails.
var ErrNotVerifiable = errors.New("the credential cannot be tried")

// ErrOneAtATime is wrapped by Set's error if it could not keep r.Current valid: finishSecret then makes the change.
var ErrOneAtATime = errors.New("the target accepts one credential at a time")

// Overlap says when a target accepts the old and the new credential of a single user.
type Overlap int

const (
	// OneAtATime means that setting the new credential ends the old one. finishSecret makes the change.
	OneAtATime Overlap = iota
	// AskTarget means that only the target knows. setSecret calls Set with Request.KeepCurrent.
	AskTarget
	// BothWork means that the old credential works until a later rotation. setSecret makes the change.
	BothWork
)

// DryRunner is an Engine that can find out whether Set would succeed. createSecret calls DryRun before it stores the
// value that Next returned, so a value that the target's policy rejects is never staged. testSecret calls it again
// where finishSecret makes the change.
type DryRunner interface {
	Engine
	// DryRun logs in as r.Login, proves as far as the target allows that Set(ctx, r) would succeed, and leaves the
	// target as it was. Its errors are those of Set.
	DryRun(ctx context.Context, r *Request) error
}

// Adopter is an Engine whose pairs of users need more than a password if something else created them, such as AWS's
// template. Without Request.Adopt, Set refuses such a pair.
type Adopter interface {
	Engine
	// Adopt takes over the users of r.Current and r.Pending, acting as r.Login, and returns every change, one line
	// each. If apply is false, it changes nothing. It can be repeated.
	Adopt(ctx context.Context, r *Request, apply bool) (plan []string, err error)
}

// Minter is an Engine whose target issues the credentials, such as tokens and access keys.
//
// A call can be cut off after the target has issued a credential and before it is stored. A later Mint or Set for this
// secret must find and revoke it; Set is the safer place, because it knows which credential was stored. The engine must
// distinguish a stray credential from those that others issued and from one that a concurrent call is about to store.
type Minter interface {
	Engine
	// Mint, acting as r.Login, has the target issue the credential after r.Current, and returns the new value.
	Mint(ctx context.Context, r *Request) (Value, error)
	// Revoke revokes r.Pending, which was not stored. A credential that is already gone is not an error.
	Revoke(ctx context.Context, r *Request) error
}
