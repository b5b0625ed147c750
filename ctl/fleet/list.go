// Package fleet works on many secrets: it lists them (List), plans their switch from AWS's rotation templates
// (Migrate), and runs a job for each in the right order (Order, Each). The rotation function does not import it.
package fleet

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
	Stuck    = "stuck"    // no rotation begins or ends without an operator
	Failing  = "failing"  // a rotation does not end; Secrets Manager retries it
	Late     = "late"     // the rotation is overdue and has not begun
	Running  = "running"  // a rotation is under way
	OK       = "ok"       // rotation is on, and nothing is due
	Managed  = "managed"  // a service or a partner rotates the secret
	Off      = "off"      // rotation is off
	Deleting = "deleting" // the secret is scheduled for deletion
)

// States are all states in order.
var States = []string{Stuck, Failing, Late, Running, OK, Managed, Off, Deleting}

// Secret describes a secret. It holds no value.
type Secret struct {
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

	tags map[string]string
}

// Bad reports whether the state needs an operator.
func (s *Secret) Bad() bool { return s.State == Stuck || s.State == Failing || s.State == Late }

// Rotates reports whether a rotation function is set for the secret.
func (s *Secret) Rotates() bool {
	return s.Function != "" && s.State != Managed && s.State != Deleting
}

// Listing is the result of List.
type Listing struct {
	Secrets   []Secret             // most urgent first, then by name
	functions map[string]*Function // by unqualified ARN
}

// List lists the secrets of an account that the filter selects, without their values, with one call per hundred secrets.
// After an error it returns those that were listed.
func List(ctx context.Context, api *secretsmanager.Client, filter Filter, now time.Time) (l Listing, err error) {
	pages := secretsmanager.NewListSecretsPaginator(api, &secretsmanager.ListSecretsInput{
		MaxResults: aws.Int32(100), IncludePlannedDeletion: aws.Bool(true), Filters: filter.atService(),
	})
	for pages.HasMorePages() {
		var page *secretsmanager.ListSecretsOutput
		if page, err = pages.NextPage(ctx); err != nil {
			break
		}
		for i := range page.SecretList {
			if s := describe(&page.SecretList[i], now); filter.Selects(&s) {
				l.Secrets = append(l.Secrets, s)
			}
		}
	}
	slices.SortFunc(l.Secrets, func(a, b Secret) int {
		return cmp.Or(cmp.Compare(slices.Index(States, a.State), slices.Index(States, b.State)), a.compare(b))
	})
	return l, err
}

// compare compares secrets by name.
func (s Secret) compare(with Secret) int {
	return cmp.Or(strings.Compare(s.Name, with.Name), strings.Compare(s.ARN, with.ARN))
}

// Describe converts a response of DescribeSecret.
func Describe(d *secretsmanager.DescribeSecretOutput, now time.Time) Secret {
	return describe(&types.SecretListEntry{
		Name: d.Name, ARN: d.ARN, Tags: d.Tags, KmsKeyId: d.KmsKeyId, Type: d.Type, OwningService: d.OwningService,
		RotationEnabled: d.RotationEnabled, RotationLambdaARN: d.RotationLambdaARN, RotationRules: d.RotationRules,
		LastRotatedDate: d.LastRotatedDate, NextRotationDate: d.NextRotationDate, LastChangedDate: d.LastChangedDate,
		DeletedDate: d.DeletedDate, SecretVersionsToStages: d.VersionIdsToStages,
	}, now)
}

// describe converts an entry of Secrets Manager's list.
func describe(e *types.SecretListEntry, now time.Time) Secret {
	s := Secret{
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
	s.Judge(aws.ToTime(e.LastChangedDate), now)
	return s
}

// Patience is how long a rotation may take before it counts as failing: the maximum duration of a Lambda invocation.
const Patience = 15 * time.Minute

// Judge sets the state and its reason. begun is when a rotation under way began; in a list, only the time of the last
// change of the secret is known.
func (s *Secret) Judge(begun, now time.Time) {
	since := s.Pending + " since " + begun.UTC().Format(minute)
	switch {
	case s.Deletion != nil:
		s.State, s.Reason = Deleting, "scheduled for deletion at "+s.Deletion.UTC().Format(minute)
	case s.Manager != "":
		s.State, s.Reason = Managed, "managed by "+s.Manager
	case s.Pending != "" && !s.Enabled:
		s.State, s.Reason = Stuck, "rotation was switched off, and AWSPENDING has been on version "+since
	case s.Enabled && s.Current == "":
		s.State, s.Reason = Stuck, "no version is AWSCURRENT: the secret has no value"
	case s.Pending != "" && now.Sub(begun) > Patience:
		s.State, s.Reason = Failing, "AWSPENDING has been on version "+since
	case s.Pending != "":
		s.State, s.Reason = Running, "AWSPENDING has been on version "+since
	case s.Enabled && s.Next != nil && now.After(*s.Next):
		s.State, s.Reason = Late, "the rotation was due at "+s.Next.UTC().Format(minute)
	case s.Enabled:
		s.State, s.Reason = OK, ""
	default:
		s.State, s.Reason = Off, ""
	}
}

const minute = "2006-01-02 15:04 MST"
