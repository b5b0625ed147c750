// Package enginetest is the conformance suite for engines. It runs whole rotations against the simulated Secrets
// Manager and the engine's target, and interrupts them at every point. The target is the real server if the tests have
// one, otherwise a fake; docs/engines/README.md says which.
//
// An engine's test passes a Harness to Run:
//
//	func TestEngine(t *testing.T) {
//		server := testserver.SharedPostgres(t, testserver.PostgresOptions{})
//		enginetest.Run(t, func(t *testing.T) enginetest.Harness { return &harness{server} })
//	}
//
// A harness creates users and logs in with an administrator's client instead of the engine's, because engine and
// harness must not share a defect. Users alternate if New returns a superuser secret. Also implement Logged, Bound or
// Minted if they apply. Strangers, Administrators and Workload each add a part to the suite.
//
// For a superuser with fewer rights, such as the master user of RDS, call Run in another test with
// a second harness, whose New returns that superuser's value.
//
// To run one part while working on an engine:
//
//	go test -race -run 'TestEngine/Sweep' ./rotation/postgres
//
// The test's name must begin with TestEngine: `make test` finds the sweeps by it.
//
// The suite's figures are lines such as these, which `make test` prints at the end:
//
//	sweep postgres single: 51 points, 0 lock-outs
//	cuts postgres single: 31 points, 0 lock-outs
//	witness postgres single: 210 logins, 9 refused, window 31 ms
package enginetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"example.com/rotator/rotation/engine"
)

// Harness connects the suite to an engine and its target.
type Harness interface {
	// Engine returns a new engine.
	Engine() engine.Engine
	// Target returns the target's host:port on this machine, or "" for an engine without one. The suite puts a proxy in
	// front of it to count and cut exchanges, so the target's certificate must be valid for localhost.
	Target() string
	// New creates a user with a new name at the target and returns the secret's value, with the given host and port.
	// superuser is the superuser secret's value, or the zero Value for a user that changes its own credential.
	New(ctx context.Context, host string, port int) (value, superuser engine.Value, err error)
	// Open logs in with a value at the target itself, with a client other than the engine's. The error wraps
	// engine.LoginRefused if and only if the target refused the credential.
	Open(ctx context.Context, v engine.Value) error
	// Restore makes the value's credential the user's only one, as an administrator would by hand.
	// If the target issues the values, it returns errors.ErrUnsupported.
	Restore(ctx context.Context, v engine.Value) error
	// Traits describes the target and the secret.
	Traits() Traits
}

// Traits describes a harness's target and secret.
type Traits struct {
	Overlap   bool              // the current value must open the target at every moment of a rotation
	Remembers bool              // the target can refuse to take an earlier credential back
	Public    []string          // secret fields that only name the credential: the target itself logs them
	Env       map[string]string // variables that the function needs
}

// Logged is a Harness whose target keeps a log that can be searched.
type Logged interface {
	// Logs returns everything that the target has logged.
	Logs() (string, error)
}

// Bound is a Harness whose target must record which secret a user belongs to.
type Bound interface {
	// Bind records it, as the operator does when creating the secret.
	Bind(ctx context.Context, secret string, v engine.Value) error
}

// Minted is a Harness for an engine.Minter.
type Minted interface {
	// Strays returns the names of the user's credentials at the target that are not in versions,
	// which holds every value of the secret.
	Strays(ctx context.Context, versions []engine.Value) ([]string, error)
}

// Act is an action at the target.
type Act struct {
	Name string
	// Do performs the act. The suite calls undo, unless it is nil, after the rotation.
	Do func(ctx context.Context) (undo func(), err error)
	// Observed, unless it is nil, is called after the rotation. It returns an error if the act has given the login that
	// performed it a credential or a right.
	Observed func(ctx context.Context) error
}

// Strangers is a Harness whose target allows actions to logins without administrative rights.
type Strangers interface {
	// Acts returns what such logins can do to block, redirect or observe a rotation of v's user, or
	// of the user that alternates with it; v is AWSCURRENT. The acts must not block the login
	// itself. The suite calls Acts for every pair, performs one act, and rotates the pair.
	Acts(ctx context.Context, v engine.Value) ([]Act, error)
}

// Administrators is a Harness with superuser secrets.
type Administrators interface {
	// Administrators returns the ways to make v's user an administrator in the target's terms
	// without changing its password. The suite calls it for every user and uses one of the ways.
	Administrators(ctx context.Context, v engine.Value) ([]Act, error)
}

// Workload is a Harness whose users run an application.
type Workload interface {
	// Work acts as v's user does in an application: it creates, uses and changes objects, including
	// those that earlier calls with another value of the secret created.
	Work(ctx context.Context, v engine.Value) error
}

// Run runs the whole suite. harness is called once for each of its parts, which run in parallel.
func Run(t *testing.T, harness func(t *testing.T) Harness) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // most of the time is waiting
			c.run(t, harness(t))
		})
	}
}

// figure logs a figure and appends it to the file that ROTATOR_FIGURES names, because `go test`
// hides the log of tests that pass.
func figure(t testing.TB, format string, args ...any) {
	t.Helper()
	t.Logf(format, args...)
	name := os.Getenv("ROTATOR_FIGURES")
	if name == "" {
		return
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = fmt.Fprintf(f, format+"\n", args...)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Errorf("the figure could not be saved: %v", err)
	}
}

// checks are the parts of the suite.
var checks = []struct {
	name string
	run  func(t testing.TB, h Harness)
}{
	{"Standing", standing},
	{"Sweep", sweep},
	{"Cuts", cuts},
	{"Duplicates", duplicates},
	{"Late", late},
	{"Witness", watched},
	{"Silence", silence},
	{"Edits", edits},
	{"Identity", identity},
	{"Recovery", recovery},
	{"Recover", repair},
	{"Preflight", preflight},
	{"Strangers", strangers},
	{"Administrators", administrators},
	{"Rights", rights},
	{"Birth", birth},
	{"Writer", writer},
	{"HostileHost", hostileHost},
	{"LeftBehind", leftBehind},
}
