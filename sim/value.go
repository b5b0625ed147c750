package sim

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

func (s *Sim) createSecret(c *caller, in *sm.CreateSecretInput) (answer, *fault) {
	name, v := *in.Name, &version{ID: *in.ClientRequestToken, Text: in.SecretString, Binary: in.SecretBinary}
	if f := cmp.Or(checkName(name), checkReplicas(c.region, in.AddReplicaRegions)); f != nil {
		return nil, f
	}
	if sec := s.at(place{c.account, c.region, name}); sec != nil {
		old := sec.Versions[v.ID]
		switch {
		case sec.origin != nil:
		case !sec.Deleted.IsZero():
			return nil, invalidRequest(
				"You can't create this secret because a secret with this name is already scheduled for deletion.")
		case old != nil && old.filled() && old.same(v):
			return sec.answer("VersionId", v.ID), nil
		case old != nil:
			return nil, tokenUsed(v.ID, sec.ARN)
		}
		return nil, &fault{"ResourceExistsException",
			"The operation failed because the secret " + name + " already exists."}
	}
	now := s.clock.Now().Truncate(time.Millisecond)
	sec := &secret{
		Account: c.account, Region: c.region, Name: name, ARN: c.arnOf(name + "-" + suffix()),
		Description: aws.ToString(in.Description), Key: aws.ToString(in.KmsKeyId), Type: aws.ToString(in.Type),
		Created: now, Changed: now,
		Versions: make(map[string]*version), Labels: make(labeling), Replicas: make(map[string]*replica),
	}
	if f := sec.tag(in.Tags); f != nil {
		return nil, f
	}
	out := sec.answer()
	if v.filled() {
		if f := s.store(sec, v, []string{current}); f != nil {
			return nil, f
		}
		out["VersionId"] = v.ID
	}
	s.secrets[sec.place()] = sec
	if len(in.AddReplicaRegions) > 0 {
		s.replicate(sec, in.AddReplicaRegions, in.ForceOverwriteReplicaSecret)
		out["ReplicationStatus"] = sec.replicationStatus()
	}
	return out, nil
}

// store creates a version, or fills the one that a rotation reserved. A secret's first value gets AWSCURRENT,
// regardless of the labels in the request.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
func (s *Sim) store(sec *secret, v *version, stages []string) *fault {
	if sec.Labels[current] == "" && !slices.Contains(stages, current) { // a secret that had a value has AWSCURRENT
		stages = append(slices.Clone(stages), current)
	}
	now := s.clock.Now()
	s.remember(sec)
	if f := sec.relabel(func(l labeling) { l.attach(v.ID, stages) }); f != nil {
		return f
	}
	v.Created = sec.touch(now)
	sec.Versions[v.ID] = v
	sec.prune(now)
	if sec.Labels[current] == v.ID && !sec.Rotation.run.active() {
		// A value that was set by hand counts as a rotation for the schedule.
		// Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html
		s.plan(sec, v.Created)
	}
	s.stir(sec)
	return nil
}

// remember keeps the versions and labels that a stale read returns, if that fault is injected.
func (s *Sim) remember(sec *secret) {
	if s.opts.Faults.rate(StaleRead) > 0 {
		sec.before = &secret{Versions: maps.Clone(sec.Versions), Labels: maps.Clone(sec.Labels)}
		sec.written = time.Now()
	}
}

// seen returns the secret as a caller sees it: before the last write if the read is stale.
func (s *Sim) seen(c *caller, sec *secret) *secret {
	if !c.stale || sec.before == nil || time.Since(sec.written) > s.staleFor {
		return sec
	}
	old := *sec
	old.Versions, old.Labels = sec.before.Versions, sec.before.Labels
	return &old
}

func (s *Sim) getSecretValue(c *caller, sec *secret, in *sm.GetSecretValueInput) (answer, *fault) {
	version, label := aws.ToString(in.VersionId), aws.ToString(in.VersionStage)
	if label == "" && version == "" {
		label = current
	}
	seen := s.seen(c, sec)
	id := cmp.Or(version, seen.Labels[label])
	v := seen.Versions[id]
	switch {
	case v != nil && label != "" && seen.Labels[label] != id:
		return nil, invalidRequest("You provided a VersionStage that is not associated to the provided VersionId.")
	case v != nil && v.filled():
	case version != "":
		return nil, notFound("secret value for VersionId: %s", version)
	default:
		return nil, notFound("secret value for staging label: %s", label)
	}
	day := s.clock.Now().UTC().Truncate(24 * time.Hour)
	v.Accessed = day
	sec.accessed(day)
	return sec.answer("VersionId", id, "CreatedDate", stamp(v.Created), "VersionStages", seen.stages(id),
		"SecretString", v.Text, "SecretBinary", v.Binary), nil
}

func (s *Sim) putSecretValue(c *caller, sec *secret, in *sm.PutSecretValueInput) (answer, *fault) {
	v := &version{ID: *in.ClientRequestToken, Text: in.SecretString, Binary: in.SecretBinary}
	if !v.filled() {
		return nil, invalidRequest("You must provide either SecretString or SecretBinary.")
	}
	if in.VersionStages == nil {
		in.VersionStages = []string{current}
	}
	run := sec.Rotation.run
	v.Unproved = (c.role != "" || c.account != sec.Account) &&
		(run == nil || !slices.Contains(run.tokens, aws.ToString(in.RotationToken)))
	if f := s.put(sec, v, in.VersionStages); f != nil {
		return nil, f
	}
	return sec.answer("VersionId", v.ID, "VersionStages", sec.stages(v.ID)), nil
}

// put stores a version once. A replay with the same value does nothing; a replay with another value fails.
func (s *Sim) put(sec *secret, v *version, stages []string) *fault {
	if old := sec.Versions[v.ID]; old != nil && old.filled() {
		if !old.same(v) {
			return tokenUsed(v.ID, sec.ARN)
		}
		return nil
	}
	return s.store(sec, v, stages)
}

// updateSecret changes a secret or, on a replica, only its key.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/standalone-secret.html
func (s *Sim) updateSecret(c *caller, sec *secret, in *sm.UpdateSecretInput) (answer, *fault) {
	v := &version{ID: *in.ClientRequestToken, Text: in.SecretString, Binary: in.SecretBinary}
	if sec.origin != nil && in.KmsKeyId != nil && in.Description == nil && in.Type == nil && !v.filled() {
		sec.origin.Replicas[c.region].KmsKeyId = *in.KmsKeyId
		return sec.answer(), nil
	}
	if sec.origin != nil {
		return nil, notOnReplica()
	}
	out := sec.answer()
	if v.filled() { // a replay changes nothing
		if f := s.put(sec, v, []string{current}); f != nil {
			return nil, f
		}
		out["VersionId"] = v.ID
	}
	set := func(field, text *string) {
		if text != nil {
			*field = *text
			sec.touch(s.clock.Now())
		}
	}
	set(&sec.Description, in.Description)
	set(&sec.Key, in.KmsKeyId)
	set(&sec.Type, in.Type)
	return out, nil
}

func (s *Sim) updateSecretVersionStage(
	_ *caller, sec *secret, in *sm.UpdateSecretVersionStageInput,
) (answer, *fault) {
	s.remember(sec)
	from, to := aws.ToString(in.RemoveFromVersionId), aws.ToString(in.MoveToVersionId)
	if f := sec.move(*in.VersionStage, from, to); f != nil {
		return nil, f
	}
	sec.touch(s.clock.Now())
	s.stir(sec)
	return sec.answer(), nil
}
