package mongodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"example.com/rotator/rotation/engine"
)

// session is a client that has logged in.
type session struct {
	login  login
	client *mongo.Client
	dialer *dialer
	ctx    context.Context // ends with the connection's first failure
	cancel context.CancelFunc
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

// open logs in. A connection alone proves nothing, as the server also talks to
// those who have not; so it is asked who has logged in.
func (e *Engine) open(ctx context.Context, v engine.Value) (*session, error) {
	l, err := parse(v)
	if err != nil {
		return nil, err
	}
	s := &session{login: l}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.dialer = &dialer{host: l.Host, attempts: e.tls.Attempts(l.Target), patient: l.srv, fail: s.cancel, addresses: map[string]bool{}}
	if err := s.connect(ctx); err != nil {
		s.cancel()
		return nil, err
	}
	if err := s.prove(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) connect(ctx context.Context) error {
	o := options.Client().SetHosts([]string{s.login.Address()})
	if s.login.srv {
		// The lookups know no context.
		found := make(chan *options.ClientOptions, 1)
		go func() { found <- options.Client().ApplyURI("mongodb+srv://" + s.login.Host + "/") }()
		select {
		case o = <-found:
		case <-ctx.Done():
			return s.failed("the hosts could not be looked up", ctx.Err())
		}
		if err := o.Validate(); err != nil {
			return engine.Errorf(engine.NameNotResolved, "check the secret's host and the DNS of the function's VPC", "cannot resolve the hosts of %s by SRV: %w", s.login.Host, err)
		}
	}
	o.TLSConfig = nil // the dialer encrypts
	o.SetDialer(s.dialer).SetAppName("rotator").SetServerMonitoringMode("poll").SetRetryWrites(false).SetRetryReads(false).
		SetAuth(options.Credential{Username: s.login.User, Password: s.login.Password, AuthSource: s.login.Database})
	var err error
	if s.client, err = mongo.Connect(o); err != nil {
		return engine.Errorf(engine.InvalidSecret, "correct the secret's value", "no client can be made of it: %w", err)
	}
	return nil
}

func (s *session) close() {
	s.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_ = s.client.Disconnect(ctx) // what is left of it ends with the process
}

// prove asks the server who has logged in, and what that user may do.
func (s *session) prove(ctx context.Context) error {
	var status struct {
		Auth struct {
			Users []struct {
				User     string `bson:"user"`
				Database string `bson:"db"`
			} `bson:"authenticatedUsers"`
			Privileges []privilege `bson:"authenticatedUserPrivileges"`
		} `bson:"authInfo"`
	}
	if err := s.run(ctx, s.login.Database, bson.D{{Key: "connectionStatus", Value: 1}, {Key: "showPrivileges", Value: true}}, &status); err != nil {
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

// run runs a command on a database and decodes the answer into out, if not nil.
func (s *session) run(_ context.Context, database string, command bson.D, out any) error {
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
)

func code(err error) int32 {
	if e, ok := errors.AsType[mongo.CommandError](err); ok {
		return e.Code
	}
	return 0
}

// failed gives an error its cause and advice.
func (s *session) failed(what string, err error) error {
	switch code(err) {
	case authenticationFailed:
		return engine.Errorf(engine.LoginRefused, "check the user's password, and that dbname is the database in which it is defined; the server says the same of a user that does not exist and of an address that is not allowed",
			"the login of %q in the database %q is refused: %w", s.login.User, s.login.Database, err)
	case unauthorized:
		return engine.Errorf(engine.PrivilegeMissing, advicePrivilege, "%s: %w", what, err)
	case userNotFound:
		return engine.Errorf(engine.InvalidSecret, "correct the secret's user name or dbname", "%s: %w", what, err)
	case notWritablePrimary:
		return engine.Errorf(engine.TargetFailed, "name the cluster's or the primary's host", "%s: %w", what, err)
	}
	// The driver keeps no more than the text of why it has no connection.
	if first := s.dialer.failure(); first != nil {
		err = first
	}
	if n := engine.NetworkError(s.login.Target, err); n != nil {
		return n
	}
	if s.ctx.Err() != nil {
		err = errors.Join(err, s.ctx.Err())
		if n := engine.NetworkError(s.login.Target, err); n != nil {
			return n
		}
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

// has reports whether the login has an action on a database, or the server tells
// nothing of privileges, as some do.
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
