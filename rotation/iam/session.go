package iam

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/awsapi"
	"example.com/rotator/rotation/internal/httpapi"
)

// session is a key that STS has accepted, with a client for what is to be done.
type session struct {
	engine  *Engine
	request *engine.Request
	login   login
	user    string // the user's ARN
	client  *iam.Client

	// What IAM knows of the user, once look has read it.
	keys   map[string]key // by their ids
	intent intent
	noted  string    // the intent as it stands in the tag, "" where there is none
	now    time.Time // on IAM's clock
}

// key is an access key as IAM lists it.
type key struct {
	active  bool
	created time.Time
}

// acting opens a session with r.Login and looks.
func (e *Engine) acting(ctx context.Context, r *engine.Request) (*session, error) {
	s, err := e.open(ctx, r, r.Login)
	if err == nil {
		err = s.look(ctx)
	}
	return s, err
}

// open asks STS whether the key is valid and its user's. The cause is LoginRefused only where STS says
// that the key or its signature is wrong.
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
	if a, err := arn.Parse(s.user); err != nil || !strings.HasPrefix(a.Resource, "user/") || a.Resource[strings.LastIndexByte(a.Resource, '/')+1:] != l.user {
		return nil, engine.Errorf(engine.InvalidSecret, "put the key's own user into the field "+userField, "the access key %s is of %s and not of the user %q", l.id, s.user, l.user)
	}
	if !e.byRole {
		return s, nil
	}
	// A user of the same name in the role's account must not be taken for the key's: anybody can create
	// a user of any name in an own account.
	role, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return nil, awsapi.Failed("STS does not accept the function's credentials", err)
	}
	if own, keys := aws.ToString(role.Account), aws.ToString(who.Account); own != keys {
		return nil, engine.Errorf(engine.InvalidSecret, "rotate the secret by a role of the key's account, or let the key act", "the access key %s is of the account %s and the function acts in %s", l.id, keys, own)
	}
	s.client = iam.NewFromConfig(cfg)
	return s, nil
}

// refused gives STS's answer to the secret's own key its cause.
func refused(id string, err error) error {
	what := "STS does not accept the access key " + id
	err = httpapi.Shorten(err)
	signature := awsapi.Code(err) == "SignatureDoesNotMatch"
	switch text := err.Error(); {
	case signature && (strings.Contains(text, "expired") || strings.Contains(text, "not yet current")):
		return engine.Errorf(engine.TargetFailed, "set the clock of the machine", "%s: %w", what, err)
	case signature || awsapi.Code(err) == "InvalidClientTokenId":
		return engine.Errorf(engine.LoginRefused, "check that the key exists and is active; IAM may take a while to know a new one", "%s: %w", what, err)
	}
	return awsapi.Failed(what, err)
}

// look reads the intent and then the keys, as they are written in this order. Of both there is one page:
// IAM allows 50 tags and two keys.
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

// list reads the keys.
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

// await lists the keys until one is there, and returns it, or until it is gone: a list may lag for some
// seconds. The error has the cause Unsettled where ctx is nearly done before.
func (s *session) await(ctx context.Context, id string, there bool) (key, error) {
	for wait := moment / 8; ; wait = min(2*wait, moment) {
		if err := s.list(ctx); err != nil {
			return key{}, err
		}
		if k, ok := s.keys[id]; ok == there {
			return k, nil
		}
		if httpapi.Wait(ctx, wait) != nil {
			return key{}, unsettled("IAM's list of the keys of %q is behind for the access key %s", s.login.user, id)
		}
	}
}

// unsettled returns an error that passes.
func unsettled(format string, args ...any) error {
	return engine.Errorf(engine.Unsettled, "wait: Secrets Manager repeats the rotation by itself", format, args...)
}

// note writes the intent's tag.
func (s *session) note(ctx context.Context, text string) error {
	_, err := s.client.TagUser(ctx, &iam.TagUserInput{UserName: &s.login.user, Tags: []types.Tag{{Key: aws.String(intentTag), Value: &text}}})
	return s.failed("TagUser", err)
}

