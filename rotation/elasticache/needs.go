package elasticache

import (
	"context"

	"example.com/rotator/rotation/engine"
)

var _ engine.Needer = Engine{}

// Needs says which actions of ElastiCache a rotation calls. The user at the server
// needs no rights for it.
// Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticache.html
func (e Engine) Needs(_ context.Context, r *engine.Request, n *engine.Needs) error {
	user, _ := r.Current.Text("user_arn")
	n.Note = "none: ElastiCache changes the password"
	n.Permissions = append(n.Permissions, e.Permissions(r, user, "elasticache:DescribeUsers", "elasticache:ListTagsForResource", "elasticache:ModifyUser")...)
	return nil
}
