package secretsim

import "time"

// setCurrent moves AWSCURRENT, with AWSPREVIOUS behind it.
func (s *secret) setCurrent(id string) {
	old := s.labels[current]
	if old == id {
		return
	}
	delete(s.labels, previous)
	if old != "" {
		s.labels[previous] = old
	}
	s.labels[current] = id
}

// attach puts labels on a version that a Put has made.
func (s *secret) attach(id string, stages []string) {
	takesCurrent := false
	for _, l := range stages {
		if l == current {
			takesCurrent = true
			s.setCurrent(id)
			continue
		}
		s.labels[l] = id
	}
	// A new current value ends the rotation that is under way.
	if p, ok := s.labels[pending]; takesCurrent && ok && p != id {
		delete(s.labels, pending)
		s.drop(p)
	}
}

// drop forgets a version that has neither value nor label.
func (s *secret) drop(id string) {
	if v := s.versions[id]; v != nil && !v.filled() && len(s.stages(id)) == 0 {
		delete(s.versions, id)
	}
}

// move is UpdateSecretVersionStage.
func (s *secret) move(label, from, to string) *fault {
	holder := s.labels[label]
	if from == "" && to == "" {
		return invalidParameter("You must specify RemoveFromVersionId, MoveToVersionId, or both.")
	}
	for _, id := range []string{from, to} {
		if id != "" && s.versions[id] == nil {
			return notFound("secret version: %s.", id)
		}
	}
	switch {
	case to == "" && label == current:
		return invalidParameter("You can only move staging label AWSCURRENT to a different secret version. It can’t be completely removed.")
	case to == "" && from != holder:
		return invalidParameter("Staging label %s is not attached to version %s.", label, from)
	case to == "":
		delete(s.labels, label)
		s.drop(from)
		return nil
	case holder == to:
		return nil
	case holder != "" && from == "":
		return invalidParameter("The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", label, holder)
	case from != holder:
		return invalidParameter("When you move staging label %s, if you specify RemoveFromVersionId, it must be set to the version that currently has the staging label %s.", label, label)
	}
	if label == current {
		s.setCurrent(to)
	} else {
		s.labels[label] = to
	}
	s.drop(holder)
	return nil
}

// prune removes outdated versions: those without a label beyond the newest
// hundred, but none of the last 24 hours.
func (s *secret) prune(now time.Time) {
	for len(s.versions) > 100 {
		var oldest *version
		for _, v := range s.versions {
			if len(s.stages(v.id)) == 0 && now.Sub(v.created) > 24*time.Hour && (oldest == nil || v.created.Before(oldest.created)) {
				oldest = v
			}
		}
		if oldest == nil {
			return
		}
		delete(s.versions, oldest.id)
	}
}
