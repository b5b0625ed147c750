package sim

import (
	"encoding/json"
	"errors"
	"maps"
	"time"

	"github.com/google/uuid"
)

// Progress is a completed step of a rotation, or an event. It never contains a value of the secret.
type Progress struct {
	Time time.Time `json:"time"`
	// Secret is the ARN.
	Secret  string `json:"secret"`
	Name    string `json:"name"`
	Version string `json:"version"`
	Step    string `json:"step,omitempty"`
	// Attempt counts from 1.
	Attempt int `json:"attempt,omitempty"`
	// Event is the name of the event sent to EventBridge, or "" for a step.
	Event string `json:"event,omitempty"`
	// Cause and Message explain why a step failed: the function's errorType and errorMessage, if it returned them. An
	// event has a message only if no step explains it.
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

// announce records an event and sends it to EventBridge. err is why a rotation failed, or nil.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/retrieve-ct-entries.html
func (s *Sim) announce(sec *secret, name, token string, err error) {
	now := s.clock.Now().UTC()
	p := Progress{Time: now, Secret: sec.ARN, Name: sec.Name, Version: token, Event: name, Labels: maps.Clone(sec.Labels)}
	message := ""
	if step, ok := errors.AsType[stepError](err); ok {
		message = string(step)
	} else if err != nil {
		message = err.Error()
		p.Message = message
	}
	s.note(sec, p)
	if s.opts.Events == nil {
		return
	}
	request := "Deletion-" + sec.ARN
	if token != "" {
		request = "Rotation-" + sec.ARN + "-" + token
	}
	detail := map[string]any{
		"eventVersion": "1.08", "eventType": "AwsServiceEvent", "eventSource": "secretsmanager.amazonaws.com",
		"eventName": name, "eventTime": now.Format(time.RFC3339), "awsRegion": sec.Region,
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
		"time": now.Format(time.RFC3339), "region": sec.Region, "resources": []string{}, "detail": detail,
	})
	if err == nil {
		_, _ = s.opts.Events.Write(append(line, '\n')) // the service continues if nobody reads the events
	}
}
