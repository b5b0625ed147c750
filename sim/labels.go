package sim

import (
	"slices"
	"time"
)

const (
	// maxLabels is the maximum number of labels on all versions of a secret together.
	// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
	maxLabels = 20
	// keptVersions is the number of versions above which outdated ones are removed.
	keptVersions = 100
	// maxVersions is the maximum number of versions. Unknown: AWS's number. It must exceed 144: AWS
	// allows one Put every ten minutes and keeps the versions of the last 24 hours.
	maxVersions = 150
)

// setCurrent moves AWSCURRENT, and AWSPREVIOUS to where it was.
func (s *secret) setCurrent(id string) {
	old := s.Labels[current]
	if old == id {
		return
	}
	delete(s.Labels, previous)
	if old != "" {
		s.Labels[previous] = old
	}
	s.Labels[current] = id
}

// attach puts labels on a version that a Put created. Other labels stay where they are, including
// custom ones of the former AWSCURRENT. Unknown: whether AWS keeps these.
func (s *secret) attach(id string, stages []string) {
	takesCurrent := false
	for _, l := range stages {
		old := s.Labels[l]
		if l == current {
			takesCurrent = true
			s.setCurrent(id)
		} else {
			s.Labels[l] = id
		}
		s.drop(old)
	}
	// A new current value ends a rotation in progress.
	if p, ok := s.Labels[pending]; takesCurrent && ok && p != id {
		delete(s.Labels, pending)
		s.drop(p)
	}
}

// room checks the quota for adding labels to a version while going others are removed.
func (s *secret) room(stages []string, going int) *fault {
	n := len(s.Labels) - going
	seen := map[string]bool{}
	for _, l := range stages {
		if _, ok := s.Labels[l]; !ok && !seen[l] {
			seen[l] = true
			n++
		}
	}
	// AWSPREVIOUS is added automatically.
	if _, ok := s.Labels[previous]; !ok && s.Labels[current] != "" && !seen[previous] &&
		(len(stages) == 0 || slices.Contains(stages, current)) {
		n++
	}
	if n > maxLabels {
		return limitExceeded("You have exceeded the maximum number of staging labels for a secret: %d.", maxLabels)
	}
	return nil
}

// drop removes a version that has neither a value nor a label.
func (s *secret) drop(id string) {
	if v := s.Versions[id]; v != nil && !v.filled() && len(s.stages(id)) == 0 {
		delete(s.Versions, id)
	}
}

// move implements UpdateSecretVersionStage. Unknown: the texts for no version at all, a version
// that does not exist and a label on another version.
func (s *secret) move(label, from, to string) *fault {
	holder := s.Labels[label]
	if from == "" && to == "" {
		return invalidParameter("You must specify RemoveFromVersionId, MoveToVersionId, or both.")
	}
	for _, id := range []string{from, to} {
		if id != "" && s.Versions[id] == nil {
			return notFound("secret version: %s.", id)
		}
	}
	switch {
	case to == "" && label == current:
		return invalidParameter("You can only move staging label AWSCURRENT to a different secret version. It can’t " +
			"be completely removed.")
	case to == "" && from != holder:
		return invalidParameter("Staging label %s is not attached to version %s.", label, from)
	case to == "":
		delete(s.Labels, label)
		s.drop(from)
		return nil
	case holder == to:
		return nil
	case holder != "" && from == "":
		return invalidParameter("The parameter RemoveFromVersionId can't be empty. Staging label %s is currently "+
			"attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.",
			label, holder)
	case from != holder:
		return invalidParameter("When you move staging label %s, if you specify RemoveFromVersionId, it must be set "+
			"to the version that currently has the staging label %s.", label, label)
	}
	// Unknown: AWS's answer. A version without a value would leave the secret without
	// one, and a rotation that has stored nothing would count as a success.
	if label == current && !s.Versions[to].filled() {
		return notFound("secret version: %s.", to)
	}
	if f := s.room([]string{label}, 0); f != nil {
		return f
	}
	if label == current {
		s.setCurrent(to)
	} else {
		s.Labels[label] = to
	}
	s.drop(holder)
	return nil
}

// prune removes outdated versions if there are more than a hundred: the oldest without a label, but
// none from the last 24 hours.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
func (s *secret) prune(now time.Time) {
	for len(s.Versions) > keptVersions {
		var oldest *version
		for _, v := range s.Versions {
			if len(s.stages(v.ID)) == 0 && now.Sub(v.Created) >= 24*time.Hour &&
				(oldest == nil || v.Created.Before(oldest.Created)) {
				oldest = v
			}
		}
		if oldest == nil {
			return
		}
		delete(s.Versions, oldest.ID)
	}
}
