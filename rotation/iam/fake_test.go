package iam_test

import (
	"cmp"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"example.com/rotator/internal/sigv4"
	"example.com/rotator/internal/testing/awsfake"
	"example.com/rotator/sim/iampolicy"
)

// fakeIAM is a fake of how IAM and STS handle users and their access keys. It checks permissions, enforces IAM's limits
// and is eventually consistent: calls see a change only after a delay on its clock.
// Source: https://docs.aws.amazon.com/IAM/latest/APIReference/welcome.html
type fakeIAM struct {
	awsfake.Recorder
	opts  fakeOptions
	users map[string]*iamUser // by account and name
	keys  map[string]*iamKey  // including deleted ones
}

// fakeOptions configure a fake; the zero value is usable.
type fakeOptions struct {
	// Now is the fake's clock, for delays and creation dates. It may run faster than the real one. nil means time.Now.
	Now func() time.Time
	// LoginDelay is how long a new key is refused, and an inactive or deleted key still works.
	LoginDelay time.Duration
	// ListDelay is how long lists of keys and tags show the previous state.
	ListDelay time.Duration
	// Path is the users' path without its first slash, such as people/.
	Path string
}

type iamUser struct {
	policy *iampolicy.Policy
	tags   eventual[map[string]string]
}

// iamKey is the access key of a user, or of the function's role if token is set.
type iamKey struct {
	id, secret, token   string
	account, user, role string
	policy              *iampolicy.Policy // of a role
	created             time.Time
	status              eventual[string]
}

// The states of a key.
const (
	keyActive   = "Active"
	keyInactive = "Inactive"
	keyDeleted  = "deleted"
)

// eventual is a value whose changes become visible after a delay.
type eventual[T any] struct {
	at     []time.Time
	values []T
}

func (e *eventual[T]) set(now time.Time, v T) {
	e.at, e.values = append(e.at, now), append(e.values, v)
}

// get returns the value at a time, or false before the first.
func (e *eventual[T]) get(at time.Time) (v T, ok bool) {
	for i := len(e.at) - 1; i >= 0; i-- {
		if !e.at[i].After(at) {
			return e.values[i], true
		}
	}
	return v, false
}

func (e *eventual[T]) last() T { return e.values[len(e.values)-1] }

// newFake returns a fake without users.
func newFake(o fakeOptions) *fakeIAM {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &fakeIAM{opts: o, users: make(map[string]*iamUser), keys: make(map[string]*iamKey)}
}

// AddUser adds a user with one active key that is visible everywhere. The user's policy allows the actions on the user
// itself, such as iam:CreateAccessKey. A user of the same name is replaced.
func (f *fakeIAM) AddUser(name string, allowed ...string) aws.Credentials {
	return f.AddUserIn(awsfake.Account, name, allowed...)
}

// AddUserIn is AddUser in another account.
func (f *fakeIAM) AddUserIn(account, name string, allowed ...string) aws.Credentials {
	f.Lock()
	defer f.Unlock()
	long := f.opts.Now().Add(-24 * time.Hour)
	u := &iamUser{policy: allow(f.userARN(account, name), allowed)}
	u.tags.set(long, map[string]string{})
	f.users[account+"/"+name] = u
	return f.newKey(iamKey{account: account, user: name}, long).credentials()
}

func allow(resource string, actions []string) *iampolicy.Policy {
	return &iampolicy.Policy{Statement: []iampolicy.Statement{
		{Effect: "Allow", Action: actions, Resource: []string{resource}},
	}}
}

func (f *fakeIAM) userARN(account, name string) string {
	return "arn:aws:iam::" + account + ":user/" + f.opts.Path + name
}

// PutPolicy sets the only identity policy of a user added by AddUser. It supports conditions on aws:TagKeys.
func (f *fakeIAM) PutPolicy(user, document string) error {
	p, err := iampolicy.Parse(document, "aws:TagKeys")
	f.Lock()
	defer f.Unlock()
	f.users[awsfake.Account+"/"+user].policy = p
	return err
}

