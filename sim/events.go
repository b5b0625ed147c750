package sim

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Progress is a completed step of a rotation, or an event.
type Progress struct {
	Time time.Time
	// Secret is the ARN.
	Secret, Name, Version string
	// Attempt counts from 1.
	Attempt int
	Step    string
	// Event is the name of the event sent to EventBridge, or "" for a step.
	Event string
	// Err is the step's error, or "". It never contains a value of the secret.
	Err    string
	Labels map[string]string // the version that each label is on
}

// Stats counts what happened since the start.
type Stats struct {
	Started, Succeeded, Failed, Retried, Abandoned int
	// Late counts rotations whose last attempt began after their window.
	Late int
	// Throttled counts calls that a quota refused.
	Throttled int
}

// Stats returns the counters.
func (s *Sim) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// History returns what happened to a secret, oldest first, as far back as it is kept.
func (s *Sim) History(id string) ([]Progress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, f := s.find(s.owner(id), id)
	if f != nil {
		return nil, f
	}
	return slices.Clone(sec.history), nil
}

// note records what happened to a secret.
func (s *Sim) note(sec *secret, p Progress) {
	if s.opts.Trace != nil {
		s.opts.Trace(p)
	}
	if limit := s.opts.History; len(sec.history) >= limit {
		sec.history = append(sec.history[:0], sec.history[len(sec.history)-limit+1:]...)
	}
	sec.history = append(sec.history, p)
}

// announce sends an event to EventBridge.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/retrieve-ct-entries.html
func (s *Sim) announce(sec *secret, name, token, message string) {
	now := s.clock.Now().UTC()
	s.note(sec, Progress{Time: now, Secret: sec.ARN, Name: sec.Name, Version: token, Event: name, Err: message,
		Labels: maps.Clone(sec.Labels)})
	if s.opts.Events == nil {
		return
	}
	request := "Deletion-" + sec.ARN
	if token != "" {
		request = "Rotation-" + sec.ARN + "-" + token
	}
	detail := map[string]any{
		"eventVersion": "1.08", "eventType": "AwsServiceEvent", "eventSource": "secretsmanager.amazonaws.com",
		"eventName": name, "eventTime": now.Format(time.RFC3339), "awsRegion": sec.region(),
		"sourceIPAddress": "secretsmanager.amazonaws.com", "userAgent": "secretsmanager.amazonaws.com",
		"userIdentity":      map[string]string{"accountId": sec.Account, "invokedBy": "secretsmanager.amazonaws.com"},
		"requestParameters": nil, "responseElements": nil,
		"additionalEventData": map[string]string{"SecretId": sec.ARN},
		"requestID":           request, "eventID": uuid.NewString(), "readOnly": false, "managementEvent": true,
		"recipientAccountId": sec.Account, "eventCategory": "Management",
	}
	if message != "" {
		detail["errorMessage"] = message
	}
	line, err := json.Marshal(map[string]any{
		"version": "0", "id": uuid.NewString(), "detail-type": "AWS Service Event via CloudTrail",
		"source": "aws.secretsmanager", "account": sec.Account,
		"time": now.Format(time.RFC3339), "region": sec.region(), "resources": []string{}, "detail": detail,
	})
	if err == nil {
		_, _ = s.opts.Events.Write(append(line, '\n')) // a closed reader must not stop anything
	}
}
