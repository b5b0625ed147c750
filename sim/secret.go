package sim

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"example.com/rotator/sim/iampolicy"
)

const (
	current  = "AWSCURRENT"
	pending  = "AWSPENDING"
	previous = "AWSPREVIOUS"
)

// secret is one secret, guarded by the Sim's lock.
type secret struct {
	Account     string
	Region      string
	Name, ARN   string
	Description string
	Key         string // "" for the account's default key
	Type        string // of a managed external secret
	Owner       string // the service that created it, or ""
	Created     time.Time
	Changed     time.Time
	Accessed    time.Time
	Deleted     time.Time   // the end of the recovery window, or zero
	Tags        []types.Tag // nil if it never had any; DescribeSecret shows an empty list
	Versions    map[string]*version
	Labels      labeling
	Policy      string
	Replicas    map[string]*replica // by region
	Rotation    rotation

	history []Progress
	policy  *iampolicy.Policy // the content of Policy, or nil
	before  *secret           // what a stale read sees for a while after written
	written time.Time         // in real time, like the client's
	origin  *secret           // a replica's primary secret
	due     time.Time         // when it is erased, or its next rotation begins
	disarm  func() bool       // cancels that
}

// version is one version. A version without a value was reserved by a rotation.
type version struct {
	ID       string
	Text     *string
	Binary   []byte
	Created  time.Time
	Accessed time.Time
	// Unproved means that the value came from an assumed role or another account, without a
	// rotation token of the running rotation.
	Unproved bool
}

func (v *version) filled() bool { return v.Text != nil || v.Binary != nil }

// same reports whether two versions have the same value of the same type.
func (v *version) same(w *version) bool {
	return reflect.DeepEqual(v.Text, w.Text) && bytes.Equal(v.Binary, w.Binary)
}

// newest returns the versions, newest first.
func (s *secret) newest() []*version {
	return slices.SortedFunc(maps.Values(s.Versions), func(a, b *version) int {
		return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.ID, b.ID))
	})
}

// stages returns the labels of a version, sorted. Unknown: AWS's order.
func (s *secret) stages(id string) []string {
	var out []string
	for l, v := range s.Labels {
		if v == id {
			out = append(out, l)
		}
	}
	slices.Sort(out)
	return out
}

// byVersion returns the labels of each version that has any.
func (s *secret) byVersion() map[string][]string {
	m := make(map[string][]string)
	for _, id := range s.Labels {
		m[id] = s.stages(id)
	}
	return m
}

// touch advances LastChangedDate, the time of the last modification of any kind, by at least a millisecond.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DescribeSecret.html
func (s *secret) touch(now time.Time) time.Time {
	now = now.Truncate(time.Millisecond)
	if !now.After(s.Changed) {
		now = s.Changed.Add(time.Millisecond)
	}
	s.Changed = now
	return now
}

// suffix returns the six random characters at the end of an ARN.
func suffix() string { return rand.Text()[:6] }

var (
	nameForm = regexp.MustCompile(`^[A-Za-z0-9/_+=.@!-]+$`)
	complete = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)
)

func checkName(name string) *fault {
	if !nameForm.MatchString(name) {
		return validation("Invalid name. Must be a valid name containing alphanumeric characters, or any of the " +
			"following: -/_+=.@!")
	}
	return nil
}

// arnOf returns the ARN of a secret that a caller creates.
func (c *caller) arnOf(rest string) string {
	return "arn:" + partition(c.region) + ":secretsmanager:" + c.region + ":" + c.account + ":secret:" + rest
}

// place is where a name is unique.
type place struct{ account, region, name string }

func (sec *secret) place() place { return place{sec.Account, sec.Region, sec.Name} }

// at returns the secret or replica at a place, or nil.
func (s *Sim) at(p place) *secret {
	if sec := s.secrets[p]; sec != nil {
		return sec
	}
	for at, sec := range s.secrets {
		if at.account != p.account || at.name != p.name {
			continue
		}
		if view := sec.in(p.region); view != nil {
			return view
		}
	}
	return nil
}

func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

