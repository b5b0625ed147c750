package iam

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/httpapi"
)

// session is a key that STS has accepted, with a client for what is to be done.
type session struct {
	login  login
	secret string
	user   string // the user's ARN
	client *iam.Client
}

// open asks STS whether the key is valid and its user's. The error has the cause
// LoginRefused only where STS says that the key or its signature is wrong.
func (e *Engine) open(ctx context.Context, r *engine.Request, v engine.Value) (*session, error) {
	l, err := parse(v)
	if err != nil {
		return nil, err
	}
	cfg, err := e.settings(ctx, r.Secret)
	if err != nil {
		return nil, err
	}
	cfg.HTTPClient = httpapi.Bound(cmp.Or[aws.HTTPClient](cfg.HTTPClient, awshttp.NewBuildableClient()))
	own := cfg.Copy()
	own.Credentials = credentials.NewStaticCredentialsProvider(l.id, l.secret, "")
	who, err := sts.NewFromConfig(own).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return nil, classify("STS does not accept the access key "+l.id, err, true)
	}
	if a, err := arn.Parse(aws.ToString(who.Arn)); err != nil || !strings.HasPrefix(a.Resource, "user/") || a.Resource[strings.LastIndexByte(a.Resource, '/')+1:] != l.user {
		return nil, engine.Errorf(engine.InvalidSecret, "put the key's own user into the field "+userField, "the access key %s is of %s and not of the user %q", l.id, aws.ToString(who.Arn), l.user)
	}
	if !e.byRole {
		return &session{login: l, secret: r.Secret, user: aws.ToString(who.Arn), client: iam.NewFromConfig(own)}, nil
	}
	// A user of the same name in the role's account must not be taken for the
	// key's: whoever has an account can make a user of any name.
	role, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return nil, classify("STS does not accept the function's credentials", err, false)
	}
	if aws.ToString(role.Account) != aws.ToString(who.Account) {
		return nil, engine.Errorf(engine.InvalidSecret, "rotate the secret by a role of the key's account, or let the key act", "the access key %s is of the account %s and the function acts in %s", l.id, aws.ToString(who.Account), aws.ToString(role.Account))
	}
	return &session{login: l, secret: r.Secret, user: aws.ToString(who.Arn), client: iam.NewFromConfig(cfg)}, nil
}

// state is what IAM knows of the user.
type state struct {
	keys   []types.AccessKeyMetadata
	intent intent
	noted  string    // the intent as it stands in the tag, "" where there is none
	now    time.Time // on IAM's clock
}

// state reads the keys and the intent. Neither has more than one page: IAM allows
// two keys and 50 tags.
func (s *session) state(ctx context.Context) (state, error) {
	// The tag is read first, because it is written first.
	tags, err := s.client.ListUserTags(ctx, &iam.ListUserTagsInput{UserName: &s.login.user})
	if err != nil {
		return state{}, s.failed("ListUserTags", err)
	}
	keys, err := s.client.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &s.login.user})
	if err != nil {
		return state{}, s.failed("ListAccessKeys", err)
	}
	out := state{keys: keys.AccessKeyMetadata}
	var ok bool
	if out.now, ok = middleware.GetServerTime(keys.ResultMetadata); !ok {
		out.now = time.Now()
	}
	for _, t := range tags.Tags {
		if aws.ToString(t.Key) == intentTag {
			out.noted = aws.ToString(t.Value)
			out.intent = readIntent(s.secret, out.noted)
		}
	}
	return out, nil
}

// find returns the key with an id.
func find(keys []types.AccessKeyMetadata, id string) (types.AccessKeyMetadata, bool) {
	for _, k := range keys {
		if aws.ToString(k.AccessKeyId) == id {
			return k, true
		}
	}
	return types.AccessKeyMetadata{}, false
}

// await lists the keys until one is there, and returns it, or until it is gone: a list may lag for some
// seconds. The error has the cause Unsettled where ctx is nearly done before.
func (s *session) await(ctx context.Context, id string, there bool) (types.AccessKeyMetadata, error) {
	for wait := moment / 8; ; wait = min(2*wait, moment) {
		keys, err := s.client.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &s.login.user})
		if err != nil {
			return types.AccessKeyMetadata{}, s.failed("ListAccessKeys", err)
		}
		k, ok := find(keys.AccessKeyMetadata, id)
		if ok == there {
			return k, nil
		}
		if pause(ctx, wait) != nil {
			return k, engine.Errorf(engine.Unsettled, "wait: Secrets Manager repeats the rotation by itself", "IAM's list of the keys of %q is behind for the access key %s", s.login.user, id)
		}
	}
}

