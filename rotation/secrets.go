package rotation

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"

	"example.com/rotator/internal/awserror"
	"example.com/rotator/rotation/engine"
)

// The staging labels that Secrets Manager itself uses.
const (
	awsCurrent  = "AWSCURRENT"
	awsPending  = "AWSPENDING"
	awsPrevious = "AWSPREVIOUS"
)

// errAbsent replaces GetSecretValue's ResourceNotFoundException.
var errAbsent = errors.New("no such version, or it has no value")

// version is one version of a secret.
type version struct {
	arn, id string
	created time.Time
	value   engine.Value
}

// secret is one secret in Secrets Manager.
type secret struct {
	api *secretsmanager.Client
	arn string
	see func(engine.Value) // called with every value that is read, to keep it out of errors
}

// description is what DescribeSecret returns.
type description struct {
	enabled bool
	labels  map[string][]string // by version id
	tags    map[string]string
	key     string // as in DescribeSecret; "" for the account's default key
	// manager is the service, such as rds, or the partner integration that created and therefore rotates the secret.
	// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/service-linked-secrets.html,
	// https://docs.aws.amazon.com/secretsmanager/latest/userguide/managed-external-secrets.html
	manager  string
	deletion time.Time // when the secret will be deleted, if that is scheduled
}

// holder returns the id of the version that has the label, or "".
func (d description) holder(label string) string {
	for id, labels := range d.labels {
		if slices.Contains(labels, label) {
			return id
		}
	}
	return ""
}

// open returns a secret with a client for it.
func (r *run) open(ctx context.Context, arn string) (*secret, error) {
	api, err := r.cfg.Secrets(ctx, arn)
	if err != nil {
		return nil, secretsManagerError("open", arn, err)
	}
	return &secret{api: api, arn: arn, see: r.see}, nil
}

func (s *secret) describe(ctx context.Context) (description, error) {
	out, err := s.api.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &s.arn})
	if err != nil {
		return description{}, secretsManagerError("DescribeSecret", s.arn, err)
	}
	d := description{enabled: aws.ToBool(out.RotationEnabled), labels: out.VersionIdsToStages,
		key: aws.ToString(out.KmsKeyId), deletion: aws.ToTime(out.DeletedDate), tags: make(map[string]string),
		manager: cmp.Or(aws.ToString(out.OwningService), aws.ToString(out.Type))}
	for _, t := range out.Tags {
		d.tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return d, nil
}

// get reads a version by its id, its label or both; "" omits one. It returns errAbsent if there is no such version, or
// it has no value yet.
func (s *secret) get(ctx context.Context, id, label string) (version, error) {
	in := &secretsmanager.GetSecretValueInput{SecretId: &s.arn}
	if id != "" {
		in.VersionId = &id
	}
	if label != "" {
		in.VersionStage = &label
	}
	out, err := s.api.GetSecretValue(ctx, in)
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return version{}, errAbsent
	}
	if err != nil {
		return version{}, secretsManagerError("GetSecretValue", s.arn, err)
	}
	v := version{arn: aws.ToString(out.ARN), id: aws.ToString(out.VersionId), created: aws.ToTime(out.CreatedDate)}
	if out.SecretString != nil {
		v.value = engine.StringValue(*out.SecretString)
	} else {
		v.value = engine.BinaryValue(out.SecretBinary)
	}
	s.see(v.value)
	return v, nil
}

// await is get for a version that must exist. Reads of Secrets Manager may briefly lag behind writes, so an absent
// version is retried for five seconds.
func (s *secret) await(ctx context.Context, id, label string) (version, error) {
	end := time.Now().Add(5 * time.Second)
	for pause := 50 * time.Millisecond; ; pause *= 2 {
		v, err := s.get(ctx, id, label)
		if !errors.Is(err, errAbsent) || time.Until(end) < pause || sleep(ctx, pause) != nil {
			return v, err
		}
	}
}

// sleep waits for d or until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// current reads the version labeled AWSCURRENT. It returns errDone if that is the event's version: another call has
// finished this rotation.
func (r *run) current(ctx context.Context) (version, error) {
	v, err := r.secret.get(ctx, "", awsCurrent)
	if err == nil && v.id == r.event.ClientRequestToken {
		return v, errDone
	}
	if errors.Is(err, errAbsent) {
		return v, engine.Errorf(engine.InvalidSecret, "store a first value in the secret",
			"the secret %s has no current value", r.secret.arn)
	}
	if err == nil {
		r.seen.Age = time.Since(v.created)
	}
	return v, err
}

// latest is current, but waits until it agrees with the labels in DescribeSecret. Reads of Secrets Manager may briefly
// lag behind writes, and a value made from the previous version would later count as outdated.
func (r *run) latest(ctx context.Context) (version, error) {
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		v, err := r.current(ctx)
		if err != nil || v.id == r.described.holder(awsCurrent) || pause > 2*time.Second || sleep(ctx, pause) != nil {
			return v, err
		}
		if r.described, err = r.secret.describe(ctx); err != nil {
			return v, err
		}
	}
}

