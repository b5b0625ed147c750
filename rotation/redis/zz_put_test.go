//go:build repro

package redis

import (
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

func zzput(arn, token, v string) *secretsmanager.PutSecretValueInput {
	return &secretsmanager.PutSecretValueInput{SecretId: &arn, ClientRequestToken: &token, SecretString: &v, VersionStages: []string{"AWSPENDING"}}
}
