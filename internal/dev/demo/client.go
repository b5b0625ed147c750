package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// login is the format of the secrets.
type login struct {
	Engine    string `json:"engine"`
	Host      string `json:"host"`
	Port      int    `json:"port"`
	Username  string `json:"username"`
	Password  string `json:"password"`
	DBName    string `json:"dbname"`
	MasterARN string `json:"masterarn,omitempty"`
}

func (s *stage) login(user, password string) login {
	return login{Engine: "postgres", Host: s.pg.Host, Port: s.pg.Port, Username: user, Password: password,
		DBName: "postgres"}
}

// create stores a secret.
func (s *stage) create(ctx context.Context, name string, l login) (*secretsmanager.CreateSecretOutput, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	s.say("secret %s for user %s", name, l.Username)
	return s.client.CreateSecret(ctx,
		&secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(string(text))})
}

// current returns the value and version of AWSCURRENT.
func (s *stage) current(ctx context.Context, name string) (l login, version string, err error) {
	out, err := s.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
	if err != nil {
		return l, "", err
	}
	return l, aws.ToString(out.VersionId), json.Unmarshal([]byte(aws.ToString(out.SecretString)), &l)
}

// try logs in and executes a statement.
func (s *stage) try(ctx context.Context, l login, statement string) error {
	conn, err := pgx.Connect(ctx, s.pg.URLFor(l.Username, l.Password, l.DBName))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

// refused reports whether the server said that the password is wrong.
func refused(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "28P01"
}

// witness is a client that acts like an application: it reads AWSCURRENT and logs in, over and over.
type witness struct {
	*stage
	secret string
	// old is the only version that the server may refuse: the rotation ends its password. It is "" if both users work.
	old string

	accepted, refused int
}

// during runs the client until do returns.
func (w *witness) during(ctx context.Context, do func() error) error {
	var done atomic.Bool
	end := make(chan error, 1)
	go func() {
		var err error
		for err == nil && !done.Load() {
			var l login
			var version string
			if l, version, err = w.current(ctx, w.secret); err == nil {
				err = w.saw(version, w.try(ctx, l, "SELECT 1"))
			}
		}
		end <- err
	}()
	err := do()
	done.Store(true)
	return errors.Join(err, <-end)
}

// saw counts a login with a version. A refusal that the rotation does not explain is an error.
func (w *witness) saw(version string, err error) error {
	switch {
	case err == nil:
		w.accepted++
	case refused(err) && version == w.old:
		w.refused++
	default:
		return fmt.Errorf("the client cannot log in with version %s: %w", version, err)
	}
	return nil
}
