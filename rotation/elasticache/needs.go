package elasticache

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"example.com/rotator/rotation"
)

var _ rotation.Needer = Engine{}

// Needs says which actions of ElastiCache a rotation calls. The user at the server
// needs no rights for it.
// Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticache.html
func (Engine) Needs(_ context.Context, r *rotation.Request, n *rotation.Needs) error {
	user, _ := r.Current.Text("user_arn")
	secret, err := arn.Parse(r.Secret)
	if err != nil {
		return rotation.Errorf(rotation.InvalidSecret, "give the full ARN of the secret", "%q is not the ARN of a secret", r.Secret)
	}
	n.Note = "none: ElastiCache changes the password"
	n.Permissions = append(n.Permissions, rotation.Permission{Account: secret.AccountID, Sid: "CacheUser", Resources: []string{user},
		Actions: []string{"elasticache:DescribeUsers", "elasticache:ModifyUser"}})
	return nil
}
