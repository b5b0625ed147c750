// Command bare is close to the smallest function that could rotate a password: it reads a secret and logs in to
// PostgreSQL with it. It creates its client before the first event, as AWS recommends. `make bench` compares its start
// time with the rotation function's.
// Source: https://docs.aws.amazon.com/lambda/latest/dg/golang-handler.html
package main

import (
	"context"
	"encoding/json"
	"log"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/jackc/pgx/v5"
)

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	client := secretsmanager.NewFromConfig(cfg)
	lambda.Start(func(ctx context.Context, event struct{ SecretId string }) error {
		secret, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &event.SecretId})
		if err != nil {
			return err
		}
		var value struct{ URL string }
		if err := json.Unmarshal([]byte(*secret.SecretString), &value); err != nil {
			return err
		}
		conn, err := pgx.Connect(ctx, value.URL)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
}
