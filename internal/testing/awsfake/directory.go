package awsfake

import (
	"cmp"
	"net/http"
)

// Directories is a fake of the two calls of AWS Directory Service that describe directories and reset passwords. It
// resets passwords in a real domain.
// Sources: https://docs.aws.amazon.com/directoryservice/latest/devguide/API_DescribeDirectories.html,
// https://docs.aws.amazon.com/directoryservice/latest/devguide/API_ResetUserPassword.html
type Directories struct {
	Service
	reset       func(user, password string) (code string)
	directories map[string]Directory
}

// Directory is a directory of the fake.
type Directory struct {
	Name      string   // the domain's
	Type      string   // MicrosoftAD if empty
	Addresses []string // of the domain controllers
}

// NewDirectories returns a fake without directories. reset sets a password and returns the API's error code, or "".
func NewDirectories(reset func(user, password string) (code string)) *Directories {
	return &Directories{Service: NewService(), reset: reset,
		directories: map[string]Directory{}}
}

// Put adds or replaces a directory.
func (f *Directories) Put(id string, d Directory) {
	f.Lock()
	defer f.Unlock()
	f.directories[id] = d
}

// Handler serves calls.
func (f *Directories) Handler() http.Handler {
	return JSONHandler(&f.Service, "ds", f.serve)
}

type directoryInput struct {
	DirectoryIds                       []string
	DirectoryId, UserName, NewPassword string
}

func (f *Directories) serve(action string, in directoryInput) (any, *Fault) {
	id, resource := in.DirectoryId, "arn:aws:ds:"+Region+":"+Account+":directory/"+in.DirectoryId
	if action == "DescribeDirectories" {
		if len(in.DirectoryIds) != 1 {
			return nil, &Fault{Code: "InvalidParameterException", Message: "one directory is expected here"}
		}
		id, resource = in.DirectoryIds[0], "*"
	}
	if fault := f.Denied("ds:"+action, resource, nil); fault != nil {
		return nil, fault
	}
	d, ok := f.directories[id]
	if !ok {
		return nil, &Fault{Code: "EntityDoesNotExistException", Message: "Directory " + id + " does not exist"}
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
			return nil, &Fault{Code: code, Message: "the domain refuses"}
		}
		return map[string]any{}, nil
	}
	return nil, &Fault{Code: "UnknownOperationException"}
}