// lookup returns a secret by name, ARN or partial ARN. An ARN that ends in a hyphen and six characters counts as
// complete, so a name of that form cannot be found by partial ARN. Secrets of other regions are not found. Unknown:
// AWS's answer to an ARN of another region.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot.html#ARN_secretnamehyphen
func (s *Sim) lookup(account, region, id string) (*secret, *fault) {
	name, isARN := id, false
	if parts := strings.SplitN(id, ":", 7); parts[0] == "arn" && len(parts) == 7 {
		account, name, isARN = parts[4], parts[6], true
	}
	if f := checkName(name); f != nil {
		return nil, f
	}
	if isARN && complete.MatchString(name) {
		name = name[:len(name)-7]
	}
	sec := s.at(place{account, region, name})
	if sec == nil || isARN && id != sec.ARN && id != sec.ARN[:len(sec.ARN)-7] {
		return nil, notFound("secret.")
	}
	return sec, nil
}

// own looks up a secret for this program, without applying policies: an ARN in its region and account, or a name in the
// default ones.
func (s *Sim) own(id string) (*secret, *fault) {
	region := s.opts.Region
	if parts := strings.SplitN(id, ":", 5); len(parts) == 5 {
		region = parts[3]
	}
	return s.lookup(s.opts.Account, region, id)
}

var (
	// onDeleted lists the operations that are allowed on a secret scheduled for deletion.
	onDeleted = []string{"DeleteSecret", "DescribeSecret", "GetResourcePolicy", "ListSecretVersionIds", "RestoreSecret",
		"ValidateResourcePolicy"}
	// onReplicas lists the operations that are allowed on a replica.
	// Source: https://github.com/gruntwork-io/cloud-nuke/issues/435
	onReplicas = []string{"DescribeSecret", "GetResourcePolicy", "GetSecretValue", "ListSecretVersionIds",
		"StopReplicationToReplica", "UpdateSecret", "ValidateResourcePolicy"}
)

// find is lookup for a caller. It checks that policies and the state of the secret allow the operation.
func (s *Sim) find(c *caller, id string) (*secret, *fault) {
	sec, f := s.lookup(c.account, c.region, id)
	if f == nil {
		f = s.admit(c, sec)
	}
	switch {
	case f != nil:
		return nil, f
	case !sec.Deleted.IsZero() && !slices.Contains(onDeleted, c.operation):
		return nil, markedForDeletion()
	case sec.origin != nil && !slices.Contains(onReplicas, c.operation):
		return nil, notOnReplica()
	}
	return sec, nil
}

// ofSystem rejects keys of tags that are reserved for AWS.
// Source: https://github.com/cloud-custodian/cloud-custodian/issues/9093
func ofSystem(keys ...string) *fault {
	for _, key := range keys {
		if strings.HasPrefix(strings.ToLower(key), "aws:") {
			return invalidParameter("You can't modify system tags. Tag key: '%s'.", key)
		}
	}
	return nil
}

// tag adds or changes tags.
func (sec *secret) tag(tags []types.Tag) *fault {
	all := slices.Clone(sec.Tags)
	for _, t := range tags {
		if f := ofSystem(*t.Key); f != nil {
			return f
		}
		t.Value = aws.String(aws.ToString(t.Value)) // a tag without one has an empty one
		if i := slices.IndexFunc(all, func(o types.Tag) bool { return *o.Key == *t.Key }); i >= 0 {
			all[i] = t
		} else {
			all = append(all, t)
		}
	}
	sec.Tags = all
	return nil
}

func (s *Sim) tagResource(_ *caller, sec *secret, in *sm.TagResourceInput) (answer, *fault) {
	if f := sec.tag(in.Tags); f != nil {
		return nil, f
	}
	sec.touch(s.clock.Now())
	return answer{}, nil
}

func (s *Sim) untagResource(_ *caller, sec *secret, in *sm.UntagResourceInput) (answer, *fault) {
	if f := ofSystem(in.TagKeys...); f != nil {
		return nil, f
	}
	sec.Tags = slices.DeleteFunc(sec.Tags, func(t types.Tag) bool { return slices.Contains(in.TagKeys, *t.Key) })
	sec.touch(s.clock.Now())
	return answer{}, nil
}
