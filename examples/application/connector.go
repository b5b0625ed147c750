package main

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// patience is how long the connector waits for a rotation that has changed the password but not yet moved AWSCURRENT.
// The move takes one login and one API call; Secrets Manager retries a rotation that fails there.
const patience = 30 * time.Second

// connector opens connections for a sql.DB with the credential in AWSCURRENT.
type connector struct {
	secrets  *secretsmanager.Client
	secretID string

	mu  sync.Mutex
	now credential // the last one that was read
}

// credential has the fields of a PostgreSQL secret.
type credential struct {
	version  string
	Host     string `json:"host"`
	Port     int    `json:"port"`
	DBName   string `json:"dbname"`
	Username string `json:"username"`
	Password string `json:"password"`
}

// Connect opens a connection. If PostgreSQL refuses the login, it reads AWSCURRENT again and retries once.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	login, err := c.credential(ctx, "")
	if err != nil {
		return nil, err
	}
	conn, err := login.connect(ctx)
	if !refused(err) {
		return conn, err
	}
	if login, err = c.credential(ctx, login.version); err != nil {
		return nil, err
	}
	return login.connect(ctx)
}

// Driver is the driver that Connect uses.
func (c *connector) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

// credential returns a credential whose version is not refused: the last one that was read, or AWSCURRENT once it has
// moved. If AWSCURRENT does not move in time, it returns the refused version, which a failed rotation may restore.
func (c *connector) credential(ctx context.Context, refused string) (credential, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for end := time.Now().Add(patience); c.now.version == refused; {
		out, err := c.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &c.secretID})
		if err != nil {
			return credential{}, err
		}
		read := credential{version: aws.ToString(out.VersionId)}
		if err := json.Unmarshal([]byte(aws.ToString(out.SecretString)), &read); err != nil {
			return credential{}, errors.New("the secret is not a login in JSON") // the cause could show the value
		}
		c.now = read
		if time.Now().After(end) {
			break
		}
		if read.version == refused {
			select {
			case <-ctx.Done():
				return credential{}, ctx.Err()
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
	return c.now, nil
}

// connect opens a connection with verified TLS.
func (l credential) connect(ctx context.Context) (driver.Conn, error) {
	address := url.URL{Scheme: "postgres", Host: net.JoinHostPort(l.Host, strconv.Itoa(cmp.Or(l.Port, 5432))),
		Path: cmp.Or(l.DBName, "postgres"), RawQuery: "sslmode=verify-full"}
	config, err := pgx.ParseConfig(address.String())
	if err != nil {
		return nil, err
	}
	config.User, config.Password = l.Username, l.Password
	return stdlib.GetConnector(*config).Connect(ctx)
}

// refused reports whether PostgreSQL refused the login.
// Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
func refused(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "28P01" || e.Code == "28000")
}
