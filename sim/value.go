package sim

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// answer is the body of a successful response. Members without a value are omitted, as AWS does.
type answer map[string]any

const noToken = "You must provide a ClientRequestToken value. We recommend a UUID-type value."

// checkValue checks a request's SecretString and SecretBinary. decode has checked their size.
func checkValue(text *string, binary []byte, required bool) *fault {
	switch {
	case text != nil && binary != nil:
		return invalidParameter("You can't specify both a binary secret value and a string secret value in the same " +
			"secret.")
	case required && text == nil && binary == nil:
		return invalidRequest("You must provide either SecretString or SecretBinary.")
	}
	return nil
}

type createInput struct {
	Name                        string  `required:"true" min:"1" max:"512"`
	ClientRequestToken          string  `min:"32" max:"64"`
	Description                 string  `max:"2048"`
	KmsKeyId                    string  `max:"2048"`
	SecretString                *string `min:"1" bytes:"65536" sensitive:"true"`
	SecretBinary                []byte  `min:"1" bytes:"65536" sensitive:"true"`
	Tags                        []tag
	AddReplicaRegions           []replicaRegion `min:"1"`
	ForceOverwriteReplicaSecret bool
	Type                        string `max:"256"`
}

func (s *Sim) createSecret(c *caller, in createInput) (any, *fault) {
	if in.ClientRequestToken == "" {
		return nil, invalidRequest(noToken)
	}
	if f := checkName(in.Name); f != nil {
		return nil, f
	}
	if f := checkValue(in.SecretString, in.SecretBinary, false); f != nil {
		return nil, f
	}
	if f := checkReplicas(c.region, in.AddReplicaRegions); f != nil {
		return nil, f
	}
	if sec := s.at(c.account, c.region, in.Name); sec != nil {
		v := sec.Versions[in.ClientRequestToken]
		switch {
		case sec.origin != nil:
		case !sec.Deleted.IsZero():
			return nil, invalidRequest(
				"You can't create this secret because a secret with this name is already scheduled for deletion.")
		case v != nil && v.filled() && v.same(in.SecretString, in.SecretBinary):
			return answer{"ARN": sec.ARN, "Name": sec.Name, "VersionId": v.ID}, nil
		case v != nil:
			return nil, tokenUsed(in.ClientRequestToken, sec.ARN)
		}
		return nil, &fault{"ResourceExistsException",
			"The operation failed because the secret " + in.Name + " already exists."}
	}
	now := s.clock.Now().Truncate(time.Millisecond)
	sec := &secret{
		Account: c.account, Name: in.Name, ARN: c.arnOf(in.Name + "-" + suffix()),
		Description: in.Description, Key: in.KmsKeyId, Type: in.Type, Created: now, Changed: now,
		Versions: make(map[string]*version), Labels: make(map[string]string),
	}
	if f := sec.tag(in.Tags); f != nil {
		return nil, f
	}
	out := answer{"ARN": sec.ARN, "Name": sec.Name}
	if in.SecretString != nil || in.SecretBinary != nil {
		if f := s.store(sec, &version{
			ID: in.ClientRequestToken, Text: in.SecretString, Binary: in.SecretBinary,
		}, []string{current}); f != nil {
			return nil, f
		}
		out["VersionId"] = in.ClientRequestToken
	}
	s.add(sec)
	if len(in.AddReplicaRegions) > 0 {
		s.replicate(sec, in.AddReplicaRegions, in.ForceOverwriteReplicaSecret)
		out["ReplicationStatus"] = sec.replicationStatus()
	}
	return out, nil
}

// store creates a version, or fills the one that a rotation reserved. A secret's first value gets
// AWSCURRENT whatever the caller specifies.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
func (s *Sim) store(sec *secret, v *version, stages []string) *fault {
	if !sec.HadValue && !slices.Contains(stages, current) {
		stages = append(slices.Clone(stages), current)
	}
	going := 0
	if p, ok := sec.Labels[pending]; ok && p != v.ID && slices.Contains(stages, current) &&
		!slices.Contains(stages, pending) {
		going = 1 // attach removes it
	}
	if f := sec.room(stages, going); f != nil {
		return f
	}
	now := s.clock.Now()
	sec.prune(now)
	if len(sec.Versions) >= maxVersions && sec.Versions[v.ID] == nil {
		return limitExceeded("You have exceeded the maximum number of versions for a secret: %d.", maxVersions)
	}
	s.remember(sec)
	sec.HadValue = true
	v.Created = sec.touch(now)
	sec.Versions[v.ID] = v
	sec.attach(v.ID, stages)
	sec.prune(now)
	if sec.Labels[current] == v.ID && !sec.Rotation.Running {
		// A value that was set by hand counts as a rotation for the schedule.
		// Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html
		s.plan(sec, v.Created)
	}
	s.stir(sec)
	return nil
}