// AddKey adds another key, created age ago, as an administrator does.
func (f *fakeIAM) AddKey(user string, age time.Duration) aws.Credentials {
	f.Lock()
	defer f.Unlock()
	return f.newKey(iamKey{account: awsfake.Account, user: user}, f.opts.Now().Add(-age)).credentials()
}

// AddRole returns credentials of a role that may perform the actions on all users.
func (f *fakeIAM) AddRole(name string, allowed ...string) aws.Credentials {
	f.Lock()
	defer f.Unlock()
	k := iamKey{account: awsfake.Account, role: name, token: letters(60), policy: allow("*", allowed)}
	return f.newKey(k, f.opts.Now().Add(-24*time.Hour)).credentials()
}

// SetStatus makes a key Active or Inactive, visible immediately and everywhere.
func (f *fakeIAM) SetStatus(id, status string) {
	f.Lock()
	defer f.Unlock()
	f.keys[id].status.set(f.opts.Now().Add(-24*time.Hour), status)
}

// Keys returns the actual states, by id, of the keys of a user added by AddUser.
func (f *fakeIAM) Keys(user string) map[string]string {
	f.Lock()
	defer f.Unlock()
	return f.keysOf(awsfake.Account + "/" + user)
}

func (f *fakeIAM) keysOf(owner string) map[string]string {
	keys := make(map[string]string)
	for _, k := range f.keys {
		if k.owner() == owner && k.status.last() != keyDeleted {
			keys[k.id] = k.status.last()
		}
	}
	return keys
}

// newKey creates an active key for the owner that k names.
func (f *fakeIAM) newKey(k iamKey, now time.Time) *iamKey {
	k.id, k.secret = "AKIAFAKE"+letters(12), base64.StdEncoding.EncodeToString([]byte(letters(30)))
	k.created = now.UTC().Truncate(time.Second) // as IAM shows it
	k.status.set(now, keyActive)
	f.keys[k.id] = &k
	return &k
}

func (k *iamKey) credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: k.id, SecretAccessKey: k.secret, SessionToken: k.token}
}

func letters(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, as crypto/rand documents
	return base32.StdEncoding.EncodeToString(b)[:n]
}

func refused(status int, code, message string) *awsfake.Fault {
	return &awsfake.Fault{Status: status, Code: code, Message: message}
}

var notValid = refused(403, "InvalidClientTokenId", "The security token included in the request is invalid.")

// Handler serves calls to both services. The signature names the service.
func (f *fakeIAM) Handler() http.Handler {
	calls := f.XMLHandler(f.serve)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", f.opts.Now().UTC().Format(http.TimeFormat))
		calls.ServeHTTP(w, r)
	})
}

