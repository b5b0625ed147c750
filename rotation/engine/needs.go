package engine

import "context"

// Needs is the least that the rotation of one secret needs to be allowed.
type Needs struct {
	Secret      string // the ARN
	Engine      string // the engine's own name
	Strategy    Strategy
	Permissions []Permission // those of AWS
	// Login is the user at the target who changes the credential, and Superuser means that it is
	// the superuser secret's.
	Login     string
	Superuser bool
	// Grants are statements that give Login what it needs, to be run by an administrator of the
	// target. Where there are none, Note says why.
	Grants []string
	Note   string
	// Unread is the error that kept Grants from being found out, or nil. The Permissions are
	// complete all the same.
	Unread *Error
}

// Permission allows actions of AWS; it is a statement of an IAM policy.
type Permission struct {
	// Principal is who needs it: the ARN of an IAM user, or "" for the role that reads the secrets
	// of Account. An empty Account is the rotated secret's.
	Principal, Account string
	// Sid says what it is for. It begins with Optional where a rotation passes without it.
	Sid                string
	Actions, Resources []string
	Conditions         map[string]map[string]string // values by operator and key
}

// Needer is an Engine that can report what a rotation of a secret needs in addition to Secrets
// Manager.
type Needer interface {
	Engine
	// Needs adds to n what the engine needs for r, of which Pending is what Next would make and
	// Login is who changes the credential. It may ask the target as r.Current, and changes nothing.
	Needs(ctx context.Context, r *Request, n *Needs) error
}
