// Package elasticache rotates the passwords of ElastiCache users, for Valkey and
// Redis with role-based access control, by the contract of AWS's own template.
// Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/User-Secrets-Manager.html
package elasticache

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/elasticache"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/cacheuser"
)

// Engine rotates ElastiCache users.
type Engine struct{ *cacheuser.Engine }

var (
	_ engine.DryRunner = Engine{}
	_ engine.Retirer   = Engine{}
)

// Options are the operator's settings, which memorydb shares.
type Options = cacheuser.Options

// ReadOptions reads them from the environment. The error has the cause
// InvalidConfiguration.
func ReadOptions(getenv func(string) string) (Options, error) { return cacheuser.ReadOptions(getenv) }

// New returns the engine with the given policy for its logins, the settings by
// which it calls ElastiCache, and the operator's options.
func New(tls engine.TLSPolicy, settings cacheuser.Settings, o cacheuser.Options) Engine {
	return Engine{&cacheuser.Engine{
		// AWS's template excludes less than ElastiCache rejects: a comma would
		// fail the rotation.
		Type: engine.Kind{
			Names:        []string{"elasticache"},
			UserField:    "username",
			SecretFields: []string{"password"},
			MarkField:    "user_arn",
			PlaceFields:  []string{"user_arn"}, // it has the region and the id
			Passwords:    engine.PasswordPolicy{Length: 20, ExcludeCharacters: `/@"'\,`, RequireEachIncludedType: true},
		},
		TLS: tls, Options: o, User: user,
		Tag: "aws elasticache add-tags-to-resource --resource-name %s --tags",
		Dial: func(ctx context.Context, secret string, v engine.Value) (cacheuser.Service, error) {
			cfg, err := settings(ctx, secret)
			if err != nil {
				return nil, err
			}
			arn, _ := v.Text("user_arn")
			cfg.Region = arnForm.FindStringSubmatch(arn)[1]
			return service{elasticache.NewFromConfig(cfg)}, nil
		},
	}}
}

// arnForm is the ARN of a user: its region and its id are what is needed.
// Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticache.html
var arnForm = lazyregexp.New(`^arn:aws[a-z-]*:elasticache:([a-z0-9-]+):[0-9]{12}:user:([a-zA-Z][a-zA-Z0-9-]*)$`)

func user(v engine.Value) (id, arn string, faults []string) {
	arn, _ = v.Text("user_arn")
	if arn == "" {
		return "", "", []string{"user_arn is missing"}
	}
	m := arnForm.FindStringSubmatch(arn)
	if m == nil {
		return "", "", []string{"user_arn is not the ARN of an ElastiCache user"}
	}
	return m[2], arn, nil
}

// service is ElastiCache's API.
type service struct{ client *elasticache.Client }

// Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_DescribeUsers.html
func (s service) Describe(ctx context.Context, id string) (u cacheuser.User, err error) {
	out, err := s.client.DescribeUsers(ctx, &elasticache.DescribeUsersInput{UserId: &id})
	if err != nil || len(out.Users) != 1 {
		return u, err
	}
	found := out.Users[0]
	u = cacheuser.User{ARN: aws.ToString(found.ARN), Name: aws.ToString(found.UserName), Status: aws.ToString(found.Status)}
	if found.Authentication != nil {
		u.Authentication = string(found.Authentication.Type)
	}
	return u, nil
}

// Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_ListTagsForResource.html
func (s service) Tags(ctx context.Context, arn string) (map[string]string, error) {
	out, err := s.client.ListTagsForResource(ctx, &elasticache.ListTagsForResourceInput{ResourceName: &arn})
	if err != nil {
		return nil, err
	}
	tags := make(map[string]string)
	for _, t := range out.TagList {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return tags, nil
}

// Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_ModifyUser.html
func (s service) Replace(ctx context.Context, id string, passwords []string) error {
	_, err := s.client.ModifyUser(ctx, &elasticache.ModifyUserInput{UserId: &id, Passwords: passwords})
	return err
}
