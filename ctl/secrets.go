package ctl

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"example.com/rotator/rotation/engine"
)

// The states of a secret's rotation, most urgent first.
const (
	stateStuck    = "stuck"    // no rotation begins or ends without an operator
	stateFailing  = "failing"  // a rotation does not end; Secrets Manager retries it
	stateLate     = "late"     // the rotation is overdue and has not begun
	stateRunning  = "running"  // a rotation is under way
	stateOK       = "ok"       // rotation is on, and nothing is due
	stateManaged  = "managed"  // a service or a partner rotates the secret
	stateOff      = "off"      // rotation is off
	stateDeleting = "deleting" // the secret is scheduled for deletion
)

// states are all states in order.
var states = []string{stateStuck, stateFailing, stateLate, stateRunning, stateOK, stateManaged, stateOff, stateDeleting}

// secret describes a secret. It holds no value.
type secret struct {
	Name    string `json:"name"`
	ARN     string `json:"arn"`
	Account string `json:"account"`
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"` // for State, unless it is obvious
	// Engine and Strategy are from the secret's tags or AWS's template, or "".
	Engine   string          `json:"engine,omitempty"`
	Strategy engine.Strategy `json:"strategy,omitempty"`
	Function string          `json:"function,omitempty"` // the ARN
	Runtime  string          `json:"runtime,omitempty"`
	Manager  string          `json:"managed_by,omitempty"` // the service or partner that rotates it, or ""
	Enabled  bool            `json:"rotation_enabled"`
	Schedule string          `json:"schedule,omitempty"`
	Last     *time.Time      `json:"last_rotated,omitempty"`
	Next     *time.Time      `json:"next_rotation,omitempty"`
	Deletion *time.Time      `json:"deletion_date,omitempty"`

	// Current and Pending are the versions labeled AWSCURRENT and AWSPENDING. Pending is "" if it is also Current.
	Current string              `json:"-"`
	Pending string              `json:"-"`
	Labels  map[string][]string `json:"-"` // by version
	Key     string              `json:"-"` // the customer managed KMS key, or ""
	// Superuser is the ARN of the superuser secret, set by waves.
	Superuser string `json:"-"`

	tags     map[string]string
	template template // of its function, set by readFunctions
	inherits []string // what a new function needs from the old one, set by readFunctions
}

// bad reports whether the state needs an operator.
func (s *secret) bad() bool {
	return s.State == stateStuck || s.State == stateFailing || s.State == stateLate
}

// rotates reports whether a rotation function is set for the secret.
func (s *secret) rotates() bool {
	return s.Function != "" && s.State != stateManaged && s.State != stateDeleting
}

// listSecrets returns the secrets of an account that the filter selects, most urgent first and then by name, without
// their values, with one call per hundred. After an error it returns those that were listed.
func listSecrets(ctx context.Context, api *secretsmanager.Client, by filter, now time.Time) (all []secret, _ error) {
	in := &secretsmanager.ListSecretsInput{MaxResults: aws.Int32(100), IncludePlannedDeletion: aws.Bool(true)}
	if n := len(by.Names); 0 < n && n <= 10 { // Secrets Manager accepts up to ten prefixes, which saves calls
		in.Filters = []types.Filter{{Key: types.FilterNameStringTypeName, Values: by.Names}}
	}
	for pages := secretsmanager.NewListSecretsPaginator(api, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return all, err
		}
		for i := range page.SecretList {
			if s := newSecret(&page.SecretList[i], now); by.selects(&s) {
				all = append(all, s)
			}
		}
	}
	slices.SortFunc(all, func(a, b secret) int {
		return cmp.Or(cmp.Compare(slices.Index(states, a.State), slices.Index(states, b.State)), a.compare(b))
	})
	return all, nil
}

func (s secret) compare(with secret) int {
	return cmp.Or(strings.Compare(s.Name, with.Name), strings.Compare(s.ARN, with.ARN))
}