func (f *fakeIAM) serve(c awsfake.Call) (any, *awsfake.Fault) {
	now := f.opts.Now()
	sig, ok := sigv4.Read(c.Request)
	if !ok {
		return nil, refused(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	key := f.keys[sig.Key]
	if key == nil {
		return nil, notValid
	}
	if state, ok := key.status.get(now.Add(-f.opts.LoginDelay)); !ok || state != keyActive ||
		c.Header.Get("X-Amz-Security-Token") != key.token {
		return nil, notValid
	}
	if !madeWith(sig, c, key.secret, now) {
		return nil, refused(403, "SignatureDoesNotMatch",
			"The request signature we calculated does not match the signature you provided.")
	}
	switch sig.Service {
	case "sts":
		return f.sts(key, c.Action)
	case "iam":
		if sig.Region != "us-east-1" {
			return nil, refused(403, "SignatureDoesNotMatch", "Credential should be scoped to a valid region. ")
		}
		return f.iam(key, c.Action, c.Form, now)
	}
	return nil, refused(403, "SignatureDoesNotMatch", "Credential should be scoped to correct service. ")
}

func (k *iamKey) owner() string { return k.account + "/" + k.user }

func (f *fakeIAM) arn(k *iamKey) string {
	if k.role != "" {
		return "arn:aws:sts::" + k.account + ":assumed-role/" + k.role + "/rotator"
	}
	return f.userARN(k.account, k.user)
}

// tagForm matches a valid tag key or value.
// Source: https://docs.aws.amazon.com/IAM/latest/APIReference/API_Tag.html
var tagForm = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// iamResult is what an action returns. The lists always fit in one response.
type iamResult struct {
	Keys []types.AccessKeyMetadata `xml:"AccessKeyMetadata>member"`
	Tags []types.Tag               `xml:"Tags>member"`
	Key  *types.AccessKey          `xml:"AccessKey"`
	More bool                      `xml:"IsTruncated"`
}

func (f *fakeIAM) iam(caller *iamKey, action string, form url.Values, now time.Time) (any, *awsfake.Fault) {
	name := cmp.Or(form.Get("UserName"), caller.user)
	owner := caller.account + "/" + name
	u, policy := f.users[owner], caller.policy
	if own := f.users[caller.owner()]; own != nil {
		policy = own.policy
	}
	if policy == nil || !policy.Permits("iam:"+action, f.userARN(caller.account, name),
		map[string][]string{"aws:TagKeys": awsfake.Members(form, "Tags.member.%d.Key")}) {
		return nil, refused(403, "AccessDenied", fmt.Sprintf("User: %s is not authorized to perform: iam:%s on "+
			"resource: user %s because no identity-based policy allows the iam:%s action",
			f.arn(caller), action, name, action))
	}
	if u == nil {
		return nil, refused(404, "NoSuchEntity", "The user with name "+name+" cannot be found.")
	}
	seen := now.Add(-f.opts.ListDelay)
	var result iamResult
	switch action {
	case "ListAccessKeys":
		for _, k := range f.keys {
			if state, ok := k.status.get(seen); ok && k.owner() == owner && state != keyDeleted {
				result.Keys = append(result.Keys, types.AccessKeyMetadata{UserName: &name, AccessKeyId: &k.id,
					Status: types.StatusType(state), CreateDate: &k.created})
			}
		}
	case "ListUserTags":
		tags, _ := u.tags.get(seen)
		for k, v := range tags {
			result.Tags = append(result.Tags, types.Tag{Key: &k, Value: &v})
		}
	case "TagUser":
		tags := maps.Clone(u.tags.last())
		for i, k := range awsfake.Members(form, "Tags.member.%d.Key") {
			v := form.Get(fmt.Sprintf("Tags.member.%d.Value", i+1))
			if k == "" || len(k) > 128 || len(v) > 256 || !tagForm.MatchString(k) || !tagForm.MatchString(v) {
				return nil, refused(400, "ValidationError", "a tag is not valid")
			}
			tags[k] = v
		}
		u.tags.set(now, tags)
	case "CreateAccessKey":
		if len(f.keysOf(owner)) >= 2 {
			return nil, refused(409, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2")
		}
		k := f.newKey(iamKey{account: caller.account, user: name}, now)
		result.Key = &types.AccessKey{UserName: &name, AccessKeyId: &k.id, Status: keyActive, SecretAccessKey: &k.secret,
			CreateDate: &k.created}
	case "DeleteAccessKey":
		key := f.keys[form.Get("AccessKeyId")]
		if key == nil || key.owner() != owner || key.status.last() == keyDeleted {
			return nil, refused(404, "NoSuchEntity",
				"The Access Key with id "+form.Get("AccessKeyId")+" cannot be found.")
		}
		key.status.set(now, keyDeleted)
	default:
		return nil, refused(400, "InvalidAction", "Could not find operation "+action+" for version 2010-05-08")
	}
	return result, nil
}

// sts performs an action of STS. GetCallerIdentity needs no permission.
// Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
func (f *fakeIAM) sts(caller *iamKey, action string) (any, *awsfake.Fault) {
	if action != "GetCallerIdentity" {
		return nil, refused(400, "InvalidAction", "Could not find operation "+action+" for version 2011-06-15")
	}
	return struct {
		Arn     string
		UserID  string `xml:"UserId"`
		Account string
	}{f.arn(caller), "AIDAFAKE" + caller.user, caller.account}, nil
}