// former is get for a version that was AWSCURRENT before. It also returns errAbsent if that version cannot be decrypted:
// the secret may have had another key then.
func (r *run) former(ctx context.Context, id, label string) (version, error) {
	v, err := r.secret.get(ctx, id, label)
	if undecipherable(err) {
		r.log.Warn("version skipped: it cannot be decrypted", "credential", cmp.Or(label, "version "+id))
		return v, errAbsent
	}
	return v, err
}

// readPrevious reads the version labeled AWSPREVIOUS into the request of a Minter.
func (r *run) readPrevious(ctx context.Context, req *engine.Request) error {
	if _, ok := r.engine.(engine.Minter); !ok {
		return nil
	}
	v, err := r.former(ctx, "", awsPrevious)
	if errors.Is(err, errAbsent) {
		return nil
	}
	req.Previous = v.value
	return err
}

// user returns the user that a value names.
func (r *run) user(v engine.Value) string {
	user, _ := v.Text(r.kind.UserField)
	return user
}

// put stores the pending value under the event's token. It returns false without an error if the version exists with
// another value: the step ran twice, and the first value counts.
func (s *secret) put(ctx context.Context, token string, rotation, v engine.Value) (stored bool, err error) {
	in := &secretsmanager.PutSecretValueInput{SecretId: &s.arn, ClientRequestToken: &token,
		VersionStages: []string{awsPending}}
	if v.IsBinary() {
		in.SecretBinary = v.Reveal()
	} else {
		in.SecretString = aws.String(string(v.Reveal()))
	}
	// The API rejects an empty token: it requires 36 characters.
	if t := string(rotation.Reveal()); t != "" {
		in.RotationToken = &t
	}
	_, err = s.api.PutSecretValue(ctx, in)
	if _, ok := errors.AsType[*types.ResourceExistsException](err); ok {
		return false, nil
	}
	if err != nil {
		return false, secretsManagerError("PutSecretValue", s.arn, err)
	}
	return true, nil
}

// move moves a staging label between versions; "" means no version. It fails if the label is not on version from when
// the call arrives.
func (s *secret) move(ctx context.Context, label, to, from string) error {
	in := &secretsmanager.UpdateSecretVersionStageInput{SecretId: &s.arn, VersionStage: &label}
	if to != "" {
		in.MoveToVersionId = &to
	}
	if from != "" {
		in.RemoveFromVersionId = &from
	}
	if _, err := s.api.UpdateSecretVersionStage(ctx, in); err != nil {
		return secretsManagerError("UpdateSecretVersionStage", s.arn, err)
	}
	return nil
}

// older returns the versions without a label, newest first, without their values.
func (s *secret) older(ctx context.Context) ([]version, error) {
	pages := secretsmanager.NewListSecretVersionIdsPaginator(s.api, &secretsmanager.ListSecretVersionIdsInput{
		SecretId: &s.arn, IncludeDeprecated: aws.Bool(true), MaxResults: aws.Int32(100)},
		func(o *secretsmanager.ListSecretVersionIdsPaginatorOptions) { o.StopOnDuplicateToken = true })
	labeled := func(l string) bool { return l == awsCurrent || l == awsPending || l == awsPrevious }
	var versions []version
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, secretsManagerError("ListSecretVersionIds", s.arn, err)
		}
		for _, v := range out.Versions {
			if !slices.ContainsFunc(v.VersionStages, labeled) {
				versions = append(versions, version{id: aws.ToString(v.VersionId), created: aws.ToTime(v.CreatedDate)})
			}
		}
	}
	slices.SortFunc(versions, func(a, b version) int { return b.created.Compare(a.created) })
	return versions, nil
}

// code returns the code of an API error, or "".
func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// denied reports whether Secrets Manager refused a call for lack of permission.
func denied(err error) bool { return strings.HasPrefix(code(err), "AccessDenied") }

// undecipherable reports whether a read failed because the version's key is gone or the caller may not use it.
func undecipherable(err error) bool {
	return denied(err) || code(err) == "DecryptionFailure" || strings.HasPrefix(code(err), "KMS")
}

const adviceReach = "check that the function can reach Secrets Manager: " +
	"in a VPC it needs an interface endpoint or a NAT gateway"

// secretsManagerError adds a cause and advice to an API error.
func secretsManagerError(operation, arn string, err error) error {
	if e, ok := errors.AsType[*engine.Error](err); ok {
		return e // from creating the client, with a better cause
	}
	call, ok := errors.AsType[*smithy.OperationError](err)
	advice := "see the message; Secrets Manager retries automatically"
	switch {
	case code(err) == "":
		advice = adviceReach
	case ok && awserror.Innermost(call).Operation() == "AssumeRole":
		advice = "allow the caller sts:AssumeRole on the role of ROTATION_ROLE_ARN, name it in that role's trust " +
			"policy, and set the same external ID in both"
	case code(err) == "ResourceNotFoundException":
		advice = "check that the secret exists in the region and account of its ARN"
	case undecipherable(err):
		advice = "allow the function's role secretsmanager:" + operation + " on this secret, and its KMS key"
	}
	return engine.Errorf(engine.SecretsManagerFailed, advice, "%s of %s: %w", operation, arn, awserror.Brief(err))
}