// create makes a key. Only a call that was turned away is repeated: each one that arrives makes a key.
func (s *session) create(ctx context.Context) (id, secret string, err error) {
	out, err := s.client.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &s.login.user}, func(o *iam.Options) {
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.Retryables = []retry.IsErrorRetryable{retry.RetryableErrorCode{Codes: retry.DefaultThrottleErrorCodes}}
		})
	})
	if _, full := errors.AsType[*types.LimitExceededException](err); full {
		// The list that was just read had one key.
		return "", "", unsettled("the user %q has just got a second access key: %w", s.login.user, err)
	}
	if err != nil {
		return "", "", s.failed("CreateAccessKey", err)
	}
	return aws.ToString(out.AccessKey.AccessKeyId), aws.ToString(out.AccessKey.SecretAccessKey), nil
}

// turnedAway reports whether IAM has answered that it changed nothing. After a status of 500 or more,
// and without an answer, nobody knows.
func turnedAway(err error) bool {
	e, ok := errors.AsType[*smithyhttp.ResponseError](err)
	return ok && e.HTTPStatusCode() >= 400 && e.HTTPStatusCode() < 500
}

// deactivate makes a key inactive that may be gone.
func (s *session) deactivate(ctx context.Context, id string) error {
	_, err := s.client.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: &s.login.user, AccessKeyId: &id, Status: types.StatusTypeInactive})
	return s.ended("UpdateAccessKey", err)
}

// delete deletes a key that may be gone.
func (s *session) delete(ctx context.Context, id string) error {
	_, err := s.client.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &s.login.user, AccessKeyId: &id})
	return s.ended("DeleteAccessKey", err)
}

func (s *session) ended(operation string, err error) error {
	if _, gone := errors.AsType[*types.NoSuchEntityException](err); gone {
		return nil
	}
	return s.failed(operation, err)
}

// failed classifies an error of IAM. None is a refusal of the login, which STS has accepted: IAM, which
// is another system, may not know a new key yet.
func (s *session) failed(operation string, err error) error {
	what := "IAM's " + operation + " for the user " + strconv.Quote(s.login.user) + " failed"
	switch {
	case err == nil:
		return nil
	case awsapi.Code(err) == "InvalidClientTokenId":
		return engine.Errorf(engine.TargetFailed, "try again: IAM may take a while to know a new key", "%s: %w", what, err)
	}
	return awsapi.Failed(what, err)
}

// intentTag is the key of the tag at the user that says what the last rotation was about to do.
const intentTag = "rotator:intent"

// intent says that a call for a version of this secret, which acted by the key
// login, was about to make a key at a time on IAM's clock.
type intent struct {
	login   string
	version string
	at      time.Time
}

// digest stands for a secret in the tag: its ARN may be too long, and have characters that a tag must not have.
func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:8])
}

// text returns the tag's value.
func (i intent) text(secret string) string {
	return fmt.Sprintf("%s %d %s %s", digest(secret), i.at.Unix(), i.login, i.version)
}

// readIntent reads a tag's value. One of another secret or form is the zero intent, which explains nothing.
func readIntent(secret, text string) intent {
	words := strings.Split(text, " ")
	if len(words) != 4 || words[0] != digest(secret) {
		return intent{}
	}
	at, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil || words[2] == "" {
		return intent{}
	}
	return intent{login: words[2], version: words[3], at: time.Unix(at, 0)}
}

// attempt is as long as a call of the engine takes at most, the core's patience.
const attempt = 15 * time.Second

// explains reports whether a key is the one that the call acted by, or the one that it made: created
// while the call can have been at work. A key made later is somebody else's. Concurrent calls may have
// noted after one of them made its key, so the time counts both ways.
func (i intent) explains(id string, created time.Time) bool {
	return i.login != "" && (id == i.login || created.Sub(i.at).Abs() <= attempt)
}
