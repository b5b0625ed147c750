package simtest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"example.com/rotator/sim"
	"example.com/rotator/sim/simtest"
)

// rotation is a function under test; main passes its handler to lambda.Start.
type rotation struct{ client *secretsmanager.Client }

func (r *rotation) handle(ctx context.Context, e simtest.Event) error {
	switch e.Step {
	case "createSecret":
		_, err := r.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &e.SecretID,
			ClientRequestToken: &e.ClientRequestToken,
			SecretString:       aws.String("value of " + e.ClientRequestToken), VersionStages: []string{"AWSPENDING"}})
		return err
	case "finishSecret":
		d, err := r.client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &e.SecretID})
		if err != nil {
			return err
		}
		for version, labels := range d.VersionIdsToStages {
			if labels[0] == "AWSCURRENT" && version != e.ClientRequestToken {
				_, err = r.client.UpdateSecretVersionStage(ctx,
					&secretsmanager.UpdateSecretVersionStageInput{SecretId: &e.SecretID,
						VersionStage: aws.String("AWSCURRENT"), MoveToVersionId: &e.ClientRequestToken,
						RemoveFromVersionId: &version})
			}
		}
		return err
	}
	return nil // a real function sets and tests the password of its target
}

// testRotation is an ordinary test: rotate once now and then monthly, although calls and steps fail.
func testRotation(t testing.TB) {
	function := &rotation{}
	s := simtest.StartWith(t, function.handle, sim.Options{
		Faults: sim.NewFaults(1, map[sim.Fault]float64{sim.DuplicateStep: 0.2, sim.LostAnswer: 0.05}),
	})
	function.client = s.Client
	s.Create("app", "first password")

	before := s.Labels("app")
	if err := s.Rotate("app"); err != nil {
		t.Error(err)
	}
	s.WantRotated("app", before)
	if got := s.Value("app", "AWSPREVIOUS"); got != "first password" {
		t.Errorf("AWSPREVIOUS is %q", got)
	}

	// The secret must not rotate now, and must rotate in a month.
	_, err := s.Client.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: aws.String("app"),
		RotateImmediately: aws.Bool(false), RotationRules: &types.RotationRulesType{
			ScheduleExpression: aws.String("rate(30 days)"),
		}})
	if err == nil {
		err = s.Wait("app") // for the test of the configuration
	}
	if err != nil {
		t.Fatal(err)
	}
	before = s.Labels("app")
	s.Clock.Advance(29 * 24 * time.Hour)
	s.WantLabels("app", before)
	s.Clock.Advance(2 * 24 * time.Hour)
	s.WantRotated("app", before)
	fmt.Println(s.Sim.Stats().Succeeded, "rotations on", s.Clock.Now().Format(time.DateOnly))
}

func Example() {
	testRotation(t)
	// Output: 2 rotations on 2026-02-01
}
