package iam

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/awsapi"
	"example.com/rotator/rotation/internal/boundconn"
	"example.com/rotator/rotation/internal/mark"
)

// session is a key that STS has accepted, with a client that manages its user's keys.
type session struct {
	engine  *Engine
	request *engine.Request
	login   login
	user    string // the user's ARN
	client  *iam.Client

	keys   map[string]key // by id
	intent intent
	noted  string    // the tag's value, or ""
	now    time.Time // on IAM's clock
}

type key struct {
	active  bool
	created time.Time
}

func (e *Engine) acting(ctx context.Context, r *engine.Request) (*session, error) {
	s, err := e.open(ctx, r, r.Login)
	if err == nil {
		err = s.look(ctx)
	}
	return s, err
}

// open asks STS for the key's user. The cause is LoginRefused only if STS rejects the key or its signature.
func (e *Engine) open(ctx context.Context, r *engine.Request, v engine.Value) (*session, error) {
	l, err := parse(v)
	if err != nil {
		return nil, err
	}
	cfg, err := e.settings.Config(ctx, r.Secret)
	if err != nil {
		return nil, err
	}
	own := cfg.Copy()
	own.Credentials = credentials.NewStaticCredentialsProvider(l.id, l.secret, "")
	who, err := sts.NewFromConfig(own).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return nil, refused(l.id, err)
	}
	s := &session{engine: e, request: r, login: l, user: aws.ToString(who.Arn), client: iam.NewFromConfig(own)}
	if a, err := arn.Parse(s.user); err != nil || !strings.HasPrefix(a.Resource, "user/") ||
		a.Resource[strings.LastIndexByte(a.Resource, '/')+1:] != l.user {
		return nil, engine.Errorf(engine.InvalidSecret, "set the field "+userField+" to the key's user",
			"the access key %s belongs to %s, not to the user %q", l.id, s.user, l.user)
	}
	if !e.byRole {
		return s, nil
	}
	// A user with the same name in the role's account is a different user: anyone can create a user with any name.
	role, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return nil, awsapi.Failed("STS does not accept the function's credentials", err)
	}
	if own, keys := aws.ToString(role.Account), aws.ToString(who.Account); own != keys {
		return nil, engine.Errorf(engine.InvalidSecret, "use a role in the key's account, or let the key act",
			"the access key %s is in account %s, but the function acts in %s", l.id, keys, own)
	}
	s.client = iam.NewFromConfig(cfg)
	return s, nil
}

func refused(id string, err error) error {
	what := "STS does not accept the access key " + id
	err = boundconn.Shorten(err)
	signature := awsapi.Code(err) == "SignatureDoesNotMatch"
	switch text := err.Error(); {
	case signature && (strings.Contains(text, "expired") || strings.Contains(text, "not yet current")):
		return engine.Errorf(engine.TargetFailed, "correct the machine's clock", "%s: %w", what, err)
	case signature || awsapi.Code(err) == "InvalidClientTokenId":
		return engine.Errorf(engine.LoginRefused,
			"check that the key exists and is active; IAM accepts a new key after some seconds", "%s: %w", what, err)
	}
	return awsapi.Failed(what, err)
}

// look reads the intent, then the keys, in Mint's order. Both lists fit on a page: IAM allows 50 tags and two keys.
func (s *session) look(ctx context.Context) error {
	tags, err := s.client.ListUserTags(ctx, &iam.ListUserTagsInput{UserName: &s.login.user})
	if err != nil {
		return s.failed("ListUserTags", err)
	}
	for _, t := range tags.Tags {
		if aws.ToString(t.Key) == intentTag {
			s.noted = aws.ToString(t.Value)
			s.intent = readIntent(s.request.Secret, s.noted)
		}
	}
	return s.list(ctx)
}

