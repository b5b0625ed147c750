// Package fleet works on many secrets: it lists them (List), plans their switch from AWS's rotation
// templates (Migrate), and runs a job for each in the right order (Order, Each). The rotation function does
// not link it.
package fleet

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"example.com/rotator/internal/awserror"
	"example.com/rotator/rotation/engine"
)

// State is the state of a secret's rotation.
type State string

// The states, most urgent first.
const (
	Stuck    State = "stuck"    // no rotation begins or ends without an operator
	Failing  State = "failing"  // a rotation does not end; Secrets Manager retries it
	Late     State = "late"     // the rotation is overdue and has not begun
	Running  State = "running"  // a rotation is under way
	OK       State = "ok"       // rotation is on, and nothing is due
	Managed  State = "managed"  // a service or a partner rotates the secret
	Off      State = "off"      // rotation is off
	Deleting State = "deleting" // the secret is scheduled for deletion
)

// States are all states in order.
var States = []State{Stuck, Failing, Late, Running, OK, Managed, Off, Deleting}

// Bad reports whether a state needs an operator.
func (s State) Bad() bool { return s == Stuck || s == Failing || s == Late }

// Secret describes a secret. It holds no value.
type Secret struct {
	Name    string `json:"name"`
	ARN     string `json:"arn"`
	Account string `json:"account"`
	State   State  `json:"state"`
	Reason  string `json:"reason,omitempty"` // for State, unless that is clear
	// Engine and Strategy are "" if they are not known. EngineFrom is tag, template or name, which is a
	// guess.
	Engine     string          `json:"engine,omitempty"`
	EngineFrom string          `json:"engine_from,omitempty"`
	Strategy   engine.Strategy `json:"strategy,omitempty"`
	Function   string          `json:"function,omitempty"` // the ARN
	Runtime    string          `json:"runtime,omitempty"`
	Last       *time.Time      `json:"last_rotated,omitempty"`
	Next       *time.Time      `json:"next_rotation,omitempty"`

	Pending string `json:"-"` // the version labeled AWSPENDING, unless it is also AWSCURRENT
	Key     string `json:"-"` // the customer managed KMS key, or ""

	tags map[string]string
}

// Rotates reports whether a rotation function is set for the secret.
func (s *Secret) Rotates() bool {
	return s.Function != "" && s.State != Managed && s.State != Deleting
}

// Account is an account whose secrets are listed, in the region of its client.
type Account struct {
	ID      string // twelve digits, or "" for the caller's account
	Secrets secretsmanager.ListSecretsAPIClient
}

// Options are the options of List.
type Options struct {
	Accounts []Account
	// Functions returns the client for an account's functions. If nil, functions are not read.
	Functions func(account string) Functions
	Kinds     []engine.Kind // for guessing the engine from a secret's name
	Filter    Filter
	Now       func() time.Time // time.Now, if nil
}

// Listing is the result of List.
type Listing struct {
	Secrets   []Secret             // most urgent first, then by name
	Functions map[string]*Function // the secrets' rotation functions, by ARN
	// Errors has one error for each account that could not be listed.
	Errors []error
}

// List lists the secrets of all accounts, without their values. It makes one call per hundred secrets and,
// for functions, one each or one per fifty. If an account cannot be listed, the others still are.
func List(ctx context.Context, o Options) Listing {
	now := time.Now
	if o.Now != nil {
		now = o.Now
	}
	var l Listing
	var mu sync.Mutex
	concurrently(len(o.Accounts), 8, func(n int) {
		a := o.Accounts[n]
		secrets, err := list(ctx, a, o.Filter, now())
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			l.Errors = append(l.Errors, accountError{a.ID, err})
		}
		l.Secrets = append(l.Secrets, secrets...)
	})
	if o.Functions != nil {
		l.Functions = read(ctx, o.Functions, l.Secrets)
	}
	names := engineNames(o.Kinds)
	for i := range l.Secrets {
		s := &l.Secrets[i]
		s.classify(l.Functions[s.Function], names)
	}
	l.Secrets = slices.DeleteFunc(l.Secrets, func(s Secret) bool { return !o.Filter.Passes(&s) })
	slices.SortFunc(l.Secrets, func(a, b Secret) int {
		return cmp.Or(
			cmp.Compare(slices.Index(States, a.State), slices.Index(States, b.State)),
			strings.Compare(a.Name, b.Name), strings.Compare(a.ARN, b.ARN))
	})
	return l
}

type accountError struct {
	account string
	err     error
}

func (e accountError) Error() string {
	if e.account == "" {
		return "cannot list the secrets: " + awserror.Brief(e.err).Error()
	}
	return "cannot list the secrets of account " + e.account + ": " + awserror.Brief(e.err).Error()
}

func (e accountError) Unwrap() error { return e.err }

