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

// session is a client that has logged in to one server.
type session struct {
	login  login
	client *mongo.Client
	ctx    context.Context // ends with the first failure of the connection
	end    context.CancelCauseFunc
	rights []privilege
}

// privilege is what a user may do.
// Source: https://www.mongodb.com/docs/manual/reference/resource-document/
type privilege struct {
	Resource struct {
		Database    *string `bson:"db"`
		Collection  *string `bson:"collection"`
		AnyResource bool    `bson:"anyResource"`
	} `bson:"resource"`
	Actions []string `bson:"actions"`
}

// errReader is in the error of a login at a member of a replica set that is not the primary.
var errReader = errors.New("not the primary of its replica set")

// open logs in at the secret's host, or at the first primary of those that DNS lists for it. A server's list of the
// other members is not followed: a credential is sent only to a host that its version names.
func (e *Engine) open(ctx context.Context, v engine.Value) (*session, error) {
	l, err := parse(v)
	if err != nil {
		return nil, err
	}
	servers, err := l.servers(ctx)
	if err != nil {
		return nil, err
	}
	return e.first(ctx, l, servers)
}

// first logs in at the first server that is not a reader and answers within its share of the time.
func (e *Engine) first(ctx context.Context, l login, servers []engine.Target) (*session, error) {
	var failure error
	for i, server := range servers {
		l.Target = server
		share := time.Hour
		if end, ok := ctx.Deadline(); ok {
			share = time.Until(end) / time.Duration(len(servers)-i)
		}
		s, err := e.dial(ctx, l, share)
		if err == nil || errors.Is(err, engine.LoginRefused) {
			return s, err
		}
		if failure == nil || errors.Is(failure, errReader) {
			failure = err
		}
	}
	return nil, failure
}

// dial logs in at one server. A connection alone proves nothing, because servers also talk to clients that have not
// logged in.
func (e *Engine) dial(ctx context.Context, l login, limit time.Duration) (*session, error) {
	s := &session{login: l}
	s.ctx, s.end = context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { s.end(context.DeadlineExceeded) })
	defer timer.Stop()
	o := options.Client().SetHosts([]string{l.Address()}).SetDirect(true).SetDialer(&dialer{e.tls.Attempts(l.Target), s.end}).
		SetServerMonitor(&event.ServerMonitor{ServerDescriptionChanged: s.described}).SetServerMonitoringMode("poll").
		SetAppName("rotator").SetRetryWrites(false).SetRetryReads(false).
		SetAuth(options.Credential{Username: l.User, Password: l.Password, AuthSource: l.Database})
	var err error
	if s.client, err = mongo.Connect(o); err != nil {
		s.end(err)
		return nil, engine.Errorf(engine.InvalidSecret, "correct the secret's value", "no client can be made of it: %w", err)
	}
	if err := s.prove(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// described ends the session before the login where the server says that it cannot write.
func (s *session) described(e *event.ServerDescriptionChangedEvent) {
	if kind := e.NewDescription.Kind; strings.HasPrefix(kind, "RS") && kind != "RSPrimary" {
		s.end(engine.Errorf(engine.TargetFailed, `name the primary's host or the cluster's endpoint in the secret's host, or an SRV name with "srv": true`,
			"%s is %w", s.login.Address(), errReader))
	}
}

func (s *session) close() {
	s.end(context.Canceled)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_ = s.client.Disconnect(ctx) // what is left of it ends with the process
}

// prove asks the server who has logged in, and what that user may do.
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
	if err := s.run(s.login.Database, bson.D{{Key: "connectionStatus", Value: 1}, {Key: "showPrivileges", Value: true}}, &status); err != nil {
		return err
	}
	for _, u := range status.Auth.Users {
		if u.User == s.login.User && u.Database == s.login.Database {
			s.rights = status.Auth.Privileges
			return nil
		}
	}
	return engine.Errorf(engine.TargetFailed, "switch access control on at the server", "the server does not say that %q has logged in", s.login.User)
}

// run runs a command on a database and decodes the answer into out, if not nil. The driver adds a maxTimeMS of what
// is left of the call, so a command does not outlive a function that is frozen.
func (s *session) run(database string, command bson.D, out any) error {
	result := s.client.Database(database).RunCommand(s.ctx, command)
	err := result.Err()
	if err == nil && out != nil {
		err = result.Decode(out)
	}
	if err == nil {
		return nil
	}
	return s.failed("the command "+command[0].Key+" failed", err)
}

// Codes of the server's errors.
// Source: https://www.mongodb.com/docs/manual/reference/error-codes/
const (
	userNotFound         = 11
	unauthorized         = 13
	authenticationFailed = 18
	notWritablePrimary   = 10107
	notImplemented       = 238
	// notSupported is DocumentDB's.
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

// failed gives an error its cause and advice.
func (s *session) failed(what string, err error) error {
	cause := context.Cause(s.ctx)
	if e, ok := errors.AsType[*engine.Error](cause); ok {
		return e
	}
	switch code(err) {
	case authenticationFailed:
		return engine.Errorf(engine.LoginRefused, "check the user's password, and that dbname is the database in which it is defined; the server says the same of a user that does not exist and of an address that is not allowed",
			"the login of %q in the database %q is refused: %w", s.login.User, s.login.Database, err)
	case unauthorized:
		return engine.Errorf(engine.PrivilegeMissing, advicePrivilege, "%s: %w", what, err)
	case userNotFound:
		return engine.Errorf(engine.InvalidSecret, "correct the secret's user name or dbname", "%s: %w", what, err)
	case userExists:
		return engine.Errorf(engine.TargetFailed, "rotate again", "%s: %w: %w", what, pair.ErrExists, err)
	case notWritablePrimary:
		return engine.Errorf(engine.TargetFailed, "name the cluster's or the primary's host", "%s: %w", what, err)
	}
	if cause != nil {
		err = cause // the driver keeps only the text of why it has no connection
	}
	if n := engine.NetworkError(s.login.Target, err); n != nil {
		return n
	}
	if mongo.IsNetworkError(err) || mongo.IsTimeout(err) || strings.Contains(err.Error(), "server selection error") {
		return engine.Errorf(engine.Unreachable, "check port, security groups, routes and that the server runs", "the connection to %s failed: %w", s.login.Address(), err)
	}
	return engine.Errorf(engine.TargetFailed, "see the server's own message", "%s: %w", what, err)
}

const advicePrivilege = "give the user the actions changeOwnPassword and viewUser by a role of its own, or name the secret of one with userAdmin in masterarn"

// itself finds out whether the login may change its own password.
func (s *session) itself() error {
	if s.has(s.login.Database, "changeOwnPassword") || s.has(s.login.Database, "changePassword") {
		return nil
	}
	return engine.Errorf(engine.PrivilegeMissing, advicePrivilege, "the user %q may not change its own password", s.login.User)
}

// needs finds out whether the login has privileges on a database.
func (s *session) needs(database string, actions ...string) error {
	for _, a := range actions {
		if !s.has(database, a) {
			return engine.Errorf(engine.PrivilegeMissing, fmt.Sprintf("grant the superuser the role userAdmin on %q or userAdminAnyDatabase", database), "the superuser %q lacks the action %s on the database %q", s.login.User, a, database)
		}
	}
	return nil
}

// has reports whether the login has an action on a database, or the server tells nothing of privileges, as some do.
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
