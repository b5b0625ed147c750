package engine

import "context"

// Needs is the least that the rotation of one secret needs to be allowed.
type Needs struct {
	// Secret is the secret's ARN, Engine the engine's own name.
	Secret   string
	Engine   string
	Strategy Strategy
	// Permissions are those of AWS.
	Permissions []Permission
	// Login is the user at the target who changes the credential, and Superuser tells that it is
	// the superuser secret's.
	Login     string
	Superuser bool
	// Grants are statements that give Login what it needs, to be run by an administrator of the
	// target. Where there are none, Note says why.
	Grants []string
	Note   string
	// Unread is the error that kept Grants from being found out, or nil. What AWS is to allow is
	// known all the same.
	Unread *Error
}

// Permission allows actions of AWS; it is a statement of an IAM policy.
type Permission struct {
	// Principal is who needs it: "" for the one that reads the secrets of Account, which is the
	// function's role or the role that it assumes there; or the ARN of an IAM user.
	Principal string
	// Account is the rotated secret's where an engine leaves it empty.
	Account string
	// Sid says what it is for. It begins with Optional where a rotation passes without it.
	Sid       string
	Actions   []string
	Resources []string
	// Conditions are values by operator and key.
	Conditions map[string]map[string]string
}

// Needer is an Engine that can report what a rotation of a secret needs in addition to Secrets
// Manager.
type Needer interface {
	Engine
	// Needs adds to n what the engine needs for r, of which Pending is what Next would make and
	// Login is who changes the credential. It may ask the target as r.Current, and changes nothing.
	Needs(ctx context.Context, r *Request, n *Needs) error
}
