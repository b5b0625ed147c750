package memorydb

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"example.com/rotator/rotation/engine"
)

var _ engine.Needer = Engine{}

// Needs says which actions of MemoryDB a rotation calls. The user at the server
// needs no rights for it.
// Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonmemorydb.html
func (e Engine) Needs(_ context.Context, r *engine.Request, n *engine.Needs) error {
	user, _ := r.Current.Text("username")
	secret, err := arn.Parse(r.Secret)
	if err != nil {
		return engine.Errorf(engine.InvalidSecret, "give the full ARN of the secret", "%q is not the ARN of a secret", r.Secret)
	}
	n.Note = "none: MemoryDB changes the password"
	n.Permissions = append(n.Permissions, e.Permissions(r, fmt.Sprintf("arn:%s:memorydb:%s:%s:user/%s", secret.Partition, secret.Region, secret.AccountID, user),
		"memorydb:DescribeUsers", "memorydb:ListTags", "memorydb:UpdateUser")...)
	return nil
}
