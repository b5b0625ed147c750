package sim

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// deleteSecret deletes immediately if forced; AWS deletes a little later.
func (s *Sim) deleteSecret(c *caller, in *sm.DeleteSecretInput) (answer, *fault) {
	days, force := 30, aws.ToBool(in.ForceDeleteWithoutRecovery)
	if in.RecoveryWindowInDays != nil {
		days = int(*in.RecoveryWindowInDays)
		if force {
			return nil, invalidParameter(
				"You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
		}
		if days < 7 || days > 30 {
			return nil, invalidParameter("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
		}
	}
	sec, f := s.find(c, *in.SecretId)
	now := s.clock.Now()
	if f != nil && f.Code == "ResourceNotFoundException" && force {
		// AWS answers as if the secret existed.
		arn, name := c.arnOf(*in.SecretId+"-"+suffix()), *in.SecretId
		if parts := strings.SplitN(name, ":", 7); len(parts) == 7 {
			arn, name = name, complete.ReplaceAllString(parts[6], "")
		}
		return answer{"ARN": arn, "Name": name, "DeletionDate": stamp(now)}, nil
	}
	if f != nil {
		return nil, f
	}
	if len(sec.Replicas) > 0 {
		// Source: https://github.com/rebuy-de/aws-nuke/issues/1127
		return nil, invalidParameter("You can't delete secret %s that still has replica regions [%s].",
			sec.ARN, strings.Join(slices.Sorted(maps.Keys(sec.Replicas)), ", "))
	}
	if force {
		s.erase(sec)
		return sec.answer("DeletionDate", stamp(now)), nil
	}
	if !sec.Deleted.IsZero() {
		return nil, markedForDeletion()
	}
	sec.Deleted = now.AddDate(0, 0, days)
	sec.touch(now)
	s.arm(sec, now)
	s.stir(sec)
	s.announce(sec, "StartSecretVersionDelete", "", "")
	return sec.answer("DeletionDate", stamp(sec.Deleted)), nil
}

// erase removes a secret permanently. A rotation in progress ends before its next step.
func (s *Sim) erase(sec *secret) {
	sec.Deleted = s.clock.Now()
	if sec.disarm != nil {
		sec.disarm()
	}
	s.stir(sec)
	delete(s.secrets, sec.place())
	s.announce(sec, "EndSecretVersionDelete", "", "")
}

func (s *Sim) restoreSecret(_ *caller, sec *secret, _ *sm.RestoreSecretInput) (answer, *fault) {
	if !sec.Deleted.IsZero() {
		sec.Deleted = time.Time{}
		now := s.clock.Now()
		sec.touch(now)
		s.arm(sec, now)
		s.announce(sec, "CancelSecretVersionDelete", "", "")
	}
	return sec.answer(), nil
}
