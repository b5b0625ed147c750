// Package fleet works on many secrets: it lists them (List), plans their switch from AWS's rotation templates
// (Migrate), and runs a job for each in the right order (Order, Each). The rotation function does not import it.
package fleet

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
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
	// Engine and Strategy are "" if they are not known. EngineFrom is tag, template or, for a guess, name.
	Engine     string          `json:"engine,omitempty"`
	EngineFrom string          `json:"engine_from,omitempty"`
	Strategy   engine.Strategy `json:"strategy,omitempty"`
	Function   string          `json:"function,omitempty"` // the ARN
	Runtime    string          `json:"runtime,omitempty"`
	Last       *time.Time      `json:"last_rotated,omitempty"`
	Next       *time.Time      `json:"next_rotation,omitempty"`

	Manager  string              `json:"-"` // the service or partner that rotates it, or ""
	Enabled  bool                `json:"-"` // rotation is on
	Schedule string              `json:"-"`
	Deletion *time.Time          `json:"-"`
	Labels   map[string][]string `json:"-"` // by version
	// Current and Pending are the versions labeled AWSCURRENT and AWSPENDING. Pending is "" if it is also Current.
	Current string `json:"-"`
	Pending string `json:"-"`
	Key     string `json:"-"` // the customer managed KMS key, or ""

	tags map[string]string
}

// Bad reports whether the state needs an operator.
func (s *Secret) Bad() bool { return s.State == Stuck || s.State == Failing || s.State == Late }

// Rotates reports whether a rotation function is set for the secret.
func (s *Secret) Rotates() bool {
	return s.Function != "" && s.State != Managed && s.State != Deleting
}

// Options are the options of List.
type Options struct {
	// Accounts holds a client for each account to list. The key "" means the account of the credentials.
	Accounts map[string]*secretsmanager.Client
	// Functions returns the client for an account's functions. If nil, functions are not read.
	Functions func(account string) *lambda.Client
	Kinds     []engine.Kind // for guessing the engine from a secret's name
	Filter    Filter
	Now       time.Time
}

// Listing is the result of List.
type Listing struct {
	Secrets   []Secret             // most urgent first, then by name
	Functions map[string]*Function // the secrets' rotation functions, by ARN
	Errors    map[string]error     // by account, if it could not be listed
}

// List lists the secrets of all accounts, without their values. It makes one call per hundred secrets, and one per
// function or per fifty functions. An account that cannot be listed does not affect the others.
func List(ctx context.Context, o Options) Listing {
	l := Listing{Errors: make(map[string]error)}
	var mu sync.Mutex
	accounts := slices.Collect(maps.Keys(o.Accounts))
	concurrently(ctx, len(accounts), 8, func(n int) {
		in := &secretsmanager.ListSecretsInput{
			MaxResults: aws.Int32(100), IncludePlannedDeletion: aws.Bool(true), Filters: o.Filter.atService(),
		}
		pages := secretsmanager.NewListSecretsPaginator(o.Accounts[accounts[n]], in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			mu.Lock()
			if err != nil {
				l.Errors[accounts[n]] = err
				mu.Unlock()
				return
			}
			for i := range page.SecretList {
				l.Secrets = append(l.Secrets, describe(&page.SecretList[i], o.Now))
			}
			mu.Unlock()
		}
	})
	if o.Functions != nil {
		l.Functions = read(ctx, o.Functions, l.Secrets)
	}
	names := engineNames(o.Kinds)
	for i := range l.Secrets {
		s := &l.Secrets[i]
		s.classify(l.Functions[s.Function], names)
	}
	l.Secrets = slices.DeleteFunc(l.Secrets, func(s Secret) bool { return !o.Filter.Selects(&s) })
	slices.SortFunc(l.Secrets, func(a, b Secret) int {
		return cmp.Or(cmp.Compare(slices.Index(States, a.State), slices.Index(States, b.State)), a.compare(b))
	})
	return l
}

// compare compares secrets by name.
func (s Secret) compare(with Secret) int {
	return cmp.Or(strings.Compare(s.Name, with.Name), strings.Compare(s.ARN, with.ARN))
}

// Describe converts a response of DescribeSecret.
func Describe(d *secretsmanager.DescribeSecretOutput, now time.Time) Secret {
	s := describe(&types.SecretListEntry{
		Name: d.Name, ARN: d.ARN, Tags: d.Tags, KmsKeyId: d.KmsKeyId, Type: d.Type, OwningService: d.OwningService,
		RotationEnabled: d.RotationEnabled, RotationLambdaARN: d.RotationLambdaARN, RotationRules: d.RotationRules,
		LastRotatedDate: d.LastRotatedDate, NextRotationDate: d.NextRotationDate, LastChangedDate: d.LastChangedDate,
		DeletedDate: d.DeletedDate, SecretVersionsToStages: d.VersionIdsToStages,
	}, now)
	s.classify(nil, nil)
	return s
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
	on := s.Enabled
	since := s.Pending + " since " + begun.UTC().Format(minute)
	switch {
	case s.Deletion != nil:
		s.State, s.Reason = Deleting, "scheduled for deletion at "+s.Deletion.UTC().Format(minute)
	case s.Manager != "":
		s.State, s.Reason = Managed, "managed by "+s.Manager
	case s.Pending != "" && !on:
		s.State, s.Reason = Stuck, "rotation was switched off, and AWSPENDING has been on version "+since
	case on && s.Current == "":
		s.State, s.Reason = Stuck, "no version is AWSCURRENT: the secret has no value"
	case s.Pending != "" && now.Sub(begun) > Patience:
		s.State, s.Reason = Failing, "AWSPENDING has been on version "+since
	case s.Pending != "":
		s.State, s.Reason = Running, "AWSPENDING has been on version "+since
	case on && s.Next != nil && now.After(*s.Next):
		s.State, s.Reason = Late, "the rotation was due at "+s.Next.UTC().Format(minute)
	case on:
		s.State, s.Reason = OK, ""
	default:
		s.State, s.Reason = Off, ""
	}
}

const minute = "2006-01-02 15:04 MST"

// classify adds the runtime, engine and strategy. Tags take precedence, as in the function.
func (s *Secret) classify(f *Function, names map[string]string) {
	if f != nil {
		s.Runtime = f.Runtime
	}
	t := f.template()
	s.Strategy = engine.Strategy(cmp.Or(s.tags["rotator:strategy"], string(t.Strategy)))
	switch {
	case s.tags["rotator:engine"] != "":
		s.Engine, s.EngineFrom = s.tags["rotator:engine"], "tag"
	case t.Engine != "":
		s.Engine, s.EngineFrom = t.Engine, "template"
	case s.State != Managed && s.Function != "":
		for _, word := range strings.FieldsFunc(s.Name, func(r rune) bool { return !unicode.IsLetter(r) }) {
			if name := names[strings.ToLower(word)]; name != "" {
				s.Engine, s.EngineFrom = name, "name"
				return
			}
		}
	}
}

// engineNames maps words that a secret's name can contain to engines. It omits words of up to three letters, which have
// too many other meanings.
func engineNames(kinds []engine.Kind) map[string]string {
	names := map[string]string{"postgresql": "postgres"}
	for _, k := range kinds {
		for _, n := range k.Names {
			if len(n) > 3 {
				names[n] = n
			}
		}
	}
	return names
}
