package mongodb

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"example.com/rotator/internal/testing/testserver"
)

// ferretDBOptions configures FerretDB. The zero value accepts only TLS.
type ferretDBOptions struct {
	// NoTLS listens without TLS instead.
	NoTLS bool
	// CA issues the certificate; nil creates a CA.
	CA *testserver.CA
	// Cert is the server's certificate; nil is one for localhost and 127.0.0.1.
	Cert *testserver.Certificate
}

// ferretDBServer is a running FerretDB 1 on SQLite. It supports MongoDB's protocol, SCRAM logins and user commands, but
// not roles: createUser and updateUser accept only an empty list. Its administrator is in the database "admin".
type ferretDBServer struct {
	testserver.Server
}

// startFerretDB starts the FerretDB that scripts/deps.sh builds. Measured on two cores: 0.1 s.
func startFerretDB(ctx context.Context, o ferretDBOptions) (*ferretDBServer, error) {
	s := &ferretDBServer{testserver.NewServer("ferretdb", o.NoTLS, o.CA, o.Cert)}
	return s, s.Start(ctx, testserver.Launch{
		Program: "ferretdb-2/ferretdb",
		Args: func() []string {
			args := []string{"--handler=sqlite", "--sqlite-url=file:" + s.Path("data") + "/", "--state-dir=" + s.Dir,
				"--debug-addr=-", "--telemetry=disable", "--test-enable-new-auth"}
			listen := fmt.Sprintf("127.0.0.1:%d", s.Port)
			if o.NoTLS {
				return append(args, "--listen-addr="+listen)
			}
			return append(args, "--listen-addr=", "--listen-tls="+listen,
				"--listen-tls-cert-file="+s.Path("server.crt"), "--listen-tls-key-file="+s.Path("server.key"))
		},
		// On SIGTERM it waits three seconds for its clients.
		Signal: "KILL",
		Env: []string{"FERRETDB_SETUP_DATABASE=admin", "FERRETDB_SETUP_USERNAME=" + s.User,
			"FERRETDB_SETUP_PASSWORD=" + s.Password},
		Ready: func(ctx context.Context) error {
			options := s.Options(s.User, s.Password, "admin")
			if o.Cert != nil {
				// The certificate may be for another name, which the test checks.
				options.TLSConfig.InsecureSkipVerify = true
			}
			client, err := mongo.Connect(options)
			if err != nil {
				return err
			}
			return errors.Join(loggedIn(ctx, client), client.Disconnect(ctx))
		},
	})
}

// ferretDB starts a FerretDB that ends with the test.
var ferretDB = testserver.During(startFerretDB)

// URL returns the server's address, without credentials.
func (s *ferretDBServer) URL() string { return "mongodb://" + s.Addr() + "/" }

// Options returns a client's options for a user of a database. TLS, if any, is verified against the server's CA.
func (s *ferretDBServer) Options(user, password, database string) *options.ClientOptions {
	return options.Client().ApplyURI(s.URL()).SetServerSelectionTimeout(5 * time.Second).SetTLSConfig(s.ClientTLS()).
		SetAuth(options.Credential{Username: user, Password: password, AuthSource: database})
}

// Connect logs the administrator in until the test's end.
func (s *ferretDBServer) Connect(t testing.TB) *mongo.Client {
	t.Helper()
	client, err := mongo.Connect(s.Options(s.User, s.Password, "admin"))
	testserver.Must(t, err, "connect")
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	testserver.Must(t, loggedIn(context.Background(), client), "log in as the administrator")
	return client
}

// loggedIn runs a command that requires a login, because connecting alone does not log in.
func loggedIn(ctx context.Context, client *mongo.Client) error {
	_, err := client.ListDatabaseNames(ctx, bson.D{})
	return err
}

func TestServer(t *testing.T) {
	ctx := context.Background()
	for _, o := range []ferretDBOptions{{}, {NoTLS: true}} {
		s := ferretDB(t, o)
		admin := s.Connect(t)
		app := testserver.Unique("app")
		create := bson.D{
			{Key: "createUser", Value: app}, {Key: "pwd", Value: "fixture"}, {Key: "roles", Value: bson.A{}},
		}
		if err := admin.Database("admin").RunCommand(ctx, create).Err(); err != nil {
			t.Fatal(err)
		}
		for password, good := range map[string]bool{"fixture": true, "wrong": false} {
			client, err := mongo.Connect(s.Options(app, password, "admin"))
			if err != nil {
				t.Fatal(err)
			}
			if err := loggedIn(ctx, client); (err == nil) != good {
				t.Errorf("password %q: %v", password, err)
			}
			_ = client.Disconnect(ctx)
		}
		if !o.NoTLS {
			testserver.CheckTLS(t, &s.Server)
		}
		_ = admin.Disconnect(ctx) // waits for a server that is gone
		testserver.CheckStop(t, &s.Server)
	}
}
