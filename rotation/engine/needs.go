package engine

import "context"

// Needs lists the minimum privileges for rotating one secret.
type Needs struct {
	Secret      string // the ARN
	Engine      string // the engine's own name
	Strategy    Strategy
	Permissions []Permission // in AWS
	Login       string       // the user at the target who changes the credential
	Superuser   bool         // Login comes from the superuser secret
	Grants      []string     // statements for an administrator of the target that give Login what it needs
	Note        string       // what Grants lacks, or why there are none
	// Unread is the error that prevented determining Grants, or nil. Permissions are complete either way.
	Unread *Error
}

// Permission is a statement of an IAM policy that allows actions.
type Permission struct {
	// Principal is who needs it: the ARN of an IAM user, or "" for the role that reads the secrets
	// of Account. An empty Account means the rotated secret's account.
	Principal, Account string
	// Sid says what it is for. It begins with Optional if rotations succeed without it.
	Sid                string
	Actions, Resources []string
	Conditions         map[string]map[string]string // values by operator and key
}

// Needer is an Engine that can report what a rotation of a secret needs in addition to Secrets Manager.
type Needer interface {
	Engine
	// Needs adds to n what the engine needs for r. r.Pending is what Next returned, and r.Login changes the credential.
	// Needs may query the target as r.Current, and changes nothing.
	Needs(ctx context.Context, r *Request, n *Needs) error
}
