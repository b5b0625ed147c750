//go:build repro

package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
)

// Ten pairs at once, of one group, by one master that is no superuser.
func TestTManyAtOnce(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		master, mpw := w.role("CREATEROLE CREATEDB")
		m, _ := w.connect(master, mpw)
		group := testserver.Unique("grp_")
		w.ex(m, "CREATE ROLE "+group)
		admin := w.secret(w.value(master, mpw))
		var arns []string
		for range 10 {
			user := testserver.Unique("app_")
			w.ex(m, "CREATE ROLE "+user+" LOGIN PASSWORD 'first-Passw0rd'")
			w.ex(m, "GRANT "+group+" TO "+user)
			arns = append(arns, w.secret(w.value(user, "first-Passw0rd", "masterarn", fmt.Sprintf("%q", admin))))
		}
		for round := range 2 {
			var wg sync.WaitGroup
			for _, arn := range arns {
				wg.Go(func() {
					token := uuid.NewString()
					w.interruptAll(arn, token)
					for _, s := range []rotation.Step{rotation.CreateSecret, rotation.SetSecret, rotation.TestSecret, rotation.FinishSecret} {
						if err := w.rotator().Handle(context.Background(), rotation.Event{SecretID: arn, ClientRequestToken: token, Step: s}); err != nil {
							t.Errorf("round %d: %v", round, err)
							return
						}
					}
				})
			}
			wg.Wait()
		}
		for _, arn := range arns {
			w.opens(arn)
		}
	})
}

func (w *world) interruptAll(arn, token string) {
	w.interrupt = rotation.CreateSecret
	_, _ = w.client.RotateSecret(context.Background(), &secretsmanager.RotateSecretInput{SecretId: &arn, ClientRequestToken: &token, RotationLambdaARN: aws.String(functionARN)})
	_ = w.sim.WaitRotation(context.Background(), arn)
}
