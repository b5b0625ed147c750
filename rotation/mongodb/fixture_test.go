package mongodb

import (
	"context"
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// fixture is a server with an engine that trusts it.
type fixture struct {
	*ferretDBServer
	t      testing.TB
	admin  *mongo.Client
	engine *Engine
}

func newFixture(t testing.TB, o ferretDBOptions) *fixture {
	t.Helper()
	s := ferretDB(t, o)
	return &fixture{s, t, s.Connect(t), New(engine.TLSPolicy{ExtraCAs: s.CA.PEM})}
}

// user creates a user of a database whose password is "first-" and its name.
func (f *fixture) user(database string) string {
	f.t.Helper()
	name := testserver.Unique("app-")
	f.create(database, name, "first-"+name)
	return name
}

func (f *fixture) create(database, name, password string) {
	f.t.Helper()
	if err := f.command(enginetest.Within(f.t), database, bson.D{{Key: "createUser", Value: name},
		{Key: "pwd", Value: password}, {Key: "roles", Value: bson.A{}}}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) command(ctx context.Context, database string, command bson.D) error {
	return f.admin.Database(database).RunCommand(ctx, command).Err()
}

// open logs in with an independent client. It reports false for a refused login.
func (f *fixture) open(ctx context.Context, database, user, password string) (bool, error) {
	client, err := mongo.Connect(f.Options(user, password, database))
	if err != nil {
		return false, err
	}
	defer func() { _ = client.Disconnect(context.Background()) }()
	_, err = client.ListDatabaseNames(ctx, bson.D{})
	if code(err) == authenticationFailed {
		return false, nil
	}
	return err == nil, err
}

func (f *fixture) wantOpen(database, user, password string, want bool) {
	f.t.Helper()
	if ok, err := f.open(enginetest.Within(f.t), database, user, password); err != nil || ok != want {
		f.t.Errorf("the login of %s is accepted: %v, %v, want %v", user, ok, err, want)
	}
}

func (f *fixture) value(database, user, password string) engine.Value {
	return engine.StringValue(fmt.Sprintf(`{"engine":"mongo","host":%q,"port":%d,"dbname":%q}`, f.Host, f.Port,
		database)).With("username", user).With("password", password)
}

// bySuperuser returns a request to rotate one user by the superuser.
func (f *fixture) bySuperuser(database, user, current, pending string) *engine.Request {
	return &engine.Request{Strategy: engine.SingleUser, Current: f.value(database, user, current),
		Pending: f.value(database, user, pending),
		Login:   f.value("admin", f.User, f.Password), Superuser: true, SuperuserChanges: true}
}

// toOther returns a request to rotate to the other user.
func (f *fixture) toOther(database, current, other string) *engine.Request {
	r := f.bySuperuser(database, current, "first-"+current, "next-"+other)
	r.Strategy = engine.AlternatingUsers
	r.Pending = r.Pending.With("username", other)
	return r
}
