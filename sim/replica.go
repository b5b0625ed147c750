package sim

import "slices"

// replica is a copy of a secret in another region. The simulator is one region:
// it keeps the books of replication, and nothing can be read elsewhere.
type replica struct {
	Region   string `min:"1" max:"128" pattern:"^([a-z]+-)+\\d+$"`
	KmsKeyId string `json:",omitempty" max:"2048"`
	Status   string `json:",omitempty"`
}

func (s *Sim) checkReplicas(add, have []replica) *fault {
	for _, r := range add {
		if r.Region == s.opts.Region {
			return invalidParameter("Invalid replica region.")
		}
		if slices.ContainsFunc(have, func(o replica) bool { return o.Region == r.Region }) {
			return invalidParameter("The secret is already replicated to %s.", r.Region)
		}
	}
	return nil
}

func (sec *secret) replicate(add []replica) {
	for _, r := range add {
		r.Status = "InSync"
		sec.Replicas = append(sec.Replicas, r)
	}
}

type replicateInput struct {
	SecretId                    string    `required:"true" min:"1" max:"2048"`
	AddReplicaRegions           []replica `required:"true" min:"1"`
	ForceOverwriteReplicaSecret bool
}

func (s *Sim) replicateSecretToRegions(c *caller, in replicateInput) (any, *fault) {
	sec, f := s.live(c, in.SecretId)
	if f == nil {
		f = s.checkReplicas(in.AddReplicaRegions, sec.Replicas)
	}
	if f != nil {
		return nil, f
	}
	sec.replicate(in.AddReplicaRegions)
	sec.touch(s.clock.Now())
	return answer{"ARN": sec.ARN, "ReplicationStatus": sec.Replicas}, nil
}

type unreplicateInput struct {
	SecretId             string   `required:"true" min:"1" max:"2048"`
	RemoveReplicaRegions []string `required:"true" min:"1" each:"128"`
}

func (s *Sim) removeRegionsFromReplication(c *caller, in unreplicateInput) (any, *fault) {
	sec, f := s.live(c, in.SecretId)
	if f != nil {
		return nil, f
	}
	for _, r := range in.RemoveReplicaRegions {
		if !slices.ContainsFunc(sec.Replicas, func(o replica) bool { return o.Region == r }) {
			return nil, invalidParameter("The secret is not replicated to %s.", r)
		}
	}
	sec.Replicas = slices.DeleteFunc(sec.Replicas, func(o replica) bool { return slices.Contains(in.RemoveReplicaRegions, o.Region) })
	sec.touch(s.clock.Now())
	return answer{"ARN": sec.ARN, "ReplicationStatus": append([]replica{}, sec.Replicas...)}, nil
}

// stopReplicationToReplica must be called in a replica's region, and every secret
// here is a primary one. Unknown: AWS's text.
func (s *Sim) stopReplicationToReplica(c *caller, in idInput) (any, *fault) {
	if _, f := s.live(c, in.SecretId); f != nil {
		return nil, f
	}
	return nil, invalidRequest("You can only call this operation on a replica secret.")
}
