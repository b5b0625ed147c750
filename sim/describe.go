package sim

import (
	"cmp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

func (s *Sim) describeSecret(c *caller, sec *secret, _ *sm.DescribeSecretInput) (answer, *fault) {
	sec = s.seen(c, sec)
	out := s.describe(sec)
	if !sec.Rotation.Enabled {
		// ListSecrets still returns it.
		// Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DescribeSecret.html
		delete(out, "LastRotatedDate")
	}
	out["VersionIdsToStages"] = sec.byVersion()
	if len(sec.Replicas) > 0 && sec.origin == nil {
		out["ReplicationStatus"] = sec.replicationStatus()
	}
	return out, nil
}

// describe returns what DescribeSecret and ListSecrets have in common.
func (s *Sim) describe(sec *secret) answer {
	r := &sec.Rotation
	out := sec.answer("CreatedDate", stamp(sec.Created), "LastChangedDate", stamp(sec.Changed),
		"LastAccessedDate", stamp(sec.Accessed), "DeletedDate", stamp(sec.Deleted), "Description", sec.Description,
		"Type", sec.Type, "OwningService", sec.Owner, "Tags", sec.Tags, "LastRotatedDate", stamp(r.Last),
		"NextRotationDate", stamp(r.Next), "RotationLambdaARN", r.Function, "RotationRules", shownRules(r.Rules),
		"ExternalSecretRotationRoleArn", r.Role, "ExternalSecretRotationMetadata", r.Metadata)
	if sec.ownKey() {
		out["KmsKeyId"] = sec.Key
	}
	if r.configured() {
		out["RotationEnabled"] = r.Enabled
	}
	if len(sec.Replicas) > 0 {
		out["PrimaryRegion"] = sec.primary().Region
	}
	return out
}

// listSecretVersionIds lists versions that have a value. Unknown: whether AWS answers for a secret
// that is scheduled for deletion; the simulator does.
func (s *Sim) listSecretVersionIds(
	c *caller, sec *secret, in *sm.ListSecretVersionIdsInput,
) (answer, *fault) {
	sec = s.seen(c, sec)
	all := slices.DeleteFunc(sec.newest(), func(v *version) bool {
		return !v.filled() || !aws.ToBool(in.IncludeDeprecated) && sec.stages(v.ID) == nil
	})
	page, next, f := paginate(all, in.NextToken, in.MaxResults, 100)
	if f != nil {
		return nil, f
	}
	versions := []answer{}
	for _, v := range page {
		versions = append(versions, answer{"VersionId": v.ID, "CreatedDate": stamp(v.Created),
			"KmsKeyIds":     []string{cmp.Or(sec.Key, "DefaultEncryptionKey")},
			"VersionStages": sec.stages(v.ID), "LastAccessedDate": stamp(v.Accessed)})
	}
	return sec.answer("Versions", versions, "NextToken", next), nil
}
