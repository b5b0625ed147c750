package sim

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

const (
	ireland   = "eu-west-1"
	onReplica = "Operation not permitted on a replica secret. Call must be made in primary secret's region."
)

// at returns a client in a region.
func (b *bench) at(region string) *sm.Client {
	return sm.New(sm.Options{
		BaseEndpoint: &b.url, Region: region, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("test", "secret", ""),
	})
}

// replicate replicates a secret and returns the status of all its replicas.
func (b *bench) replicate(id string, force bool, regions ...string) []types.ReplicationStatusType {
	b.Helper()
	in := &sm.ReplicateSecretToRegionsInput{SecretId: &id, ForceOverwriteReplicaSecret: force}
	for _, r := range regions {
		in.AddReplicaRegions = append(in.AddReplicaRegions, types.ReplicaRegionType{Region: &r})
	}
	out, err := b.client.ReplicateSecretToRegions(ctx, in)
	if err != nil {
		b.Fatal(err)
	}
	return out.ReplicationStatus
}

// regional returns the ARN of a replica.
func regional(arn, region string) string {
	parts := strings.SplitN(arn, ":", 5)
	parts[3] = region
	return strings.Join(parts, ":")
}

// value reads a secret.
func value(c *sm.Client, id string) (string, error) {
	out, err := c.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: &id})
	if err != nil {
		return "", err
	}
	return *out.SecretString, nil
}

func (b *bench) wantValue(c *sm.Client, id, want string) {
	b.Helper()
	if got, err := value(c, id); got != want || err != nil {
		b.Errorf("%s: %q, %v, not %q", id, got, err, want)
	}
}

func TestEachRegionHasItsOwnSecrets(t *testing.T) {
	b := newBench(t, Options{})
	arn := b.create("db")
	there := b.at(ireland)
	_, err := value(there, "db")
	refused(t, err, "ResourceNotFoundException", "")
	_, err = value(there, arn)
	refused(t, err, "ResourceNotFoundException", "")
	out, err := there.CreateSecret(ctx, &sm.CreateSecretInput{
		Name: aws.String("db"), SecretString: aws.String("theirs"),
	})
	if err != nil || (*out.ARN)[:len("arn:aws:secretsmanager:eu-west-1:")] != "arn:aws:secretsmanager:eu-west-1:" {
		t.Fatalf("%+v, %v", out, err)
	}
	b.wantValue(b.client, "db", "one")
	b.wantValue(there, "db", "theirs")
	list, err := there.ListSecrets(ctx, &sm.ListSecretsInput{})
	if err != nil || len(list.SecretList) != 1 || *list.SecretList[0].ARN != *out.ARN {
		t.Errorf("%+v, %v", list, err)
	}
	// The program's own calls find a secret of any region by its ARN.
	if _, err := b.History(*out.ARN); err != nil {
		t.Error(err)
	}
}

func TestAReplicaIsReadInItsRegion(t *testing.T) {
	b := newBench(t, Options{})
	arn := b.create("db")
	status := b.replicate("db", false, ireland)
	if s := status[0]; s.Status != types.StatusTypeInSync || *s.StatusMessage != "Replication succeeded" ||
		*s.KmsKeyId != "alias/aws/secretsmanager" {
		t.Errorf("%+v", s)
	}
	there, replica := b.at(ireland), regional(arn, ireland)
	for _, id := range []string{"db", replica, replica[:len(replica)-7]} {
		b.wantValue(there, id, "one")
	}
	b.put("db", 2, "two")
	b.wantValue(there, "db", "two")
	d, err := there.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("db")})
	if err != nil || *d.ARN != replica || *d.PrimaryRegion != "us-east-1" || d.ReplicationStatus != nil ||
		d.LastAccessedDate == nil || len(d.VersionIdsToStages) != 2 {
		t.Errorf("%+v, %v", d, err)
	}
	// A retrieval counts in its own region.
	d, err = b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &arn})
	if err != nil || *d.ARN != arn || d.LastAccessedDate != nil || d.ReplicationStatus[0].LastAccessedDate == nil {
		t.Errorf("%+v, %v", d, err)
	}
	list, err := there.ListSecrets(ctx, &sm.ListSecretsInput{
		Filters: []types.Filter{{Key: "primary-region", Values: []string{"us-east"}}},
	})
	if err != nil || len(list.SecretList) != 1 || *list.SecretList[0].ARN != replica {
		t.Errorf("%+v, %v", list, err)
	}
	batch, err := there.BatchGetSecretValue(ctx, &sm.BatchGetSecretValueInput{SecretIdList: []string{"db"}})
	if err != nil || len(batch.SecretValues) != 1 || *batch.SecretValues[0].ARN != replica {
		t.Errorf("%+v, %v", batch, err)
	}
	if _, err := b.client.RemoveRegionsFromReplication(ctx, &sm.RemoveRegionsFromReplicationInput{
		SecretId: &arn, RemoveReplicaRegions: []string{ireland, "us-west-2"},
	}); err != nil {
		t.Fatal(err)
	}
	_, err = value(there, "db")
	refused(t, err, "ResourceNotFoundException", "")
}

