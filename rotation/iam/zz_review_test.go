//go:build repro

package iam_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/internal/testing/awsfake"
	"example.com/rotator/internal/testing/zzworld"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/iam"
	"example.com/rotator/rotation/operator"
)

// I1: whoever may put a value names the id of another program's key (ids are public:
// CloudTrail, ListAccessKeys) in a version labelled AWSPREVIOUS: the next createSecret
// deletes it.
func TestZZWriterHasAnothersKeyDeleted(t *testing.T) {
	for _, byRole := range []bool{false, true} {
		t.Run(fmt.Sprint(byRole), func(t *testing.T) {
			fake := awsfake.NewIAM(awsfake.IAMOptions{})
			server := httptest.NewServer(fake.Handler())
			defer server.Close()
			allowed := permissions
			if byRole {
				allowed = nil
			}
			key := fake.AddUser("ci", allowed...)
			role := fake.AddRole("rotator", permissions...)
			e := iam.New(func(context.Context, string) (aws.Config, error) { return config(server.URL, role), nil }, byRole)
			w := zzworld.New(t, e)
			arn := w.Secret("app/iam", string(secretOf("ci", key).Reveal()))
			other := fake.AddKey("ci", 24*time.Hour) // another program's, a day old
			// It is left alone:
			err := w.Step(arn, w.Begin(arn), rotation.CreateSecret)
			t.Logf("before: %v; keys %v", err, fake.Keys("ci"))
			w2 := zzworld.New(t, e)
			arn2 := w2.Secret("app/iam", string(secretOf("ci", key).Reveal()))
			w2.Put(arn2, fmt.Sprintf(`{"engine":"iam","username":"ci","AccessKeyId":%q,"SecretAccessKey":"junkjunkjunkjunkjunk"}`, other.AccessKeyID), "AWSPREVIOUS")
			err = w2.Step(arn2, w2.Begin(arn2), rotation.CreateSecret)
			_, there := fake.Keys("ci")[other.AccessKeyID]
			t.Logf("after: %v; keys %v", err, fake.Keys("ci"))
			if !there {
				t.Error("PROVED: the other program's key is deleted")
			}
		})
	}
}

// I2: a rotation that is given up leaves its key valid; nothing reports it.
func TestZZKeyOfACancelledRotation(t *testing.T) {
	w0 := newWorld(t, permissions...)
	w := zzworld.New(t, w0.engine)
	arn := w.Secret("app/iam", string(w0.first.Reveal()))
	token := w.Begin(arn)
	if err := w.Step(arn, token, rotation.CreateSecret); err != nil {
		t.Fatal(err)
	}
	rep := operator.Check(t.Context(), w.Rotator(), arn)
	t.Logf("keys: %v\ncheck: %+v", w0.fake.Keys("ci"), rep)
}

// I3: a key that an administrator has made inactive, as it leaked, is made active again
// by whoever may put a value: as AWSPENDING under the rotation's id.
func TestZZDeactivatedKeyIsActivated(t *testing.T) {
	fake := awsfake.NewIAM(awsfake.IAMOptions{})
	server := httptest.NewServer(fake.Handler())
	t.Cleanup(server.Close)
	w0 := &world{fake: fake, key: fake.AddUser("ci", permissions...)}
	w0.engine = iam.New(func(context.Context, string) (aws.Config, error) { return config(server.URL, aws.Credentials{}), nil }, false)
	w0.first = secretOf("ci", w0.key)
	zzconfig = func(w *world) (aws.Config, error) { return config(server.URL, w.key), nil }
	leaked := w0.fake.AddKey("ci", 24*time.Hour)
	zzdeactivate(t, w0, leaked.AccessKeyID)
	w := zzworld.New(t, w0.engine)
	arn := w.Secret("app/iam", string(w0.first.Reveal()))
	t.Logf("before: %v", w0.fake.Keys("ci"))
	token := w.Begin(arn)
	v := string(secretOf("ci", leaked).Reveal())
	if _, err := w.Client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &arn, ClientRequestToken: &token, SecretString: &v, VersionStages: []string{"AWSPENDING"}}); err != nil {
		t.Fatal(err)
	}
	err := w.All(arn, token)
	t.Logf("rotation: %v; after: %v; AWSCURRENT is the leaked key: %v", err, w0.fake.Keys("ci"), w.Get(arn, "AWSCURRENT") == v)
	if w0.fake.Keys("ci")[leaked.AccessKeyID] == "Active" {
		t.Error("PROVED: the leaked key is active again")
	}
}

func zzdeactivate(t *testing.T, w *world, id string) {
	s := "ci"
	cfg, _ := zzconfig(w)
	if _, err := awsiam.NewFromConfig(cfg).UpdateAccessKey(t.Context(), &awsiam.UpdateAccessKeyInput{UserName: &s, AccessKeyId: &id, Status: types.StatusTypeInactive}); err != nil {
		t.Fatal(err)
	}
}

var zzconfig func(*world) (aws.Config, error)

// I4: check says ok where createSecret is sure to refuse.
func TestZZCheckDoesNotSeeTheForeignKey(t *testing.T) {
	w0 := newWorld(t, permissions...)
	w0.fake.AddKey("ci", 24*time.Hour)
	w := zzworld.New(t, w0.engine)
	arn := w.Secret("app/iam", string(w0.first.Reveal()))
	bad := false
	for _, r := range operator.Check(t.Context(), w.Rotator(), arn) {
		bad = bad || string(r.State) != "ok"
	}
	err := w.Step(arn, w.Begin(arn), rotation.CreateSecret)
	t.Logf("check finds something: %v; createSecret: %v", bad, err)
	if !bad && err != nil {
		t.Error("PROVED: P6")
	}
}
