package sim

import (
	"maps"
	"time"
)

// Progress is a completed step of a rotation, or an event. It never contains a value of the secret.
type Progress struct {
	Time    time.Time `json:"time"`
	Secret  string    `json:"secret"` // the ARN
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Step    string    `json:"step,omitempty"`
	Attempt int       `json:"attempt,omitempty"` // counts from 1
	Event   string    `json:"event,omitempty"`   // the name of the event that AWS sends to EventBridge, or "" for a step
	// Cause and Message explain why a step failed: the function's errorType and errorMessage, if it returned them.
	Cause   string            `json:"cause,omitempty"`
	Message string            `json:"message,omitempty"`
	Labels  map[string]string `json:"labels"` // the version that each label is on
}

// Stats counts what happened since the start.
type Stats struct {
	Started, Succeeded, Failed, Retried, Abandoned int
	Late                                           int // rotations whose last attempt began after their window
}

// Stats returns the counters.
func (s *Sim) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// History returns the steps and events of a secret that are still kept, oldest first.
func (s *Sim) History(id string) ([]Progress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, f := s.own(id)
	if f != nil {
		return nil, f
	}
	return append([]Progress{}, sec.history...), nil // never nil, which would be null in JSON
}

// note records a step or an event of a secret.
func (s *Sim) note(sec *secret, p Progress) {
	if s.opts.Trace != nil {
		s.opts.Trace(p)
	}
	if limit := s.opts.History; len(sec.history) >= limit {
		sec.history = append(sec.history[:0], sec.history[len(sec.history)-limit+1:]...)
	}
	sec.history = append(sec.history, p)
}

// announce records an event that AWS also sends to EventBridge.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/retrieve-ct-entries.html
func (s *Sim) announce(sec *secret, event, token string) {
	s.note(sec, Progress{Time: s.clock.Now(), Secret: sec.ARN, Name: sec.Name, Version: token, Event: event,
		Labels: maps.Clone(sec.Labels)})
}
