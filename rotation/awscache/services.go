package awscache

import (
	"cmp"
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/elasticache"
	cachetypes "github.com/aws/aws-sdk-go-v2/service/elasticache/types"
	"github.com/aws/aws-sdk-go-v2/service/memorydb"
	"github.com/aws/aws-sdk-go-v2/service/memorydb/types"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/awsapi"
	"example.com/rotator/rotation/internal/form"
)

type service struct {
	kind engine.Kind
	// user returns the id and ARN of the user that a secret's value names.
	user func(secret string, f *form.Form) (id, arn string)
	// describe, list and change are IAM actions, and tag is the command that tags a user.
	describe, list, change, tag string
	dial                        func(cfg aws.Config) api
}

type api interface {
	// describe returns a user. A user that does not exist has no status.
	describe(ctx context.Context, id string) (user, error)
	tags(ctx context.Context, arn string) (map[string]string, error)
	replace(ctx context.Context, id string, passwords []string) error
}

type user struct {
	arn, name      string
	status         string // active, modifying or deleting
	authentication string // password, no-password or iam
}

// elastiCacheARN matches the ARN of a user.
// Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticache.html
var elastiCacheARN = lazyregexp.New(`^arn:aws[a-z-]*:elasticache:[a-z0-9-]+:[0-9]{12}:user:[a-zA-Z][a-zA-Z0-9-]*$`)

// NewElastiCache returns the engine for users of ElastiCache, with the contract of AWS's template.
// Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/User-Secrets-Manager.html
func NewElastiCache(tls engine.TLSPolicy, settings awsapi.Settings, o Options) *Engine {
	return &Engine{tls, settings, o, service{
		kind: engine.Kind{
			Names:       []string{"elasticache"},
			MarkField:   "user_arn",
			PlaceFields: []string{"user_arn"}, // it contains the region and the id
			Passwords: engine.PasswordPolicy{Length: 20, ExcludeCharacters: `/@"'\`, Rejected: rejected,
				RequireEachIncludedType: true},
		},
		user: func(_ string, f *form.Form) (id, arn string) {
			arn = f.Required("user_arn", elastiCacheARN, "is not the ARN of an ElastiCache user")
			return arn[strings.LastIndexByte(arn, ':')+1:], arn
		},
		describe: "elasticache:DescribeUsers", list: "elasticache:ListTagsForResource",
		change: "elasticache:ModifyUser",
		tag:    "aws elasticache add-tags-to-resource --resource-name %s --tags",
		dial:   func(cfg aws.Config) api { return elastiCache{elasticache.NewFromConfig(cfg)} },
	}}
}

type elastiCache struct{ client *elasticache.Client }

// Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_DescribeUsers.html
func (s elastiCache) describe(ctx context.Context, id string) (u user, err error) {
	out, err := s.client.DescribeUsers(ctx, &elasticache.DescribeUsersInput{UserId: &id})
	if err != nil || len(out.Users) != 1 {
		return u, err
	}
	found := out.Users[0]
	by := cmp.Or(found.Authentication, &cachetypes.Authentication{})
	return user{aws.ToString(found.ARN), aws.ToString(found.UserName), aws.ToString(found.Status), string(by.Type)}, nil
}

// Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_ListTagsForResource.html
func (s elastiCache) tags(ctx context.Context, arn string) (map[string]string, error) {
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
func (s elastiCache) replace(ctx context.Context, id string, passwords []string) error {
	_, err := s.client.ModifyUser(ctx, &elasticache.ModifyUserInput{UserId: &id, Passwords: passwords})
	return err
}

// memoryDBName matches the name of a user, which is also its id.
// Source: https://docs.aws.amazon.com/memorydb/latest/APIReference/API_UpdateUser.html
var memoryDBName = lazyregexp.New(`^[a-zA-Z][a-zA-Z0-9-]*$`)

// NewMemoryDB returns the engine for users of MemoryDB, in the secret's region.
func NewMemoryDB(tls engine.TLSPolicy, settings awsapi.Settings, o Options) *Engine {
	return &Engine{tls, settings, o, service{
		kind: engine.Kind{
			Names: []string{"memorydb"},
			Passwords: engine.PasswordPolicy{Length: 32, ExcludeCharacters: `/@"'\`, Rejected: rejected,
				RequireEachIncludedType: true},
		},
		user: func(secret string, f *form.Form) (id, arn string) {
			id = f.Required("username", memoryDBName, "is not the name of a MemoryDB user")
			return id, awsapi.Resource(secret, "memorydb", "user/"+id)
		},
		describe: "memorydb:DescribeUsers", list: "memorydb:ListTags", change: "memorydb:UpdateUser",
		tag:  "aws memorydb tag-resource --resource-arn %s --tags",
		dial: func(cfg aws.Config) api { return memoryDB{memorydb.NewFromConfig(cfg)} },
	}}
}

type memoryDB struct{ client *memorydb.Client }

// Source: https://docs.aws.amazon.com/memorydb/latest/APIReference/API_DescribeUsers.html
func (s memoryDB) describe(ctx context.Context, id string) (u user, err error) {
	out, err := s.client.DescribeUsers(ctx, &memorydb.DescribeUsersInput{UserName: &id})
	if err != nil || len(out.Users) != 1 {
		return u, err
	}
	found := out.Users[0]
	by := cmp.Or(found.Authentication, &types.Authentication{})
	return user{aws.ToString(found.ARN), aws.ToString(found.Name), aws.ToString(found.Status), string(by.Type)}, nil
}

// Source: https://docs.aws.amazon.com/memorydb/latest/APIReference/API_ListTags.html
func (s memoryDB) tags(ctx context.Context, arn string) (map[string]string, error) {
	out, err := s.client.ListTags(ctx, &memorydb.ListTagsInput{ResourceArn: &arn})
	if err != nil {
		return nil, err
	}
	tags := make(map[string]string)
	for _, t := range out.TagList {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return tags, nil
}

// Source: https://docs.aws.amazon.com/memorydb/latest/APIReference/API_UpdateUser.html
func (s memoryDB) replace(ctx context.Context, id string, passwords []string) error {
	_, err := s.client.UpdateUser(ctx, &memorydb.UpdateUserInput{
		UserName: &id,
		AuthenticationMode: &types.AuthenticationMode{Type: types.InputAuthenticationTypePassword,
			Passwords: passwords},
	})
	return err
}
