// Package enginetest is the suite that runs for every engine. It runs whole
// rotations by the core, against the simulated Secrets Manager and the engine's
// target, and breaks them at every point. The target is the real server where the
// tests have one, otherwise a stand-in; docs/engines/README.md says which.
//
// An engine hands over a Harness and calls Run:
//
//	func TestEngine(t *testing.T) {
//		server := testserver.SharedPostgres(t, testserver.PostgresOptions{})
//		enginetest.Run(t, func(t *testing.T) enginetest.Harness { return &harness{server} })
//	}
//
// A harness makes users by an administrator's own client and logs in by it, not by
// the engine, so that engine and harness cannot be wrong in the same way. Where the
// current value must work throughout, Overlap says so, and the suite holds the
// engine to it; alternating users it knows by the superuser secret that New returns.
// Implement Logged, Configured, Bound, Minted, Remembering or Public as well, where they apply.
// Strangers, Administrators and Workload each add a part to the suite.
//
// A superuser with fewer rights, such as the master user of RDS, is a second harness, whose New
// returns its value: call Run for it in another test.
//
// To run one part while working on an engine:
//
//	go test -race -run 'TestEngine/Sweep' ./rotation/postgres
//
// The test's name begins with TestEngine, by which `make test` finds the sweeps.
//
// Its figures are lines such as these, which `make test` prints in the end:
//
//	sweep postgres single: 92 points, 0 lock-outs
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
	// Engine returns the engine, made anew.
	Engine() engine.Engine
	// Target returns the target's host:port on this machine, or "" for an
	// engine without one. The suite puts a proxy before it, which it counts by
	// and cuts; a certificate for localhost is as good for the proxy.
	Target() string
	// New makes a user of a new name at the target and returns the secret's
	// value, in which host and port are the given ones. superuser is the
	// superuser secret's value, or the zero Value for a user that rotates by
	// itself.
	New(ctx context.Context, host string, port int) (value, superuser engine.Value, err error)
	// Open logs in with a value, by a client that is not the engine, at the
	// target itself. The error wraps engine.LoginRefused if and only if the
	// target refused the credential.
	Open(ctx context.Context, v engine.Value) error
	// Restore makes the value's credential the user's only one, as an
	// administrator would by hand. An engine whose values the target makes
	// returns errors.ErrUnsupported.
	Restore(ctx context.Context, v engine.Value) error
	// Overlap says whether the current value must open the target at every
	// moment of a rotation.
	Overlap() bool
}

// Logged is a Harness whose target keeps a log that can be searched.
type Logged interface {
	// Logs returns all that the target has logged.
	Logs() (string, error)
}

// Configured is a Harness whose secret needs settings of the function.
type Configured interface {
	// Env returns environment variables.
	Env() map[string]string
}

// Bound is a Harness whose target must be told which secret a user belongs to.
type Bound interface {
	// Bind tells it, as the operator does who makes the secret.
	Bind(ctx context.Context, secret string, v engine.Value) error
}

// Minted is a Harness of a engine.Minter.
type Minted interface {
	// Strays returns the names of the credentials that the user has at the target
	// and that are in none of the values, which are all that the secret has.
	Strays(ctx context.Context, versions []engine.Value) ([]string, error)
}

// Remembering is a Harness whose target can refuse to take an earlier credential back.
type Remembering interface {
	// Remembers reports whether it does.
	Remembers() bool
}

// Public is a Harness of a credential that has a name, which its system logs itself.
type Public interface {
	// Public returns the secret fields that name the credential and are no secret.
	Public() []string
}

// Act is something that somebody does at the target.
type Act struct {
	Name string
	// Do does it. undo, unless it is nil, ends it: the suite calls it after the rotation.
	Do func(ctx context.Context) (undo func(), err error)
	// Observed, unless it is nil, is called after the rotation. It returns an error if the act has
	// shown a credential, or given a right, to the login that did it.
	Observed func(ctx context.Context) error
}

// Strangers is a Harness whose target lets logins without administrative rights do something.
type Strangers interface {
	// Acts returns what such logins can do to block, redirect or observe a rotation of v's user, or
	// of the user that alternates with it; v is AWSCURRENT. They may not block the login itself. The
	// suite calls Acts for every pair, does one act, and rotates the pair.
	Acts(ctx context.Context, v engine.Value) ([]Act, error)
}

// Administrators is a Harness with superuser secrets.
type Administrators interface {
	// Administrators returns the ways to make v's user an administrator by the target's own notion,
	// which leave its password as it is. The suite calls it for every user and takes one of them.
	Administrators(ctx context.Context, v engine.Value) ([]Act, error)
}

// Workload is a Harness of users who have work to do.
type Workload interface {
	// Work does as v's user what an application does, such as creating, using and changing objects
	// that earlier calls with another value of the secret have left.
	Work(ctx context.Context, v engine.Value) error
}

// Run runs the whole suite. harness is called once for each of its parts, which
// run in parallel.
func Run(t *testing.T, harness func(t *testing.T) Harness) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // much of it is waiting
			if err := c.run(t, harness(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// figure logs a figure, and appends it to the file that ROTATOR_FIGURES names, as
// `go test` shows no log of tests that pass.
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
		t.Errorf("the figure could not be kept: %v", err)
	}
}

// check is one part of the suite. It returns an error, rather than failing the
// test, so that the suite's own tests can see it catch a wrong engine.
type check struct {
	name string
	run  func(t testing.TB, h Harness) error
}

var checks = []check{
	{"Standing", standing},
	{"Sweep", sweep},
	{"Cuts", cuts},
	{"Duplicates", duplicates},
	{"Late", late},
	{"Witness", watched},
	{"Faults", faults},
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
	{"Tagger", tagger},
	{"LeftBehind", leftBehind},
}
