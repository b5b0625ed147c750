// Package memorydb rotates the passwords of MemoryDB users.
package memorydb

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/memorydb"
	"github.com/aws/aws-sdk-go-v2/service/memorydb/types"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/cacheuser"
)

// Engine rotates MemoryDB users.
type Engine struct{ *cacheuser.Engine }

var (
	_ engine.DryRunner = Engine{}
	_ engine.Retirer   = Engine{}
)

// New returns the engine with the given policy for its logins, the settings by
// which it calls MemoryDB in the secret's region, and the operator's options.
func New(tls engine.TLSPolicy, settings cacheuser.Settings, o cacheuser.Options) Engine {
	return Engine{&cacheuser.Engine{
		Type: engine.Kind{
			Names:        []string{"memorydb"},
			UserField:    "username",
			SecretFields: []string{"password"},
			Passwords:    engine.PasswordPolicy{Length: 32, ExcludeCharacters: `/@"'\,`, RequireEachIncludedType: true},
		},
		TLS: tls, Options: o, User: user,
		Tag: "aws memorydb tag-resource --resource-arn %s --tags",
		Dial: func(ctx context.Context, secret string, _ engine.Value) (cacheuser.Service, error) {
			cfg, err := settings(ctx, secret)
			return service{memorydb.NewFromConfig(cfg)}, err
		},
	}}
}

// userForm is the name of a user, which is its id.
// Source: https://docs.aws.amazon.com/memorydb/latest/APIReference/API_UpdateUser.html
var userForm = lazyregexp.New(`^[a-zA-Z][a-zA-Z0-9-]*$`)

func user(v engine.Value) (id, arn string, faults []string) {
	id, _ = v.Text("username")
	if id != "" && !userForm.MatchString(id) {
		faults = []string{"username is not the name of a MemoryDB user"}
	}
	return id, "", faults
}

// service is MemoryDB's API.
type service struct{ client *memorydb.Client }

// Source: https://docs.aws.amazon.com/memorydb/latest/APIReference/API_DescribeUsers.html
func (s service) Describe(ctx context.Context, id string) (u cacheuser.User, err error) {
	out, err := s.client.DescribeUsers(ctx, &memorydb.DescribeUsersInput{UserName: &id})
	if err != nil || len(out.Users) != 1 {
		return u, err
	}
	found := out.Users[0]
	u = cacheuser.User{ARN: aws.ToString(found.ARN), Name: aws.ToString(found.Name), Status: aws.ToString(found.Status)}
	if found.Authentication != nil {
		u.Authentication = string(found.Authentication.Type)
	}
	return u, nil
}

// Source: https://docs.aws.amazon.com/memorydb/latest/APIReference/API_ListTags.html
func (s service) Tags(ctx context.Context, arn string) (map[string]string, error) {
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
func (s service) Replace(ctx context.Context, id string, passwords []string) error {
	_, err := s.client.UpdateUser(ctx, &memorydb.UpdateUserInput{
		UserName:           &id,
		AuthenticationMode: &types.AuthenticationMode{Type: types.InputAuthenticationTypePassword, Passwords: passwords},
	})
	return err
}
