package awsfake

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/uuid"

	"example.com/rotator/sim/iampolicy"
)

// Caches is a fake of how ElastiCache and MemoryDB handle users: describe them, list their tags
// and, after a while as "modifying", change their passwords. It checks signatures and enforces the
// services' password rules. It is safe for concurrent use.
// Sources: https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_ModifyUser.html,
// https://docs.aws.amazon.com/memorydb/latest/APIReference/API_UpdateUser.html,
// https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_ListTagsForResource.html,
// https://docs.aws.amazon.com/memorydb/latest/APIReference/API_ListTags.html
type Caches struct {
	opts        CachesOptions
	credentials aws.Credentials

	mu    sync.Mutex
	users map[string]*CacheUser // by service and id
	calls []string
	fail  func(action string) (code string)
	allow *iampolicy.Policy // of the caller; nil allows everything
	busy  int               // changes in progress
	idle  *sync.Cond
}

// CachesOptions configure a fake.
type CachesOptions struct {
	// Delay is how long a change takes.
	Delay time.Duration
	// Apply applies a change to the cache itself. An error shows up in the status.
	Apply func(user string, passwords []string) error
}

// CacheUser is a user of a fake.
type CacheUser struct {
	// ID is the user's id, and Name the name to log in with. They are the same in MemoryDB.
	ID, Name string
	// Status is active, modifying or deleting, and Type is password, no-password
	// or iam.
	Status, Type string
	// Passwords holds one or two passwords.
	Passwords []string
	Tags      map[string]string
}

// The fakes' only region.
const cacheRegion = "us-east-1"

// NewCaches returns a fake without users.
func NewCaches(o CachesOptions) *Caches {
	f := &Caches{opts: o, users: make(map[string]*CacheUser), credentials: newCredentials()}
	f.idle = sync.NewCond(&f.mu)
	return f
}

// Credentials returns the credentials that the fake accepts.
func (f *Caches) Credentials() aws.Credentials { return f.credentials }

// Add adds a user to a service, "elasticache" or "memorydb", and returns its ARN. The defaults for
// status and type are active and password.
func (f *Caches) Add(service string, u CacheUser) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if u.Status == "" {
		u.Status = "active"
	}
	if u.Type == "" {
		u.Type = "password"
	}
	f.users[service+"/"+u.ID] = &u
	return cacheARN(service, u.ID)
}

// User returns a user's current state.
func (f *Caches) User(service, id string) CacheUser {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := *f.users[service+"/"+id]
	u.Passwords = slices.Clone(u.Passwords)
	return u
}

// Calls returns the actions that were called, in order.
func (f *Caches) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Fail installs a hook: if it returns a code, the call fails with it.
func (f *Caches) Fail(hook func(action string) (code string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = hook
}

// PutPolicy sets the caller's only identity policy. Without one it may do everything.
func (f *Caches) PutPolicy(document string) error {
	p, err := iampolicy.Parse(document, "aws:ResourceTag/rotator:secret")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.allow = p
	return err
}

// Tag sets a user's tag.
func (f *Caches) Tag(service, id, key, value string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.users[service+"/"+id]
	tags := maps.Clone(u.Tags) // a response may hold the old ones
	if tags == nil {
		tags = make(map[string]string)
	}
	tags[key] = value
	u.Tags = tags
}

// Wait waits until all changes are applied.
func (f *Caches) Wait() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.busy > 0 {
		f.idle.Wait()
	}
}

func cacheARN(service, id string) string {
	resource := "user:" + id
	if service == "memorydb" {
		resource = "user/" + id
	}
	return "arn:aws:" + service + ":" + cacheRegion + ":" + iamAccount + ":" + resource
}

// cacheFault is an error with the code of ElastiCache's API. MemoryDB's API appends the ending.
type cacheFault struct{ code, ending, message string }

// Handler answers calls to both services. The signature says which one.
func (f *Caches) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			return // the client is gone
		}
		sig, ok := signedWith(f.credentials, r, body)
		if !ok || sig.region != cacheRegion {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if sig.service == "memorydb" {
			f.memoryDB(w, r, body)
			return
		}
		f.elastiCache(w, body)
	})
}

type cacheMember struct {
	UserID         string `xml:"UserId"`
	UserName       string
	Status         string
	Authentication struct {
		Type          string
		PasswordCount int
	}
	ARN string
}

// cacheTag is a tag in the responses of both services.
type cacheTag struct{ Key, Value string }

func tagList(u CacheUser) []cacheTag {
	list := []cacheTag{}
	for k, v := range u.Tags {
		list = append(list, cacheTag{k, v})
	}
	return list
}