func TestAReplicaIsNotWritten(t *testing.T) {
	b := newBench(t, Options{})
	b.RegisterFunction(lambda, b.function(func(request) error { return nil }))
	b.create("db")
	b.replicate("db", false, ireland)
	there, db := b.at(ireland), aws.String("db")
	for name, call := range map[string]func() error{
		"PutSecretValue": func() error {
			_, err := there.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: db, SecretString: aws.String("x")})
			return err
		},
		"UpdateSecret": func() error {
			_, err := there.UpdateSecret(ctx, &sm.UpdateSecretInput{
				SecretId: db, Description: aws.String("x"), KmsKeyId: aws.String(key),
			})
			return err
		},
		"UpdateSecretVersionStage": func() error {
			_, err := there.UpdateSecretVersionStage(ctx, &sm.UpdateSecretVersionStageInput{
				SecretId: db, VersionStage: aws.String("mine"), MoveToVersionId: aws.String(id(1)),
			})
			return err
		},
		"RotateSecret": func() error {
			_, err := there.RotateSecret(ctx, &sm.RotateSecretInput{
				SecretId: db, RotationLambdaARN: aws.String(lambda),
			})
			return err
		},
		"CancelRotateSecret": func() error {
			_, err := there.CancelRotateSecret(ctx, &sm.CancelRotateSecretInput{SecretId: db})
			return err
		},
		"DeleteSecret": func() error {
			_, err := there.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: db})
			return err
		},
		"DeleteSecret by force": func() error {
			_, err := there.DeleteSecret(ctx, &sm.DeleteSecretInput{
				SecretId: db, ForceDeleteWithoutRecovery: aws.Bool(true),
			})
			return err
		},
		"RestoreSecret": func() error {
			_, err := there.RestoreSecret(ctx, &sm.RestoreSecretInput{SecretId: db})
			return err
		},
		"TagResource": func() error {
			_, err := there.TagResource(ctx, &sm.TagResourceInput{
				SecretId: db, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
			})
			return err
		},
		"UntagResource": func() error {
			_, err := there.UntagResource(ctx, &sm.UntagResourceInput{SecretId: db, TagKeys: []string{"k"}})
			return err
		},
		"PutResourcePolicy": func() error {
			_, err := there.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{
				SecretId: db, ResourcePolicy: aws.String("{}"),
			})
			return err
		},
		"DeleteResourcePolicy": func() error {
			_, err := there.DeleteResourcePolicy(ctx, &sm.DeleteResourcePolicyInput{SecretId: db})
			return err
		},
		"ReplicateSecretToRegions": func() error {
			_, err := there.ReplicateSecretToRegions(ctx, &sm.ReplicateSecretToRegionsInput{
				SecretId: db, AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String("us-west-2")}},
			})
			return err
		},
		"RemoveRegionsFromReplication": func() error {
			_, err := there.RemoveRegionsFromReplication(ctx, &sm.RemoveRegionsFromReplicationInput{
				SecretId: db, RemoveReplicaRegions: []string{ireland},
			})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { refused(t, call(), "InvalidParameterException", onReplica) })
	}
	_, err := there.CreateSecret(ctx, &sm.CreateSecretInput{
		Name: db, SecretString: aws.String("one"), ClientRequestToken: aws.String(id(1)),
	})
	refused(t, err, "ResourceExistsException", "The operation failed because the secret db already exists.")
	// A replica has its own key.
	if _, err := there.UpdateSecret(ctx, &sm.UpdateSecretInput{SecretId: db, KmsKeyId: aws.String(key)}); err != nil {
		t.Error(err)
	}
	here, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: db})
	if err != nil || here.KmsKeyId != nil || *here.ReplicationStatus[0].KmsKeyId != key {
		t.Errorf("%+v, %v", here, err)
	}
	b.wantStages("db", "1:[AWSCURRENT]")
	b.wantValue(there, "db", "one")
}

