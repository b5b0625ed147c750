package testserver

import (
	"context"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

func TestFerretDB(t *testing.T) {
	ctx := context.Background()
	for _, o := range []FerretDBOptions{{}, {NoTLS: true}} {
		s := FerretDB(t, o)
		admin := s.Connect(t)
		app := Unique("app")
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
			CheckTLS(t, &s.Server)
		}
		_ = admin.Disconnect(ctx) // waits for a server that is gone
		CheckStop(t, &s.Server)
	}
}
