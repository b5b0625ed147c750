package sim

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

type idInput struct {
	SecretId string `required:"true" min:"1" max:"2048"`
}

func (s *Sim) describeSecret(c *caller, in idInput) (any, *fault) {
	sec, f := s.find(c, in.SecretId)
	if f != nil {
		return nil, f
	}
	sec = s.seen(c, sec)
	out := s.describe(sec)
	if !sec.Rotation.Enabled {
		// ListSecrets still lists it.
		// Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DescribeSecret.html
		delete(out, "LastRotatedDate")
	}
	if len(sec.Labels) > 0 {
		out["VersionIdsToStages"] = sec.byVersion()
	}
	if len(sec.Replicas) > 0 && sec.origin == nil {
		out["ReplicationStatus"] = sec.replicationStatus()
	}
	return out, nil
}

// describe returns what DescribeSecret and ListSecrets have in common.
func (s *Sim) describe(sec *secret) answer {
	out := answer{"ARN": sec.ARN, "Name": sec.Name, "CreatedDate": stamp(sec.Created),
		"LastChangedDate": stamp(sec.Changed)}
	r := &sec.Rotation
	if sec.ownKey() {
		out["KmsKeyId"] = sec.Key
	}
	for name, v := range map[string]string{
		"Description": sec.Description, "Type": sec.Type, "OwningService": sec.Owner,
		"RotationLambdaARN": r.Function, "ExternalSecretRotationRoleArn": r.Role,
	} {
		if v != "" {
			out[name] = v
		}
	}
	if r.configured() {
		out["RotationEnabled"] = r.Enabled
	}
	if len(r.Metadata) > 0 {
		out["ExternalSecretRotationMetadata"] = r.Metadata
	}
	if r.Rules != nil {
		out["RotationRules"] = r.Rules.shown()
	}
	for name, t := range map[string]time.Time{
		"LastAccessedDate": sec.Accessed, "LastRotatedDate": r.Last, "DeletedDate": sec.Deleted,
		"NextRotationDate": r.Next,
	} {
		if !t.IsZero() {
			out[name] = stamp(t)
		}
	}
	if len(sec.Replicas) > 0 {
		out["PrimaryRegion"] = sec.primary().region()
	}
	if sec.EverTagged {
		out["Tags"] = append([]tag{}, sec.Tags...)
	}
	return out
}

type listVersionsInput struct {
	SecretId          string `required:"true" min:"1" max:"2048"`
	NextToken         string `min:"1" max:"4096"`
	MaxResults        *int   `min:"1" max:"100"`
	IncludeDeprecated bool
}

// listSecretVersionIds lists versions that have a value. Unknown: whether AWS answers for a secret
// that is scheduled for deletion; the simulator does.
func (s *Sim) listSecretVersionIds(c *caller, in listVersionsInput) (any, *fault) {
	sec, f := s.find(c, in.SecretId)
	if f != nil {
		return nil, f
	}
	sec = s.seen(c, sec)
	var all []*version
	for _, v := range sec.Versions {
		if v.filled() && (in.IncludeDeprecated || sec.stages(v.ID) != nil) {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b *version) int {
		return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.ID, b.ID))
	})
	page, next, f := paginate(all, in.NextToken, in.MaxResults, 100)
	if f != nil {
		return nil, f
	}
	versions := []answer{}
	for _, v := range page {
		e := answer{"VersionId": v.ID, "CreatedDate": stamp(v.Created),
			"KmsKeyIds": []string{cmp.Or(sec.Key, "DefaultEncryptionKey")}}
		if l := sec.stages(v.ID); l != nil {
			e["VersionStages"] = l
		}
		if !v.Accessed.IsZero() {
			e["LastAccessedDate"] = stamp(v.Accessed)
		}
		versions = append(versions, e)
	}
	return next.in(answer{"ARN": sec.ARN, "Name": sec.Name, "Versions": versions}), nil
}