func TestAPromotedReplicaIsAStandaloneSecret(t *testing.T) {
	b := newBench(t, Options{})
	b.RegisterFunction(lambda, b.function(func(request) error { return nil }))
	arn := b.create("db")
	b.replicate("db", false, ireland, "us-west-2")
	there, west := b.at(ireland), b.at("us-west-2")
	stop := func(c *sm.Client, id string) (*sm.StopReplicationToReplicaOutput, error) {
		return c.StopReplicationToReplica(ctx, &sm.StopReplicationToReplicaInput{SecretId: &id})
	}
	_, err := stop(b.client, "db")
	refused(t, err, "InvalidRequestException", "")
	out, err := stop(there, "db")
	if err != nil || *out.ARN != regional(arn, ireland) {
		t.Fatalf("%+v, %v", out, err)
	}
	b.put("db", 2, "two")
	b.wantValue(there, "db", "one")
	b.wantValue(west, "db", "two")
	if _, err := there.PutSecretValue(ctx, &sm.PutSecretValueInput{
		SecretId: out.ARN, SecretString: aws.String("three"),
	}); err != nil {
		t.Fatal(err)
	}
	b.wantValue(b.client, "db", "two")
	b.wantValue(there, "db", "three")
	d, err := there.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: out.ARN})
	if err != nil || d.PrimaryRegion != nil || d.ReplicationStatus != nil {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err = b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &arn}); err != nil ||
		len(d.ReplicationStatus) != 1 || *d.ReplicationStatus[0].Region != "us-west-2" {
		t.Errorf("%+v, %v", d, err)
	}
	// It can be rotated in its region.
	if _, err := there.RotateSecret(ctx, &sm.RotateSecretInput{
		SecretId: out.ARN, RotationLambdaARN: aws.String(lambda),
	}); err != nil {
		t.Error(err)
	}
}

func TestAPrimaryWithReplicasIsNotDeleted(t *testing.T) {
	b := newBench(t, Options{})
	arn := b.create("db")
	b.replicate("db", false, ireland, "us-west-2")
	for _, force := range []bool{false, true} {
		_, err := b.client.DeleteSecret(ctx, &sm.DeleteSecretInput{
			SecretId: aws.String("db"), ForceDeleteWithoutRecovery: &force,
		})
		refused(t, err, "InvalidParameterException",
			"You can't delete secret "+arn+" that still has replica regions [eu-west-1, us-west-2].")
	}
}

