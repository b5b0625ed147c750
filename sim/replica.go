package sim

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// replica records that a secret is replicated to a region. The replica itself is a view of the secret (secret.in), and
// cannot differ from it. On AWS, changes take a moment to propagate.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/replicate-secrets.html
type replica struct {
	KmsKeyId string // "" for the account's default key in that region
	Status   string
	Message  string
	Created  time.Time
	Accessed time.Time
}

const (
	inSync     = "InSync"
	defaultKey = "alias/aws/secretsmanager"
)

// regions are those of the partitions aws, aws-cn and aws-us-gov.
// Source: botocore's data/endpoints.json
var regions = strings.Fields(`af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1
	ap-south-2 ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7
	ca-central-1 ca-west-1 cn-north-1 cn-northwest-1 eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2
	eu-west-1 eu-west-2 eu-west-3 il-central-1 me-central-1 me-south-1 mx-central-1 sa-east-1 us-east-1 us-east-2
	us-gov-east-1 us-gov-west-1 us-west-1 us-west-2`)

// in returns a secret as seen from another region, or nil if it has no replica there. A replica has a separate key, and
// separate dates of creation and retrieval. Its ARN differs only in the region.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/standalone-secret.html
func (sec *secret) in(region string) *secret {
	r := sec.Replicas[region]
	if r == nil || r.Status != inSync {
		return nil
	}
	view := *sec
	view.origin = sec
	view.ARN, view.Region = strings.Replace(sec.ARN, ":"+sec.Region+":", ":"+region+":", 1), region
	view.Key, view.Created, view.Accessed = r.KmsKeyId, r.Created, r.Accessed
	return &view
}

// primary returns the secret that a replica belongs to, or the secret itself.
func (sec *secret) primary() *secret { return cmp.Or(sec.origin, sec) }

// accessed records the day of a retrieval, separately for each region.
func (sec *secret) accessed(day time.Time) {
	if sec.origin != nil {
		sec.origin.Replicas[sec.Region].Accessed = day
		return
	}
	sec.Accessed = day
}

// replicationStatus returns the member ReplicationStatus. Unknown: whether a replica has it; the simulator omits it.
func (sec *secret) replicationStatus() []answer {
	out := []answer{}
	for _, region := range slices.Sorted(maps.Keys(sec.Replicas)) {
		r := sec.Replicas[region]
		out = append(out, answer{"Region": region, "KmsKeyId": cmp.Or(r.KmsKeyId, defaultKey), "Status": r.Status,
			"StatusMessage": r.Message, "LastAccessedDate": stamp(r.Accessed)})
	}
	return out
}

// checkReplicas rejects the secret's own region and regions outside its partition.
// Source: https://github.com/aws-samples/aws-health-aware/pull/32 for the text
func checkReplicas(home string, add []types.ReplicaRegionType) *fault {
	for _, r := range add {
		if to := aws.ToString(r.Region); to == home || partition(to) != partition(home) || !slices.Contains(regions, to) {
			return invalidParameter("Invalid replica region.")
		}
	}
	return nil
}

// replicate adds replicas to a secret. It keeps existing replicas and retries failed ones. A failure is part of the
// status, not an error. Unknown: what AWS does to an existing secret that itself has replicas; the simulator never
// overwrites it.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/replicate-secrets_troubleshoot.html; for messages
// moto's test_secrets_duplication.py and the guide to Planton's AwsSecretsManagerSecret, verified on AWS in 2026
func (s *Sim) replicate(sec *secret, add []types.ReplicaRegionType, force bool) {
	for _, a := range add {
		region := *a.Region
		if r := sec.Replicas[region]; r != nil && r.Status == inSync {
			continue
		}
		r := &replica{
			KmsKeyId: aws.ToString(a.KmsKeyId), Status: inSync, Message: "Replication succeeded",
			Created: s.clock.Now().Truncate(time.Millisecond),
		}
		switch other := s.at(place{sec.Account, region, sec.Name}); {
		case other == nil:
		case other.origin != nil:
			r.Status = "Failed"
			r.Message = "Replication failed: Secret name " + sec.Name + " is currently replicated to " +
				region + " with a different arn"
		case force && len(other.Replicas) == 0:
			s.erase(other)
		default:
			r.Status = "Failed"
			r.Message = "Replication failed: Secret name " + sec.Name + " already exists in region " + region + "."
		}
		sec.Replicas[region] = r
	}
}

func (s *Sim) replicateSecretToRegions(
	_ *caller, sec *secret, in *sm.ReplicateSecretToRegionsInput,
) (answer, *fault) {
	if f := checkReplicas(sec.Region, in.AddReplicaRegions); f != nil {
		return nil, f
	}
	s.replicate(sec, in.AddReplicaRegions, in.ForceOverwriteReplicaSecret)
	sec.touch(s.clock.Now())
	return answer{"ARN": sec.ARN, "ReplicationStatus": sec.replicationStatus()}, nil
}

// removeRegionsFromReplication deletes replicas. It ignores a region without one.
// Source: moto's test_secrets_duplication.py
func (s *Sim) removeRegionsFromReplication(
	_ *caller, sec *secret, in *sm.RemoveRegionsFromReplicationInput,
) (answer, *fault) {
	for _, region := range in.RemoveReplicaRegions {
		delete(sec.Replicas, region)
	}
	sec.touch(s.clock.Now())
	return answer{"ARN": sec.ARN, "ReplicationStatus": sec.replicationStatus()}, nil
}

// stopReplicationToReplica promotes a replica to a standalone secret, without a configuration for rotation. Unknown:
// AWS's text for a secret that is not a replica.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/standalone-secret.html
func (s *Sim) stopReplicationToReplica(
	_ *caller, view *secret, _ *sm.StopReplicationToReplicaInput,
) (answer, *fault) {
	if view.origin == nil {
		return nil, invalidRequest("You can only call this operation on a replica secret.")
	}
	sec := *view
	sec.origin, sec.Replicas, sec.Rotation = nil, make(map[string]*replica), rotation{}
	sec.history, sec.before, sec.disarm = nil, nil, nil
	sec.Tags, sec.Labels, sec.Versions = slices.Clone(sec.Tags), maps.Clone(sec.Labels), maps.Clone(sec.Versions)
	for id, v := range sec.Versions {
		own := *v
		sec.Versions[id] = &own
	}
	delete(view.origin.Replicas, sec.Region)
	now := s.clock.Now()
	view.origin.touch(now)
	sec.touch(now)
	s.secrets[sec.place()] = &sec
	return answer{"ARN": sec.ARN}, nil
}
