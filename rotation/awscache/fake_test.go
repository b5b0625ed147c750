package awscache_test

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/rotator/internal/sigv4"
	"example.com/rotator/internal/testing/awsfake"
)

// fakeCaches is a fake of how ElastiCache and MemoryDB handle users. It describes them, lists their tags and changes
// their passwords after some time in the status "modifying". It enforces the services' password rules.
// Sources: https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_ModifyUser.html,
// https://docs.aws.amazon.com/memorydb/latest/APIReference/API_UpdateUser.html,
// https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_ListTagsForResource.html,
// https://docs.aws.amazon.com/memorydb/latest/APIReference/API_ListTags.html
type fakeCaches struct {
	awsfake.Service
	opts  fakeOptions
	users map[string]*fakeUser // by service and id
	busy  int                  // changes in progress
	idle  *sync.Cond
}

// fakeOptions configure a fake.
type fakeOptions struct {
	// Delay is how long a change takes.
	Delay time.Duration
	// Apply applies a change to the cache itself. If it fails, the user's status shows the error.
	Apply func(user string, passwords []string) error
}

// fakeUser is a user of a fake.
type fakeUser struct {
	// ID is the user's id, and Name is the name for logins. They are the same in MemoryDB.
	ID, Name string
	// Status is active, modifying or deleting, and Type is password, no-password or iam.
	Status, Type string
	// Passwords holds one or two passwords.
	Passwords []string
	Tags      map[string]string
}

// newFake returns a fake without users.
func newFake(o fakeOptions) *fakeCaches {
	f := &fakeCaches{Service: awsfake.NewService(), opts: o, users: make(map[string]*fakeUser)}
	f.idle = sync.NewCond(f)
	return f
}

// Add adds a user to a service, "elasticache" or "memorydb", and returns its ARN. The defaults for
// status and type are active and password.
func (f *fakeCaches) Add(service string, u fakeUser) string {
	f.Lock()
	defer f.Unlock()
	u.Status, u.Type = cmp.Or(u.Status, "active"), cmp.Or(u.Type, "password")
	f.users[service+"/"+u.ID] = &u
	return cacheARN(service, u.ID)
}

// User returns a user's current state.
func (f *fakeCaches) User(service, id string) fakeUser {
	f.Lock()
	defer f.Unlock()
	u := *f.users[service+"/"+id]
	u.Passwords = slices.Clone(u.Passwords)
	return u
}

// Tag sets a user's tag.
func (f *fakeCaches) Tag(service, id, key, value string) {
	f.Lock()
	defer f.Unlock()
	u := f.users[service+"/"+id]
	tags := maps.Clone(u.Tags) // a response may hold the old ones
	if tags == nil {
		tags = make(map[string]string)
	}
	tags[key] = value
	u.Tags = tags
}

// Wait waits until all changes are applied.
func (f *fakeCaches) Wait() {
	f.Lock()
	defer f.Unlock()
	for f.busy > 0 {
		f.idle.Wait()
	}
}

func cacheARN(service, id string) string {
	resource := "user:" + id
	if service == "memorydb" {
		resource = "user/" + id
	}
	return "arn:aws:" + service + ":" + awsfake.Region + ":" + awsfake.Account + ":" + resource
}

// Handler serves calls to both services. The signature names the service.
func (f *fakeCaches) Handler() http.Handler {
	memoryDB, elastiCache := awsfake.JSONHandler(&f.Service, "memorydb", f.memoryDB), f.XMLHandler(f.elastiCache)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sig, _ := sigv4.Read(r); sig.Service == "memorydb" {
			memoryDB.ServeHTTP(w, r)
		} else {
			elastiCache.ServeHTTP(w, r)
		}
	})
}

// cacheMember is a user in the responses of ElastiCache.
type cacheMember struct {
	UserID         string `xml:"UserId"`
	UserName       string
	Status         string
	Authentication cacheAuthentication
	ARN            string
}

// cacheAuthentication and cacheTag are in the responses of both services.
type cacheAuthentication struct {
	Type          string
	PasswordCount int
}

type cacheTag struct{ Key, Value string }

func tagList(u fakeUser) []cacheTag {
	list := []cacheTag{}
	for k, v := range u.Tags {
		list = append(list, cacheTag{k, v})
	}
	return list
}

