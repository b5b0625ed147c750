package sim

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

const noToken = "You must provide a ClientRequestToken value. We recommend a UUID-type value."

// valueInput is a version in a request. decode checks the size of its value.
type valueInput struct {
	ClientRequestToken string  `min:"32" max:"64"`
	SecretString       *string `min:"1" bytes:"65536" sensitive:"true"`
	SecretBinary       []byte  `min:"1" bytes:"65536" sensitive:"true"`
}

// check implements checked. Unknown: whether AWS checks the value before it looks up the secret.
func (in valueInput) check() *fault {
	switch {
	case in.ClientRequestToken == "":
		return invalidRequest(noToken)
	case in.SecretString != nil && in.SecretBinary != nil:
		return invalidParameter("You can't specify both a binary secret value and a string secret value in the same " +
			"secret.")
	}
	return nil
}

func (in valueInput) version() *version {
	return &version{ID: in.ClientRequestToken, Text: in.SecretString, Binary: in.SecretBinary}
}

type createInput struct {
	valueInput
	Name                        string `required:"true" min:"1" max:"512"`
	Description                 string `max:"2048"`
	KmsKeyId                    string `max:"2048"`
	Tags                        []tag
	AddReplicaRegions           []replicaRegion `min:"1"`
	ForceOverwriteReplicaSecret bool
	Type                        string `max:"256"`
}

func (s *Sim) createSecret(c *caller, in createInput) (answer, *fault) {
	if f := cmp.Or(checkName(in.Name), checkReplicas(c.region, in.AddReplicaRegions)); f != nil {
		return nil, f
	}
	if sec := s.at(place{c.account, c.region, in.Name}); sec != nil {
		v := sec.Versions[in.ClientRequestToken]
		switch {
		case sec.origin != nil:
		case !sec.Deleted.IsZero():
			return nil, invalidRequest(
				"You can't create this secret because a secret with this name is already scheduled for deletion.")
		case v != nil && v.filled() && v.same(in.version()):
			return sec.answer("VersionId", v.ID), nil
		case v != nil:
			return nil, tokenUsed(in.ClientRequestToken, sec.ARN)
		}
		return nil, &fault{"ResourceExistsException",
			"The operation failed because the secret " + in.Name + " already exists."}
	}
	now := s.clock.Now().Truncate(time.Millisecond)
	sec := &secret{
		Account: c.account, Region: c.region, Name: in.Name, ARN: c.arnOf(in.Name + "-" + suffix()),
		Description: in.Description, Key: in.KmsKeyId, Type: in.Type, Created: now, Changed: now,
		Versions: make(map[string]*version), Labels: make(labeling),
	}
	if f := sec.tag(in.Tags); f != nil {
		return nil, f
	}
	out := sec.answer()
	if v := in.version(); v.filled() {
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
	sec.prune(now)
	if len(sec.Versions) >= maxVersions && sec.Versions[v.ID] == nil {
		return limitExceeded("You have exceeded the maximum number of versions for a secret: %d.", maxVersions)
	}
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

// staleFor is how long a read may miss the last write, in the time of Wall.
const staleFor = 2 * time.Second

// remember keeps the versions and labels that a stale read returns, if that fault is injected.
func (s *Sim) remember(sec *secret) {
	if s.opts.Faults.rate(StaleRead) > 0 {
		sec.before = &secret{Versions: maps.Clone(sec.Versions), Labels: maps.Clone(sec.Labels)}
		sec.fresh = s.clock.Wall().Add(staleFor)
	}
}

// seen returns the secret as a caller sees it: before the last write if the read is stale.
func (s *Sim) seen(c *caller, sec *secret) *secret {
	if !c.stale || sec.before == nil || s.clock.Wall().After(sec.fresh) {
		return sec
	}
	old := *sec
	old.Versions, old.Labels = sec.before.Versions, sec.before.Labels
	return &old
}

type getInput struct {
	idInput
	VersionId    string `min:"32" max:"64"`
	VersionStage string `min:"1" max:"256"`
}

func (s *Sim) getSecretValue(c *caller, sec *secret, in getInput) (answer, *fault) {
	version, label := in.VersionId, in.VersionStage
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

type putInput struct {
	idInput
	valueInput
	VersionStages []string `min:"1" max:"20" each:"1-256"`
	RotationToken string   `min:"36" max:"256" pattern:"^[a-zA-Z0-9\\-]+$" sensitive:"true"`
}

func (s *Sim) putSecretValue(c *caller, sec *secret, in putInput) (answer, *fault) {
	v := in.version()
	if !v.filled() {
		return nil, invalidRequest("You must provide either SecretString or SecretBinary.")
	}
	if in.VersionStages == nil {
		in.VersionStages = []string{current}
	}
	run := sec.Rotation.run
	v.Unproved = (c.role != "" || c.account != sec.Account) &&
		(run == nil || !slices.Contains(run.tokens, in.RotationToken))
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

type updateInput struct {
	idInput
	valueInput
	Description *string `max:"2048"`
	KmsKeyId    *string `max:"2048"`
	Type        *string `max:"256"`
}

// updateSecret changes a secret or, on a replica, only its key.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/standalone-secret.html
func (s *Sim) updateSecret(c *caller, sec *secret, in updateInput) (answer, *fault) {
	v := in.version()
	if sec.origin != nil && in.KmsKeyId != nil && in.Description == nil && in.Type == nil && !v.filled() {
		sec.origin.replica(c.region).KmsKeyId = *in.KmsKeyId
		return sec.answer(), nil
	}
	if f := sec.onReplica(); f != nil {
		return nil, f
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

type stageInput struct {
	idInput
	VersionStage        string `required:"true" min:"1" max:"256"`
	RemoveFromVersionId string `min:"32" max:"64"`
	MoveToVersionId     string `min:"32" max:"64"`
}

func (s *Sim) updateSecretVersionStage(_ *caller, sec *secret, in stageInput) (answer, *fault) {
	s.remember(sec)
	if f := sec.move(in.VersionStage, in.RemoveFromVersionId, in.MoveToVersionId); f != nil {
		return nil, f
	}
	sec.touch(s.clock.Now())
	s.stir(sec)
	return sec.answer(), nil
}
