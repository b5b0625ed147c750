package sim

import (
	"maps"
	"slices"
	"time"
)

const (
	// maxLabels is the maximum number of labels on all versions of a secret together.
	// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
	maxLabels = 20
	// keptVersions is the number of versions above which outdated ones are removed.
	keptVersions = 100
)

// labeling maps each label to its version.
type labeling map[string]string

// give moves a label to a version. With AWSCURRENT, it also moves AWSPREVIOUS to the former current version.
func (l labeling) give(label, id string) {
	if old := l[current]; label == current && old != id {
		delete(l, previous)
		if old != "" {
			l[previous] = old
		}
	}
	l[label] = id
}

// attach adds labels to a version that a Put created. Other labels stay where they are, including custom labels of the
// former AWSCURRENT. Unknown: whether AWS keeps these.
func (l labeling) attach(id string, stages []string) {
	for _, label := range stages {
		l.give(label, id)
	}
	// A new current value ends a rotation in progress.
	if slices.Contains(stages, current) && l[pending] != id {
		delete(l, pending)
	}
}

// tooManyLabels returns the error for more than maxLabels labels. Unknown: AWS's text.
func tooManyLabels() *fault {
	return &fault{"LimitExceededException", "You have exceeded the maximum number of staging labels for a secret."}
}

// relabel changes the labels, unless there would be too many, and removes versions that have neither a value nor a
// label.
func (s *secret) relabel(change func(labeling)) *fault {
	after := maps.Clone(s.Labels)
	change(after)
	if len(after) > maxLabels {
		return tooManyLabels()
	}
	s.Labels = after
	maps.DeleteFunc(s.Versions, func(id string, v *version) bool { return !v.filled() && s.stages(id) == nil })
	return nil
}

// move implements UpdateSecretVersionStage. Unknown: AWS's texts if no version is given, if a version does not exist,
// and if the label is on another version.
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
		return s.relabel(func(l labeling) { delete(l, label) })
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
	// Unknown: AWS's answer. Moving AWSCURRENT to a version without a value would leave the secret without one, and a
	// rotation that has stored nothing would count as a success.
	if label == current && !s.Versions[to].filled() {
		return notFound("secret version: %s.", to)
	}
	return s.relabel(func(l labeling) { l.give(label, to) })
}

// prune removes outdated versions if there are more than a hundred: the oldest ones without a label, but none from the
// last 24 hours.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
func (s *secret) prune(now time.Time) {
	for _, v := range slices.Backward(s.newest()) {
		if len(s.Versions) > keptVersions && s.stages(v.ID) == nil && now.Sub(v.Created) >= day {
			delete(s.Versions, v.ID)
		}
	}
}
