package mongodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

type session struct {
	target engine.Target
	client *mongo.Client
	ctx    context.Context // ends with the connection's first failure
	end    context.CancelCauseFunc
	rights []privilege
}

// privilege is a privilege in the server's format.
// Source: https://www.mongodb.com/docs/manual/reference/resource-document/
type privilege struct {
	Resource struct {
		Database    *string `bson:"db"`
		Collection  *string `bson:"collection"`
		AnyResource bool    `bson:"anyResource"`
	} `bson:"resource"`
	Actions []string `bson:"actions"`
}

// connect logs in at the secret's host. It does not follow a server's list of other members: a credential is sent only
// to a host that its version names. A connection alone proves nothing, because servers also answer clients before login.
func (e *Engine) connect(ctx context.Context, t engine.Target) (*session, error) {
	s := &session{target: t}
	s.ctx, s.end = context.WithCancelCause(ctx)
	o := options.Client().SetHosts([]string{t.Address()}).SetDirect(true).
		SetDialer(&dialer{s.ctx, e.tls.Attempts(t), s.end}).
		SetServerMonitor(&event.ServerMonitor{ServerDescriptionChanged: s.described}).SetServerMonitoringMode("poll").
		SetAppName("rotator").SetRetryWrites(false).SetRetryReads(false).
		SetAuth(options.Credential{Username: t.User, Password: t.Password, AuthSource: t.Database})
	var err error
	if s.client, err = mongo.Connect(o); err != nil {
		s.end(err)
		return nil, engine.Errorf(engine.InvalidSecret, "correct the secret's value; the engine's page describes it",
			"the secret's value is not a valid login: %w", err)
	}
	if err := s.prove(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// described ends the session before the login if the server says that it cannot write.
func (s *session) described(e *event.ServerDescriptionChangedEvent) {
	if kind := e.NewDescription.Kind; strings.HasPrefix(kind, "RS") && kind != "RSPrimary" {
		s.end(engine.Errorf(engine.TargetFailed,
			"set host to the primary, or to a cluster endpoint or load balancer that leads to it",
			"%s is not the primary of its replica set", s.target.Address()))
	}
}

// Close ends the session without waiting long for a hung server.
func (s *session) Close() {
	s.end(context.Canceled)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_ = s.client.Disconnect(ctx) // anything left ends with the process
}

// prove asks the server who is logged in and what that user may do.
func (s *session) prove() error {
	var status struct {
		Auth struct {
			Users []struct {
				User     string `bson:"user"`
				Database string `bson:"db"`
			} `bson:"authenticatedUsers"`
			Privileges []privilege `bson:"authenticatedUserPrivileges"`
		} `bson:"authInfo"`
	}
	command := bson.D{{Key: "connectionStatus", Value: 1}, {Key: "showPrivileges", Value: true}}
	if err := s.run(s.target.Database, command, &status); err != nil {
		return err
	}
	for _, u := range status.Auth.Users {
		if u.User == s.target.User && u.Database == s.target.Database {
			s.rights = status.Auth.Privileges
			return nil
		}
	}
	return engine.Errorf(engine.TargetFailed, "enable access control on the server",
		"the server does not confirm that %q is logged in", s.target.User)
}

// run decodes a command's answer into out. Even if the function freezes, maxTimeMS ends the command.
func (s *session) run(database string, command bson.D, out any) error {
	if err := s.client.Database(database).RunCommand(s.ctx, command).Decode(out); err != nil {
		return s.failed("the command "+command[0].Key+" failed", err)
	}
	return nil
}

// Codes of the server's errors.
// Source: https://www.mongodb.com/docs/manual/reference/error-codes/
const (
	unauthorized         = 13
	authenticationFailed = 18
	notImplemented       = 238
	// notSupported is DocumentDB's code.
	// Source: https://docs.aws.amazon.com/documentdb/latest/developerguide/troubleshooting.html
	notSupported = 303
	userExists   = 51003
)

func code(err error) int32 {
	if e, ok := errors.AsType[mongo.CommandError](err); ok {
		return e.Code
	}
	return 0
}

func (s *session) failed(what string, err error) error {
	cause := context.Cause(s.ctx)
	if e, ok := errors.AsType[*engine.Error](cause); ok {
		return e
	}
	switch code(err) {
	case authenticationFailed:
		return engine.Errorf(engine.LoginRefused,
			"check the user's name, password and allowed addresses, and that dbname is the database that defines it",
			"the login of %q in the database %q is refused: %w", s.target.User, s.target.Database, err)
	case unauthorized:
		return engine.Errorf(engine.PrivilegeMissing, advicePrivilege, "%s: %w", what, err)
	case userExists:
		return engine.Errorf(engine.TargetFailed, "rotate again", "%s: %w: %w", what, pair.ErrExists, err)
	}
	if cause != nil {
		err = cause // the driver keeps only its text
	}
	if n := engine.NetworkError(s.target, err); n != nil {
		return n
	}
	return engine.Errorf(engine.TargetFailed, "see the server's message", "%s: %w", what, err)
}

const advicePrivilege = "grant the user a role with changeOwnPassword and viewUser, or name the secret of a user " +
	"with userAdmin in masterarn"

func (s *session) itself() error {
	if s.has(s.target.Database, "changeOwnPassword") || s.has(s.target.Database, "changePassword") {
		return nil
	}
	return engine.Errorf(engine.PrivilegeMissing, advicePrivilege, "%q may not change its own password", s.target.User)
}

func (s *session) needs(database string, actions ...string) error {
	for _, a := range actions {
		if !s.has(database, a) {
			return engine.Errorf(engine.PrivilegeMissing,
				fmt.Sprintf("grant the superuser the role userAdmin on %q or userAdminAnyDatabase", database),
				"the superuser %q lacks the action %s on the database %q", s.target.User, a, database)
		}
	}
	return nil
}

// has reports whether the login has an action on a database. It is true if the server reveals no privileges.
func (s *session) has(database, action string) bool {
	if len(s.rights) == 0 {
		return true
	}
	return slices.ContainsFunc(s.rights, func(p privilege) bool {
		on := p.Resource.AnyResource || p.Resource.Database != nil && p.Resource.Collection != nil &&
			*p.Resource.Collection == "" && (*p.Resource.Database == "" || *p.Resource.Database == database)
		return on && (slices.Contains(p.Actions, action) || slices.Contains(p.Actions, "anyAction"))
	})
}