// newSecret converts an entry of Secrets Manager's list.
func newSecret(e *types.SecretListEntry, now time.Time) secret {
	s := secret{
		Name: aws.ToString(e.Name), ARN: aws.ToString(e.ARN), Function: aws.ToString(e.RotationLambdaARN),
		Manager: cmp.Or(aws.ToString(e.OwningService), aws.ToString(e.Type)), Enabled: aws.ToBool(e.RotationEnabled),
		Last: e.LastRotatedDate, Next: e.NextRotationDate, Deletion: e.DeletedDate,
		Labels: e.SecretVersionsToStages, Key: aws.ToString(e.KmsKeyId), tags: make(map[string]string, len(e.Tags)),
	}
	if a, err := arn.Parse(s.ARN); err == nil {
		s.Account = a.AccountID
	}
	if strings.HasSuffix(s.Key, "alias/aws/secretsmanager") {
		s.Key = ""
	}
	if r := e.RotationRules; r != nil {
		s.Schedule = aws.ToString(r.ScheduleExpression)
		if s.Schedule == "" && r.AutomaticallyAfterDays != nil {
			s.Schedule = fmt.Sprintf("rate(%d days)", *r.AutomaticallyAfterDays)
		}
	}
	for _, t := range e.Tags {
		s.tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	s.Engine, s.Strategy = s.tags["rotator:engine"], engine.Strategy(s.tags["rotator:strategy"])
	for id, labels := range e.SecretVersionsToStages {
		switch {
		case slices.Contains(labels, "AWSCURRENT"):
			s.Current = id
		case slices.Contains(labels, "AWSPENDING"):
			s.Pending = id
		}
	}
	s.judge(aws.ToTime(e.LastChangedDate), now)
	return s
}

// patience is how long a rotation may take before it counts as failing: the maximum duration of a Lambda invocation.
const patience = 15 * time.Minute

// judge sets the state and its reason. begun is when a rotation under way began; in a list, only the time of the last
// change of the secret is known.
func (s *secret) judge(begun, now time.Time) {
	since := s.Pending + " since " + begun.UTC().Format(minute)
	switch {
	case s.Deletion != nil:
		s.State, s.Reason = stateDeleting, "scheduled for deletion at "+s.Deletion.UTC().Format(minute)
	case s.Manager != "":
		s.State, s.Reason = stateManaged, "managed by "+s.Manager
	case s.Pending != "" && !s.Enabled:
		s.State, s.Reason = stateStuck, "rotation was switched off, and AWSPENDING has been on version "+since
	case s.Enabled && s.Current == "":
		s.State, s.Reason = stateStuck, "no version is AWSCURRENT: the secret has no value"
	case s.Pending != "" && now.Sub(begun) > patience:
		s.State, s.Reason = stateFailing, "AWSPENDING has been on version "+since
	case s.Pending != "":
		s.State, s.Reason = stateRunning, "AWSPENDING has been on version "+since
	case s.Enabled && s.Next != nil && now.After(*s.Next):
		s.State, s.Reason = stateLate, "the rotation was due at "+s.Next.UTC().Format(minute)
	case s.Enabled:
		s.State, s.Reason = stateOK, ""
	default:
		s.State, s.Reason = stateOff, ""
	}
}

const minute = "2006-01-02 15:04 MST"

// filter selects secrets. Every field that is set must match: all of Tags, and any one value of another field.
type filter struct {
	Names     []string // prefixes
	Tags      map[string]string
	States    []string
	Functions []string // ARNs or names of rotation functions
	// RotatedBefore selects secrets that were last rotated before that time, or never.
	RotatedBefore time.Time
}

// empty reports whether the filter selects all secrets.
func (f filter) empty() bool {
	return len(f.Names)+len(f.Tags)+len(f.States)+len(f.Functions) == 0 && f.RotatedBefore.IsZero()
}

// selects reports whether the filter selects a secret.
func (f filter) selects(s *secret) bool {
	for key, value := range f.Tags {
		if have, ok := s.tags[key]; !ok || have != value {
			return false
		}
	}
	return oneOf(f.Names, func(prefix string) bool { return strings.HasPrefix(s.Name, prefix) }) &&
		oneOf(f.States, func(x string) bool { return x == s.State }) &&
		oneOf(f.Functions, func(x string) bool { return x == s.Function || x == functionName(s.Function) }) &&
		(f.RotatedBefore.IsZero() || s.Last == nil || s.Last.Before(f.RotatedBefore))
}

// oneOf reports whether a list is empty or has a member that f accepts.
func oneOf(list []string, f func(string) bool) bool {
	return len(list) == 0 || slices.ContainsFunc(list, f)
}
