package directory

import (
	"cmp"
	"net/http"

	"example.com/rotator/internal/testing/awsfake"
)

// fakeDirectories is a fake of the two calls of AWS Directory Service that describe directories and reset passwords. It
// resets passwords in a real domain.
// Sources: https://docs.aws.amazon.com/directoryservice/latest/devguide/API_DescribeDirectories.html,
// https://docs.aws.amazon.com/directoryservice/latest/devguide/API_ResetUserPassword.html
type fakeDirectories struct {
	awsfake.Service
	reset       func(user, password string) (code string)
	directories map[string]fakeDirectory
}

// fakeDirectory is a directory of the fake.
type fakeDirectory struct {
	Name      string   // the domain's
	Type      string   // MicrosoftAD if empty
	Addresses []string // of the domain controllers
}

// newFake returns a fake without directories. reset sets a password and returns the API's error code, or "".
func newFake(reset func(user, password string) (code string)) *fakeDirectories {
	return &fakeDirectories{Service: awsfake.NewService(), reset: reset,
		directories: map[string]fakeDirectory{}}
}

// Put adds or replaces a directory.
func (f *fakeDirectories) Put(id string, d fakeDirectory) {
	f.Lock()
	defer f.Unlock()
	f.directories[id] = d
}

// Handler serves calls.
func (f *fakeDirectories) Handler() http.Handler {
	return awsfake.JSONHandler(&f.Service, "ds", f.serve)
}

type directoryInput struct {
	DirectoryIds                       []string
	DirectoryId, UserName, NewPassword string
}

func (f *fakeDirectories) serve(action string, in directoryInput) (any, *awsfake.Fault) {
	id, resource := in.DirectoryId, "arn:aws:ds:"+awsfake.Region+":"+awsfake.Account+":directory/"+in.DirectoryId
	if action == "DescribeDirectories" {
		if len(in.DirectoryIds) != 1 {
			return nil, &awsfake.Fault{Code: "InvalidParameterException", Message: "one directory is expected here"}
		}
		id, resource = in.DirectoryIds[0], "*"
	}
	if fault := f.Denied("ds:"+action, resource, nil); fault != nil {
		return nil, fault
	}
	d, ok := f.directories[id]
	if !ok {
		return nil, &awsfake.Fault{Code: "EntityDoesNotExistException", Message: "Directory " + id + " does not exist"}
	}
	switch action {
	case "DescribeDirectories":
		stage := "Active"
		if len(d.Addresses) == 0 {
			stage = "Creating"
		}
		return map[string]any{"DirectoryDescriptions": []any{map[string]any{"DirectoryId": id, "Name": d.Name,
			"Type": cmp.Or(d.Type, "MicrosoftAD"), "Stage": stage, "DnsIpAddrs": d.Addresses}}}, nil
	case "ResetUserPassword":
		if code := f.reset(in.UserName, in.NewPassword); code != "" {
			return nil, &awsfake.Fault{Code: code, Message: "the domain refuses"}
		}
		return map[string]any{}, nil
	}
	return nil, &awsfake.Fault{Code: "UnknownOperationException"}
}