func (s *session) list(ctx context.Context) error {
	out, err := s.client.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &s.login.user})
	if err != nil {
		return s.failed("ListAccessKeys", err)
	}
	s.keys = make(map[string]key)
	for _, k := range out.AccessKeyMetadata {
		s.keys[aws.ToString(k.AccessKeyId)] = key{k.Status == types.StatusTypeActive, aws.ToTime(k.CreateDate)}
	}
	var ok bool
	if s.now, ok = middleware.GetServerTime(out.ResultMetadata); !ok {
		s.now = time.Now()
	}
	return nil
}

// unsettled returns an error that a retry resolves.
func unsettled(format string, args ...any) error {
	return engine.Errorf(engine.Unsettled, "wait: Secrets Manager retries automatically", format, args...)
}

func (s *session) note(ctx context.Context, text string) error {
	_, err := s.client.TagUser(ctx,
		&iam.TagUserInput{UserName: &s.login.user, Tags: []types.Tag{{Key: aws.String(intentTag), Value: &text}}})
	return s.failed("TagUser", err)
}

// create creates a key. The SDK must not repeat the call, which may have created a key.
func (s *session) create(ctx context.Context) (id, secret string, err error) {
	out, err := s.client.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &s.login.user},
		func(o *iam.Options) { o.Retryer = aws.NopRetryer{} })
	if _, full := errors.AsType[*types.LimitExceededException](err); full {
		// The list had only one key just before.
		return "", "", unsettled("the user %q just received a second access key: %w", s.login.user, err)
	}
	if err != nil {
		return "", "", s.failed("CreateAccessKey", err)
	}
	return aws.ToString(out.AccessKey.AccessKeyId), aws.ToString(out.AccessKey.SecretAccessKey), nil
}

// turnedAway reports whether IAM definitely changed nothing. After a 5xx, or without a response, that is unknown.
func turnedAway(err error) bool {
	e, ok := errors.AsType[*smithyhttp.ResponseError](err)
	return ok && e.HTTPStatusCode() >= 400 && e.HTTPStatusCode() < 500
}

func (s *session) delete(ctx context.Context, id string) error {
	_, err := s.client.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &s.login.user, AccessKeyId: &id})
	if _, gone := errors.AsType[*types.NoSuchEntityException](err); gone {
		return nil
	}
	return s.failed("DeleteAccessKey", err)
}

// failed classifies an error of IAM, never as LoginRefused: STS has accepted the key, and IAM may lag behind.
func (s *session) failed(operation string, err error) error {
	what := "IAM's " + operation + " for the user " + strconv.Quote(s.login.user) + " failed"
	switch {
	case err == nil:
		return nil
	case awsapi.Code(err) == "InvalidClientTokenId":
		return engine.Errorf(engine.TargetFailed, "IAM accepts a new key after some seconds: wait", "%s: %w", what, err)
	}
	return awsapi.Failed(what, err)
}

// intentTag is the key of the user's tag that records what the last rotation was about to do.
const intentTag = "rotator:intent"

// intent records that a call, logged in with the key login, was about to create a key. at is the time on IAM's clock.
type intent struct {
	login string
	at    time.Time
}

// text is the tag's value. It has a hash of the secret's ARN, which may be too long for a tag or have other characters.
func (i intent) text(secret string) string {
	return fmt.Sprintf("%s %d %s", mark.Prefix(secret), i.at.Unix(), i.login)
}

// readIntent parses a tag's value. For another secret's or a malformed value it returns the zero intent, which explains
// no key.
func readIntent(secret, text string) intent {
	words := strings.Fields(text)
	if len(words) < 3 || words[0] != mark.Prefix(secret) {
		return intent{}
	}
	at, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil {
		return intent{}
	}
	return intent{words[2], time.Unix(at, 0)}
}

// attempt is the machine's time limit for one call of the engine.
const attempt = 15 * time.Second

// explains reports whether a key is the one that the call logged in with, or was created while the call may have been
// running. A concurrent call may write its note after the key was created, so the difference may have either sign.
func (i intent) explains(id string, created time.Time) bool {
	return i.login != "" && (id == i.login || created.Sub(i.at).Abs() <= attempt)
}