// view is a secret before its last change.
type view struct {
	versions map[string]*version
	labels   map[string]string
	end      time.Time
}

// staleFor is how long a read may miss the last write, in the client's time.
const staleFor = 2 * time.Second

// remember keeps what a stale read will see, if that fault is injected.
func (s *Sim) remember(sec *secret) {
	if s.opts.Faults.rate(StaleRead) > 0 {
		sec.before = &view{maps.Clone(sec.Versions), maps.Clone(sec.Labels), s.clock.Wall().Add(staleFor)}
	}
}

// seen returns the secret as a caller sees it: as it was, if the read is stale, or as it is.
func (s *Sim) seen(c *caller, sec *secret) *secret {
	if !c.stale || sec.before == nil || s.clock.Wall().After(sec.before.end) {
		return sec
	}
	old := *sec
	old.Versions, old.Labels = sec.before.versions, sec.before.labels
	return &old
}

type getInput struct {
	SecretId     string `required:"true" min:"1" max:"2048"`
	VersionId    string `min:"32" max:"64"`
	VersionStage string `min:"1" max:"256"`
}

func (s *Sim) getSecretValue(c *caller, in getInput) (any, *fault) {
	sec, f := s.live(c, in.SecretId)
	if f != nil {
		return nil, f
	}
	return s.get(c, sec, in.VersionId, in.VersionStage)
}

// get answers for a secret that the caller may read.
func (s *Sim) get(c *caller, sec *secret, version, label string) (answer, *fault) {
	if label == "" && version == "" {
		label = current
	}
	seen := s.seen(c, sec)
	id := cmp.Or(version, seen.Labels[label])
	v := seen.Versions[id]
	switch {
	case v == nil && version != "":
		return nil, notFound("secret value for VersionId: %s", version)
	case v == nil:
		return nil, notFound("secret value for staging label: %s", label)
	case label != "" && seen.Labels[label] != id:
		return nil, invalidRequest("You provided a VersionStage that is not associated to the provided VersionId.")
	case !v.filled() && version != "":
		return nil, notFound("secret value for VersionId: %s", version)
	case !v.filled():
		return nil, notFound("secret value for staging label: %s", label)
	}
	day := s.clock.Now().UTC().Truncate(24 * time.Hour)
	v.Accessed = day
	sec.accessed(day)
	out := answer{"ARN": sec.ARN, "Name": sec.Name, "VersionId": id, "CreatedDate": stamp(v.Created)}
	if v.Text != nil {
		out["SecretString"] = *v.Text
	} else {
		out["SecretBinary"] = v.Binary
	}
	if l := seen.stages(id); l != nil {
		out["VersionStages"] = l
	}
	return out, nil
}

type putInput struct {
	SecretId           string   `required:"true" min:"1" max:"2048"`
	ClientRequestToken string   `min:"32" max:"64"`
	SecretString       *string  `min:"1" bytes:"65536" sensitive:"true"`
	SecretBinary       []byte   `min:"1" bytes:"65536" sensitive:"true"`
	VersionStages      []string `min:"1" max:"20" each:"1-256"`
	RotationToken      string   `min:"36" max:"256" pattern:"^[a-zA-Z0-9\\-]+$" sensitive:"true"`
}

