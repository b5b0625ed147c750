package awsfake

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"

	"example.com/rotator/sim/iampolicy"
)

// Directories is a fake of the two calls of AWS Directory Service that describe directories and reset
// passwords; the latter does it in a real domain. It checks signatures, and is safe for concurrent use.
// Sources: https://docs.aws.amazon.com/directoryservice/latest/devguide/API_DescribeDirectories.html,
// https://docs.aws.amazon.com/directoryservice/latest/devguide/API_ResetUserPassword.html
type Directories struct {
	reset       func(user, password string) (code string)
	credentials aws.Credentials

	mu          sync.Mutex
	directories map[string]Directory
	calls       []string
	fail        func(action string) (code string)
	allow       *iampolicy.Policy // of the caller, or nil for everything
}

// Directory is a directory of the fake.
type Directory struct {
	Name      string   // the domain's
	Type      string   // MicrosoftAD if empty
	Addresses []string // of the domain controllers
}

// NewDirectories returns a fake without directories. reset sets a password in the domain and returns the
// code of the API's error, or "".
func NewDirectories(reset func(user, password string) (code string)) *Directories {
	return &Directories{reset: reset, directories: map[string]Directory{}, credentials: newCredentials()}
}

// Credentials are those that the fake accepts.
func (f *Directories) Credentials() aws.Credentials { return f.credentials }

// Put makes a directory, or changes it.
func (f *Directories) Put(id string, d Directory) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.directories[id] = d
}

// Calls returns the actions that were called, in order.
func (f *Directories) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

// Fail has calls answered by an error's code where the hook returns one.
func (f *Directories) Fail(hook func(action string) (code string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = hook
}

// PutPolicy gives the caller its one identity policy, without which it may do all.
func (f *Directories) PutPolicy(document string) error {
	p, err := iampolicy.Parse(document)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.allow = p
	return err
}

// Handler answers calls.
func (f *Directories) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			return // the client is gone
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		answer, code, message := f.answer(r, body)
		if code != "" {
			w.WriteHeader(http.StatusBadRequest)
			answer = map[string]any{"__type": code, "message": message}
		}
		_ = json.NewEncoder(w).Encode(answer) // as above
	})
}

func (f *Directories) answer(r *http.Request, body []byte) (answer map[string]any, code, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s, ok := signedWith(f.credentials, r, body); !ok || s.service != "ds" || s.region != "us-east-1" {
		return nil, "UnrecognizedClientException", "The security token included in the request is invalid."
	}
	var in struct {
		DirectoryIds                       []string
		DirectoryId, UserName, NewPassword string
	}
	action, ours := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "DirectoryService_20150416.")
	if err := json.Unmarshal(body, &in); err != nil || !ours {
		return nil, "UnknownOperationException", ""
	}
	f.calls = append(f.calls, action)
	if f.fail != nil {
		if code := f.fail(action); code != "" {
			return nil, code, "made up"
		}
	}
	resource := "*"
	if action == "ResetUserPassword" {
		resource = "arn:aws:ds:us-east-1:" + iamAccount + ":directory/" + in.DirectoryId
	}
	if f.allow != nil && !f.allow.Permits("ds:"+action, resource, nil) {
		return nil, "AccessDeniedException", "User is not authorized to perform: ds:" + action + " on resource: " + resource
	}
	switch action {
	case "DescribeDirectories":
		if len(in.DirectoryIds) != 1 {
			return nil, "InvalidParameterException", "one directory is expected here"
		}
		d, ok := f.directories[in.DirectoryIds[0]]
		if !ok {
			return nil, "EntityDoesNotExistException", "Directory " + in.DirectoryIds[0] + " does not exist"
		}
		kind, stage := d.Type, "Active"
		if kind == "" {
			kind = "MicrosoftAD"
		}
		if len(d.Addresses) == 0 {
			stage = "Creating"
		}
		return map[string]any{"DirectoryDescriptions": []any{map[string]any{
			"DirectoryId": in.DirectoryIds[0], "Name": d.Name, "Type": kind, "Stage": stage, "DnsIpAddrs": d.Addresses}}}, "", ""
	case "ResetUserPassword":
		if _, ok := f.directories[in.DirectoryId]; !ok {
			return nil, "EntityDoesNotExistException", "Directory " + in.DirectoryId + " does not exist"
		}
		return map[string]any{}, f.reset(in.UserName, in.NewPassword), "the domain refuses"
	}
	return nil, "UnknownOperationException", ""
}