func (f *Caches) elastiCache(w http.ResponseWriter, body []byte) {
	const namespace = "http://elasticache.amazonaws.com/doc/2015-02-02/"
	form, _ := url.ParseQuery(string(body)) // a malformed body has no action
	action := form.Get("Action")
	var passwords []string
	for i := 1; form.Has(fmt.Sprintf("Passwords.member.%d", i)); i++ {
		passwords = append(passwords, form.Get(fmt.Sprintf("Passwords.member.%d", i)))
	}
	id := form.Get("UserId")
	if action == "ListTagsForResource" {
		_, id, _ = strings.Cut(form.Get("ResourceName"), ":user:")
	}
	u, fault := f.serve("elasticache", action, id, passwords)
	w.Header().Set("Content-Type", "text/xml")
	if fault != nil {
		w.WriteHeader(http.StatusBadRequest)
		_ = xml.NewEncoder(w).Encode(struct { // the client may be gone
			XMLName   xml.Name `xml:"ErrorResponse"`
			Type      string   `xml:"Error>Type"`
			Code      string   `xml:"Error>Code"`
			Message   string   `xml:"Error>Message"`
			RequestID string   `xml:"RequestId"`
		}{Type: "Sender", Code: fault.code, Message: fault.message, RequestID: uuid.NewString()})
		return
	}
	m := cacheMember{UserID: u.ID, UserName: u.Name, Status: u.Status, ARN: cacheARN("elasticache", u.ID)}
	m.Authentication.Type, m.Authentication.PasswordCount = u.Type, len(u.Passwords)
	var result any
	switch action {
	case "DescribeUsers":
		result = struct {
			XMLName xml.Name      `xml:"DescribeUsersResult"`
			Users   []cacheMember `xml:"Users>member"`
		}{Users: []cacheMember{m}}
	case "ListTagsForResource":
		result = struct {
			XMLName xml.Name   `xml:"ListTagsForResourceResult"`
			Tags    []cacheTag `xml:"TagList>Tag"`
		}{Tags: tagList(u)}
	default:
		result = struct {
			XMLName xml.Name `xml:"ModifyUserResult"`
			cacheMember
		}{cacheMember: m}
	}
	_ = xml.NewEncoder(w).Encode(answer(action, namespace, result))
}

func (f *Caches) memoryDB(w http.ResponseWriter, r *http.Request, body []byte) {
	var in struct {
		UserName           string
		ResourceArn        string
		AuthenticationMode struct {
			Type      string
			Passwords []string
		}
	}
	action := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonMemoryDB.")
	err := json.Unmarshal(body, &in)
	id := in.UserName
	if action == "ListTags" {
		_, id, _ = strings.Cut(in.ResourceArn, ":user/")
	}
	u, fault := f.serve("memorydb", action, id, in.AuthenticationMode.Passwords)
	if err != nil || fault == nil && action == "UpdateUser" && in.AuthenticationMode.Type != "password" {
		fault = &cacheFault{"InvalidParameterCombination", "Exception", "the fake does not expect this request"}
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if fault != nil {
		w.WriteHeader(http.StatusBadRequest)
		// the client may be gone
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": fault.code + fault.ending, "message": fault.message})
		return
	}
	user := map[string]any{"Name": u.Name, "Status": u.Status, "ARN": cacheARN("memorydb", u.ID),
		"Authentication": map[string]any{"Type": u.Type, "PasswordCount": len(u.Passwords)}}
	out := map[string]any{"User": user}
	switch action {
	case "DescribeUsers":
		out = map[string]any{"Users": []any{user}}
	case "ListTags":
		out = map[string]any{"TagList": tagList(u)}
	}
	_ = json.NewEncoder(w).Encode(out)
}

// serve performs an action and returns the user's state afterwards.
func (f *Caches) serve(service, action, id string, passwords []string) (CacheUser, *cacheFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, action)
	if f.fail != nil {
		if code := f.fail(action); code != "" {
			return CacheUser{}, &cacheFault{code: code, message: "made up"}
		}
	}
	u := f.users[service+"/"+id]
	have := make(map[string][]string)
	if u != nil {
		for k, v := range u.Tags {
			have["aws:ResourceTag/"+k] = []string{v}
		}
	}
	if full := service + ":" + action; f.allow != nil && !f.allow.Permits(full, cacheARN(service, id), have) {
		return CacheUser{}, &cacheFault{"AccessDenied", "Exception", "User is not authorized to perform: " + full +
			" on resource: " + cacheARN(service, id)}
	}
	if u == nil {
		return CacheUser{}, &cacheFault{"UserNotFound", "Fault", "User " + id + " not found."}
	}
	switch action {
	case "DescribeUsers", "ListTagsForResource", "ListTags":
		return *u, nil
	case "ModifyUser", "UpdateUser":
	default:
		return CacheUser{}, &cacheFault{"InvalidAction", "", "Could not find operation " + action}
	}
	if u.Status != "active" {
		return CacheUser{}, &cacheFault{"InvalidUserState", "Fault", "User is not in active state."}
	}
	if len(passwords) < 1 || len(passwords) > 2 || len(passwords) == 2 && passwords[0] == passwords[1] {
		return CacheUser{}, &cacheFault{"InvalidParameterValue", "Exception",
			"One or two different passwords are needed."}
	}
	for _, p := range passwords {
		if len(p) < 16 || len(p) > 128 || strings.ContainsAny(p, ",\"/@ ") {
			return CacheUser{}, &cacheFault{"InvalidParameterValue", "Exception",
				"Passwords must be 16-128 printable characters."}
		}
	}
	u.Status = "modifying"
	f.busy++
	time.AfterFunc(f.opts.Delay, func() {
		var err error
		if f.opts.Apply != nil {
			err = f.opts.Apply(u.Name, passwords)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if u.Passwords, u.Status = passwords, "active"; err != nil {
			u.Status = "failed: " + err.Error()
		}
		f.busy--
		f.idle.Broadcast()
	})
	return *u, nil
}