func (f *fakeCaches) elastiCache(c awsfake.Call) (any, *awsfake.Fault) {
	if fault := f.Signed(c, "elasticache"); fault != nil {
		return nil, fault
	}
	id := c.Form.Get("UserId")
	if c.Action == "ListTagsForResource" {
		_, id, _ = strings.Cut(c.Form.Get("ResourceName"), ":user:")
	}
	u, fault := f.serve("elasticache", c.Action, id, awsfake.Members(c.Form, "Passwords.member.%d"))
	if fault != nil {
		return nil, fault
	}
	m := cacheMember{u.ID, u.Name, u.Status, cacheAuthentication{u.Type, len(u.Passwords)}, cacheARN("elasticache", u.ID)}
	switch c.Action {
	case "DescribeUsers":
		return struct {
			Users []cacheMember `xml:"Users>member"`
		}{[]cacheMember{m}}, nil
	case "ListTagsForResource":
		return struct {
			Tags []cacheTag `xml:"TagList>Tag"`
		}{tagList(u)}, nil
	}
	return m, nil
}

type memoryDBInput struct {
	UserName           string
	ResourceArn        string
	AuthenticationMode struct {
		Type      string
		Passwords []string
	}
}

func (f *fakeCaches) memoryDB(action string, in memoryDBInput) (any, *awsfake.Fault) {
	id := in.UserName
	if action == "ListTags" {
		_, id, _ = strings.Cut(in.ResourceArn, ":user/")
	}
	if action == "UpdateUser" && in.AuthenticationMode.Type != "password" {
		return nil, &awsfake.Fault{Code: "InvalidParameterCombinationException", Message: "the fake expects passwords"}
	}
	u, fault := f.serve("memorydb", action, id, in.AuthenticationMode.Passwords)
	if fault != nil {
		return nil, fault
	}
	user := map[string]any{"Name": u.Name, "Status": u.Status, "ARN": cacheARN("memorydb", u.ID),
		"Authentication": cacheAuthentication{u.Type, len(u.Passwords)}}
	switch action {
	case "DescribeUsers":
		return map[string]any{"Users": []any{user}}, nil
	case "ListTags":
		return map[string]any{"TagList": tagList(u)}, nil
	}
	return map[string]any{"User": user}, nil
}

// serve performs an action and returns the user's new state.
func (f *fakeCaches) serve(service, action, id string, passwords []string) (fakeUser, *awsfake.Fault) {
	// failed returns a fault with the code of ElastiCache's API, to which MemoryDB's appends the ending.
	failed := func(code, ending, message string) (fakeUser, *awsfake.Fault) {
		if service == "memorydb" {
			code += ending
		}
		return fakeUser{}, &awsfake.Fault{Code: code, Message: message}
	}
	u := f.users[service+"/"+id]
	have := make(map[string][]string)
	if u != nil {
		for k, v := range u.Tags {
			have["aws:ResourceTag/"+k] = []string{v}
		}
	}
	if fault := f.Denied(service+":"+action, cacheARN(service, id), have); fault != nil {
		return failed("AccessDenied", "Exception", fault.Message)
	}
	if u == nil {
		return failed("UserNotFound", "Fault", "User "+id+" not found.")
	}
	switch action {
	case "DescribeUsers", "ListTagsForResource", "ListTags":
		return *u, nil
	case "ModifyUser", "UpdateUser":
	default:
		return failed("InvalidAction", "", "Could not find operation "+action)
	}
	if u.Status != "active" {
		return failed("InvalidUserState", "Fault", "User is not in active state.")
	}
	if len(passwords) < 1 || len(passwords) > 2 || len(passwords) == 2 && passwords[0] == passwords[1] {
		return failed("InvalidParameterValue", "Exception", "One or two different passwords are needed.")
	}
	for _, p := range passwords {
		if len(p) < 16 || len(p) > 128 || strings.ContainsAny(p, ",\"/@ ") {
			return failed("InvalidParameterValue", "Exception", "Passwords must be 16-128 printable characters.")
		}
	}
	u.Status = "modifying"
	f.busy++
	time.AfterFunc(f.opts.Delay, func() {
		var err error
		if f.opts.Apply != nil {
			err = f.opts.Apply(u.Name, passwords)
		}
		f.Lock()
		defer f.Unlock()
		if u.Passwords, u.Status = passwords, "active"; err != nil {
			u.Status = "failed: " + err.Error()
		}
		f.busy--
		f.idle.Broadcast()
	})
	return *u, nil
}