// list returns the secrets of one account, before Passes.
func list(ctx context.Context, a Account, f Filter, now time.Time) ([]Secret, error) {
	var all []Secret
	in := &secretsmanager.ListSecretsInput{
		MaxResults: aws.Int32(100), IncludePlannedDeletion: aws.Bool(true), Filters: f.atService(),
	}
	pages := secretsmanager.NewListSecretsPaginator(a.Secrets, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return all, err
		}
		for i := range page.SecretList {
			all = append(all, describe(&page.SecretList[i], now))
		}
	}
	return all, nil
}

// Find describes a secret, given by name or ARN, with one call.
func Find(ctx context.Context, api Describer, id string) (Secret, error) {
	d, err := api.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id})
	if err != nil {
		return Secret{}, err
	}
	s := describe(&types.SecretListEntry{
		Name: d.Name, ARN: d.ARN, Tags: d.Tags, KmsKeyId: d.KmsKeyId, Type: d.Type, OwningService: d.OwningService,
		RotationEnabled: d.RotationEnabled, RotationLambdaARN: d.RotationLambdaARN,
		LastRotatedDate: d.LastRotatedDate, NextRotationDate: d.NextRotationDate, LastChangedDate: d.LastChangedDate,
		DeletedDate: d.DeletedDate, SecretVersionsToStages: d.VersionIdsToStages,
	}, time.Now())
	s.classify(nil, nil)
	return s, nil
}

// Describer is the part of Secrets Manager's client that describes a secret; *secretsmanager.Client
// implements it.
type Describer interface {
	DescribeSecret(context.Context, *secretsmanager.DescribeSecretInput, ...func(*secretsmanager.Options)) (
		*secretsmanager.DescribeSecretOutput, error)
}

// describe converts an entry of Secrets Manager's list.
func describe(e *types.SecretListEntry, now time.Time) Secret {
	s := Secret{
		Name: aws.ToString(e.Name), ARN: aws.ToString(e.ARN), Function: aws.ToString(e.RotationLambdaARN),
		Last: e.LastRotatedDate, Next: e.NextRotationDate, Key: aws.ToString(e.KmsKeyId),
		tags: make(map[string]string, len(e.Tags)),
	}
	if a, err := arn.Parse(s.ARN); err == nil {
		s.Account = a.AccountID
	}
	if strings.HasSuffix(s.Key, "alias/aws/secretsmanager") {
		s.Key = ""
	}
	for _, t := range e.Tags {
		s.tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	current := false
	for id, labels := range e.SecretVersionsToStages {
		isCurrent := slices.Contains(labels, "AWSCURRENT")
		current = current || isCurrent
		if slices.Contains(labels, "AWSPENDING") && !isCurrent {
			s.Pending = id
		}
	}
	s.State, s.Reason = judge(&s, e, current, now)
	return s
}

// patience is how long a rotation may take before it counts as failing: the longest time that one
// invocation of a function can take.
const patience = 15 * time.Minute

// judge returns a secret's state and the reason for it. The list does not contain the creation time of
// versions, so the age of a rotation counts from the last change of the secret.
func judge(s *Secret, e *types.SecretListEntry, current bool, now time.Time) (State, string) {
	manager := cmp.Or(aws.ToString(e.OwningService), aws.ToString(e.Type))
	on, since := aws.ToBool(e.RotationEnabled), aws.ToTime(e.LastChangedDate)
	due := ""
	if on && s.Next != nil && now.After(*s.Next) {
		due = "the rotation was due at " + s.Next.UTC().Format(minute)
	}
	switch {
	case e.DeletedDate != nil:
		return Deleting, "scheduled for deletion at " + e.DeletedDate.UTC().Format(minute)
	case manager != "":
		return Managed, "managed by " + manager
	case s.Pending != "" && !on:
		return Stuck, "rotation was switched off while AWSPENDING was on version " + s.Pending
	case on && !current:
		return Stuck, "no version is AWSCURRENT: the secret has no value"
	case s.Pending != "" && now.Sub(since) > patience:
		return Failing, fmt.Sprintf("AWSPENDING has been on version %s since %s", s.Pending, since.UTC().Format(minute))
	case s.Pending != "":
		return Running, "AWSPENDING is on version " + s.Pending
	case due != "":
		return Late, due
	case on:
		return OK, ""
	}
	return Off, ""
}

const minute = "2006-01-02 15:04 MST"

// classify adds the runtime, engine and strategy. Tags come first, as they do in the function.
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

// engineNames returns the engines by the words in a secret's name that can mean them. Shorter words have
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

// concurrently calls do for 0 to n-1, at most limit at a time, and waits for all.
func concurrently(n, limit int, do func(int)) {
	var all sync.WaitGroup
	free := make(chan struct{}, limit)
	for i := range n {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			do(i)
		})
	}
	all.Wait()
}
