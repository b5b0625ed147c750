package iam

import (
	"context"

	"example.com/rotator/rotation/engine"
)

var _ engine.Needer = (*Engine)(nil)

// Needs says what the access key's user needs on itself, or where the function's
// role acts, what that needs on the user. STS is asked for the user's ARN.
func (e *Engine) Needs(ctx context.Context, r *engine.Request, n *engine.Needs) error {
	s, err := e.open(ctx, r, r.Current)
	if err != nil {
		return err
	}
	n.Login, n.Note = s.login.user, "none: the user has no password; its rights are IAM's"
	principal := ""
	if !e.byRole {
		principal = s.user
	}
	n.Permissions = append(n.Permissions,
		engine.Permission{Principal: principal, Sid: "AccessKeys", Resources: []string{s.user},
			Actions: []string{"iam:ListAccessKeys", "iam:CreateAccessKey", "iam:UpdateAccessKey", "iam:DeleteAccessKey", "iam:ListUserTags"}},
		engine.Permission{Principal: principal, Sid: "Intent", Resources: []string{s.user}, Actions: []string{"iam:TagUser"},
			Conditions: map[string]map[string]string{"ForAllValues:StringEquals": {"aws:TagKeys": intentTag}}})
	return nil
}