func TestReplicationFailsWhereTheNameIsTaken(t *testing.T) {
	b := newBench(t, Options{})
	arn := b.create("db")
	there := b.at(ireland)
	if _, err := there.CreateSecret(ctx, &sm.CreateSecretInput{
		Name: aws.String("db"), SecretString: aws.String("theirs"),
	}); err != nil {
		t.Fatal(err)
	}
	s := b.replicate("db", false, ireland)
	if s[0].Status != types.StatusTypeFailed ||
		*s[0].StatusMessage != "Replication failed: Secret name db already exists in region eu-west-1." {
		t.Errorf("%+v", s)
	}
	b.wantValue(there, "db", "theirs")
	// Repeating the call retries, and may overwrite.
	if s = b.replicate("db", true, ireland); len(s) != 1 || s[0].Status != types.StatusTypeInSync {
		t.Errorf("%+v", s)
	}
	b.wantValue(there, "db", "one")
	// A replica of another secret is not overwritten.
	west := b.at("us-west-2")
	if _, err := west.CreateSecret(ctx, &sm.CreateSecretInput{
		Name: aws.String("db"), SecretString: aws.String("west"),
	}); err != nil {
		t.Fatal(err)
	}
	out, err := west.ReplicateSecretToRegions(ctx, &sm.ReplicateSecretToRegionsInput{
		SecretId: aws.String("db"), AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String(ireland)}},
		ForceOverwriteReplicaSecret: true,
	})
	if err != nil || out.ReplicationStatus[0].Status != types.StatusTypeFailed ||
		*out.ReplicationStatus[0].StatusMessage != "Replication failed: Secret name db is currently replicated to "+
			"eu-west-1 with a different arn" {
		t.Errorf("%+v, %v", out, err)
	}
	b.wantValue(there, regional(arn, ireland), "one")
}

func TestAnOverwrittenSecretIsNoLongerRotated(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	there, calls := b.at(ireland), 0
	b.RegisterFunction(lambda, InvokerFunc(func(context.Context, []byte) ([]byte, string, error) {
		calls++
		return nil, "Unhandled", nil
	}))
	if _, err := there.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("db")}); err != nil {
		t.Fatal(err)
	}
	if _, err := there.RotateSecret(ctx, &sm.RotateSecretInput{
		SecretId: aws.String("db"), RotationLambdaARN: aws.String(lambda),
	}); err != nil {
		t.Fatal(err)
	}
	b.settle(0)
	b.replicate("db", true, ireland)
	b.settle(time.Hour)
	if calls != 1 {
		t.Errorf("%d calls of the function, not 1", calls)
	}
}

func TestAReplicaRegionMustBeAnotherOfThePartition(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	for _, region := range []string{"us-east-1", "cn-north-1", "us-gov-west-1", "moon-south-1", "eu-west-9"} {
		regions := []types.ReplicaRegionType{{Region: &region}}
		_, err := b.client.ReplicateSecretToRegions(ctx, &sm.ReplicateSecretToRegionsInput{
			SecretId: aws.String("db"), AddReplicaRegions: regions,
		})
		refused(t, err, "InvalidParameterException", "Invalid replica region.")
		_, err = b.client.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("new"), AddReplicaRegions: regions})
		refused(t, err, "InvalidParameterException", "Invalid replica region.")
	}
	_, err := b.client.RemoveRegionsFromReplication(ctx, &sm.RemoveRegionsFromReplicationInput{
		SecretId: aws.String("db"), RemoveReplicaRegions: []string{"eu-west-1", "Moon"},
	})
	refused(t, err, "ValidationException",
		`1 validation error detected: Value '[eu-west-1, Moon]' at 'removeReplicaRegions' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: ^([a-z]+-)+\d+$]`)
}

func TestARotationReachesTheReplicas(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	b.replicate("db", false, ireland)
	b.RegisterFunction(lambda, b.function(func(request) error { return nil }))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitRotation(ctx, "db"); err != nil {
		t.Fatal(err)
	}
	b.wantValue(b.at(ireland), "db", "made for "+id(2))
}

func TestWaitRotationTakesAReplica(t *testing.T) {
	b := newBench(t, Options{})
	arn := b.create("db")
	b.replicate("db", false, ireland)
	release := make(chan struct{})
	b.RegisterFunction(lambda, b.function(func(request) error {
		<-release
		return nil
	}))
	if err := b.rotate("db", 2); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- b.WaitRotation(ctx, regional(arn, ireland)) }()
	time.Sleep(50 * time.Millisecond) // by then it waits, or has nothing to wait for
	close(release)
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits forever")
	}
}
