// Command application queries PostgreSQL once a second while its credential is rotated. A rotation causes no error: the
// application reads AWSCURRENT, and if PostgreSQL refuses the login, it reads AWSCURRENT again and retries once.
//
// SECRET_ID is the secret's name or ARN, and PGSSLROOTCERT is the file with the CAs to trust. Region and credentials
// are configured as for any AWS tool.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(&connector{secrets: secretsmanager.NewFromConfig(cfg), secretID: os.Getenv("SECRET_ID")})
	db.SetConnMaxLifetime(time.Minute) // how long a connection may outlive its credential
	if err := run(ctx, db, time.Second, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run runs the query until ctx is done.
func run(ctx context.Context, db *sql.DB, pause time.Duration, out io.Writer) error {
	for {
		var user string
		err := db.QueryRowContext(ctx, "SELECT current_user").Scan(&user)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		fmt.Fprintf(out, "connected as %s\n", user)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}
