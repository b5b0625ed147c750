package testserver

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// FerretDBOptions configures FerretDB. The zero value accepts only TLS.
type FerretDBOptions struct {
	// NoTLS listens without TLS instead.
	NoTLS bool
	// CA issues the certificate; nil creates a CA.
	CA *CA
	// Cert is the server's certificate; nil is one for localhost and 127.0.0.1.
	Cert *Certificate
}

// FerretDBServer is a running FerretDB 1 on SQLite. It supports MongoDB's protocol, SCRAM logins and user commands, but
// not roles: createUser and updateUser accept only an empty list. Its administrator is in the database "admin".
type FerretDBServer struct {
	Server
}

// StartFerretDB starts the FerretDB that scripts/deps.sh builds. Measured on two cores: 0.1 s.
func StartFerretDB(ctx context.Context, o FerretDBOptions) (*FerretDBServer, error) {
	s := &FerretDBServer{NewServer("ferretdb", o.NoTLS, o.CA, o.Cert)}
	return s, s.Start(ctx, Launch{
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

// FerretDB starts a FerretDB that ends with the test.
var FerretDB = During(StartFerretDB)

// URL returns the server's address, without credentials.
func (s *FerretDBServer) URL() string { return "mongodb://" + s.Addr() + "/" }

// Options returns a client's options for a user of a database. TLS, if any, is verified against the server's CA.
func (s *FerretDBServer) Options(user, password, database string) *options.ClientOptions {
	return options.Client().ApplyURI(s.URL()).SetServerSelectionTimeout(5 * time.Second).SetTLSConfig(s.ClientTLS()).
		SetAuth(options.Credential{Username: user, Password: password, AuthSource: database})
}

// Connect logs the administrator in until the test's end.
func (s *FerretDBServer) Connect(t testing.TB) *mongo.Client {
	t.Helper()
	client, err := mongo.Connect(s.Options(s.User, s.Password, "admin"))
	Must(t, err, "connect")
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	Must(t, loggedIn(context.Background(), client), "log in as the administrator")
	return client
}

// loggedIn runs a command that requires a login, because connecting alone does not log in.
func loggedIn(ctx context.Context, client *mongo.Client) error {
	_, err := client.ListDatabaseNames(ctx, bson.D{})
	return err
}