func (s *Sim) putSecretValue(c *caller, in putInput) (any, *fault) {
	if in.ClientRequestToken == "" {
		return nil, invalidRequest(noToken)
	}
	sec, f := s.writable(c, in.SecretId)
	if f != nil {
		return nil, f
	}
	// Unknown: whether AWS checks the value before it looks up the secret.
	if f := checkValue(in.SecretString, in.SecretBinary, true); f != nil {
		return nil, f
	}
	if in.VersionStages == nil {
		in.VersionStages = []string{current}
	}
	v := &version{ID: in.ClientRequestToken, Text: in.SecretString, Binary: in.SecretBinary,
		Unproved: (c.assumed || c.account != sec.Account) && !slices.Contains(sec.Rotation.Tokens, in.RotationToken)}
	if f := s.put(sec, v, in.VersionStages); f != nil {
		return nil, f
	}
	out := answer{"ARN": sec.ARN, "Name": sec.Name, "VersionId": v.ID}
	if l := sec.stages(v.ID); l != nil { // the version of a replay may have lost its labels
		out["VersionStages"] = l
	}
	return out, nil
}

// put stores a version once: a replay with the same value does nothing, and one with another value
// fails.
func (s *Sim) put(sec *secret, v *version, stages []string) *fault {
	if old := sec.Versions[v.ID]; old != nil && old.filled() {
		if !old.same(v.Text, v.Binary) {
			return tokenUsed(v.ID, sec.ARN)
		}
		return nil
	}
	return s.store(sec, v, stages)
}

type updateInput struct {
	SecretId           string  `required:"true" min:"1" max:"2048"`
	ClientRequestToken string  `min:"32" max:"64"`
	Description        *string `max:"2048"`
	KmsKeyId           *string `max:"2048"`
	SecretString       *string `min:"1" bytes:"65536" sensitive:"true"`
	SecretBinary       []byte  `min:"1" bytes:"65536" sensitive:"true"`
	Type               *string `max:"256"`
}

// keyAlone reports whether a request changes only the key, which is possible on a replica.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/standalone-secret.html
func (in *updateInput) keyAlone() bool {
	return in.KmsKeyId != nil && in.Description == nil && in.Type == nil &&
		in.SecretString == nil && in.SecretBinary == nil
}

func (s *Sim) updateSecret(c *caller, in updateInput) (any, *fault) {
	if in.ClientRequestToken == "" {
		return nil, invalidRequest(noToken)
	}
	sec, f := s.live(c, in.SecretId)
	if f != nil {
		return nil, f
	}
	if r := sec.primary().replica(c.region); sec.origin != nil && in.keyAlone() {
		r.KmsKeyId = *in.KmsKeyId
		return answer{"ARN": sec.ARN, "Name": sec.Name}, nil
	}
	if f := sec.onReplica(); f != nil {
		return nil, f
	}
	if f := checkValue(in.SecretString, in.SecretBinary, false); f != nil {
		return nil, f
	}
	out := answer{"ARN": sec.ARN, "Name": sec.Name}
	if in.SecretString != nil || in.SecretBinary != nil { // a replay changes nothing
		if f := s.put(sec, &version{
			ID: in.ClientRequestToken, Text: in.SecretString, Binary: in.SecretBinary,
		}, []string{current}); f != nil {
			return nil, f
		}
		out["VersionId"] = in.ClientRequestToken
	}
	if in.Description != nil {
		sec.Description = *in.Description
	}
	if in.KmsKeyId != nil {
		sec.Key = *in.KmsKeyId
	}
	if in.Type != nil {
		sec.Type = *in.Type
	}
	if in.Description != nil || in.KmsKeyId != nil || in.Type != nil {
		sec.touch(s.clock.Now())
	}
	return out, nil
}

type stageInput struct {
	SecretId            string `required:"true" min:"1" max:"2048"`
	VersionStage        string `required:"true" min:"1" max:"256"`
	RemoveFromVersionId string `min:"32" max:"64"`
	MoveToVersionId     string `min:"32" max:"64"`
}

func (s *Sim) updateSecretVersionStage(c *caller, in stageInput) (any, *fault) {
	sec, f := s.writable(c, in.SecretId)
	if f != nil {
		return nil, f
	}
	s.remember(sec)
	if f := sec.move(in.VersionStage, in.RemoveFromVersionId, in.MoveToVersionId); f != nil {
		return nil, f
	}
	sec.touch(s.clock.Now())
	s.stir(sec)
	return answer{"ARN": sec.ARN, "Name": sec.Name}, nil
}