// note writes the intent's tag.
func (s *session) note(ctx context.Context, text string) error {
	_, err := s.client.TagUser(ctx, &iam.TagUserInput{UserName: &s.login.user, Tags: []types.Tag{{Key: aws.String(intentTag), Value: &text}}})
	return s.failed("TagUser", err)
}

// create makes a key. It is not repeated but for a call that was turned away:
// each one that arrives makes a key.
func (s *session) create(ctx context.Context) (id, secret string, err error) {
	out, err := s.client.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &s.login.user}, func(o *iam.Options) {
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.Retryables = []retry.IsErrorRetryable{retry.RetryableErrorCode{Codes: retry.DefaultThrottleErrorCodes}}
		})
	})
	if _, full := errors.AsType[*types.LimitExceededException](err); full {
		// The list that was just read had one key.
		return "", "", engine.Errorf(engine.Unsettled, "wait: Secrets Manager repeats the rotation by itself",
			"the user %q has got a second access key in this moment: %w", s.login.user, err)
	}
	if err != nil {
		return "", "", s.failed("CreateAccessKey", err)
	}
	return aws.ToString(out.AccessKey.AccessKeyId), aws.ToString(out.AccessKey.SecretAccessKey), nil
}

// turnedAway reports whether IAM has answered that it did not do what it was asked.
// After a status of 500 and more, and without an answer, nobody knows.
func turnedAway(err error) bool {
	e, ok := errors.AsType[*smithyhttp.ResponseError](err)
	return ok && e.HTTPStatusCode() >= 400 && e.HTTPStatusCode() < 500
}

// deactivate makes a key inactive; one that is gone is as good.
func (s *session) deactivate(ctx context.Context, id string) error {
	_, err := s.client.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: &s.login.user, AccessKeyId: &id, Status: types.StatusTypeInactive})
	return s.failed("UpdateAccessKey", unlessGone(err))
}

// delete deletes a key that may be gone already.
func (s *session) delete(ctx context.Context, id string) error {
	_, err := s.client.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &s.login.user, AccessKeyId: &id})
	return s.failed("DeleteAccessKey", unlessGone(err))
}

func unlessGone(err error) error {
	if _, gone := errors.AsType[*types.NoSuchEntityException](err); gone {
		return nil
	}
	return err
}

// failed classifies an error of IAM. A refusal is none of the login, which STS
// has accepted: IAM, which is another system, may not know a new key yet.
func (s *session) failed(operation string, err error) error {
	if err == nil {
		return nil
	}
	return classify("IAM's "+operation+" for the user "+strconv.Quote(s.login.user)+" failed", err, false)
}

// classify gives an error its cause and advice. own is set for a call signed with
// the secret's key whose refusal means that this key is not valid.
func classify(what string, err error, own bool) error {
	err = httpapi.Shorten(err)
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		if e := engine.NetworkError(endpoint(err), err); e != nil {
			return e
		}
		return engine.Errorf(engine.TargetFailed, "see the error's text", "%s: %w", what, err)
	}
	switch code := api.ErrorCode(); {
	case code == "SignatureDoesNotMatch" && (strings.Contains(api.ErrorMessage(), "expired") || strings.Contains(api.ErrorMessage(), "not yet current")):
		return engine.Errorf(engine.TargetFailed, "set the clock of the machine", "%s: %w", what, err)
	case own && (code == "InvalidClientTokenId" || code == "SignatureDoesNotMatch"):
		return engine.Errorf(engine.LoginRefused, "look whether the key exists and is active; IAM may take a while to know a new one", "%s: %w", what, err)
	case code == "InvalidClientTokenId":
		return engine.Errorf(engine.TargetFailed, "try again: IAM may take a while to know a new key", "%s: %w", what, err)
	case code == "AccessDenied" || code == "AccessDeniedException":
		return engine.Errorf(engine.PrivilegeMissing, "allow the actions that the engine's page of the documentation lists", "%s: %w", what, err)
	}
	return engine.Errorf(engine.TargetFailed, "look at the code and try again; Secrets Manager retries by itself", "%s: %w", what, err)
}

// endpoint returns where a request that got no answer was sent.
func endpoint(err error) engine.Target {
	t := engine.Target{Host: "IAM", Port: 443}
	u, ok := errors.AsType[*url.Error](err)
	if !ok {
		return t
	}
	if at, perr := url.Parse(u.URL); perr == nil {
		t.Host = at.Hostname()
		if _, port, serr := net.SplitHostPort(at.Host); serr == nil {
			t.Port, _ = strconv.Atoi(port) // parsed from a URL that was used
		}
	}
	return t
}
