package influxdb2

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/timestreaminfluxdb"
	"github.com/aws/aws-sdk-go-v2/service/timestreaminfluxdb/types"
	"github.com/aws/smithy-go"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/httpapi"
)

// locate puts the address of the login's instance into it, where it names one and
// no host, and returns the ARN of the secret that AWS made for that instance.
// Source: https://docs.aws.amazon.com/ts-influxdb/latest/ts-influxdb-api/API_GetDbInstance.html
func (s server) locate(ctx context.Context, r *engine.Request, l *login) (secret string, err error) {
	if l.Host != "" {
		return "", nil
	}
	cfg, err := s.settings(ctx, r.Secret)
	if err != nil {
		return "", err
	}
	cfg.HTTPClient = httpapi.Bound(cmp.Or[aws.HTTPClient](cfg.HTTPClient, awshttp.NewBuildableClient()))
	i, err := timestreaminfluxdb.NewFromConfig(cfg).GetDbInstance(ctx, &timestreaminfluxdb.GetDbInstanceInput{Identifier: &l.instance})
	if err != nil {
		return "", notFound(l.instance, err)
	}
	if l.Host = aws.ToString(i.Endpoint); l.Host == "" {
		return "", engine.Errorf(engine.TargetFailed, "wait until the instance is available", "the instance %q has no endpoint: its status is %s", l.instance, i.Status)
	}
	if i.Port != nil {
		l.Port = int(*i.Port)
	}
	return aws.ToString(i.InfluxAuthParametersSecretArn), nil
}

// notFound gives a failure of GetDbInstance its cause.
func notFound(instance string, err error) error {
	const what = "the address of the instance %q cannot be found: %w"
	err = httpapi.Shorten(err)
	api, ok := errors.AsType[smithy.APIError](err)
	_, absent := errors.AsType[*types.ResourceNotFoundException](err)
	_, invalid := errors.AsType[*types.ValidationException](err)
	switch {
	case absent || invalid:
		return engine.Errorf(engine.InvalidSecret, "correct "+instanceField+", or name the server in host", what, instance, err)
	case ok && api.ErrorCode() == "AccessDeniedException":
		return engine.Errorf(engine.PrivilegeMissing, "allow the role that the function assumes for this secret, else its own, timestream-influxdb:GetDbInstance, or name the server in host", what, instance, err)
	case !ok:
		if e := engine.NetworkError(engine.Target{Host: "Timestream", Port: 443}, err); e != nil {
			return e
		}
	}
	return engine.Errorf(engine.TargetFailed, "try again; Secrets Manager retries by itself", what, instance, err)
}

// needs adds the permission to find the secret's instance. Users and tokens need
// nothing granted: a user may change its own password, and what a token needs the
// engine's page says.
// Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazontimestreaminfluxdb.html
func (s server) needs(r *engine.Request, n *engine.Needs, note string) error {
	l, err := own(r.Current)
	if err != nil {
		return err
	}
	n.Note = note
	if l.Host != "" {
		return nil
	}
	secret, err := arn.Parse(r.Secret)
	if err != nil {
		return engine.Errorf(engine.InvalidSecret, "give the full ARN of the secret", "%q is not the ARN of a secret", r.Secret)
	}
	n.Permissions = append(n.Permissions, engine.Permission{Sid: "InfluxDBInstance", Actions: []string{"timestream-influxdb:GetDbInstance"},
		Resources: []string{fmt.Sprintf("arn:%s:timestream-influxdb:%s:%s:db-instance/%s", secret.Partition, secret.Region, secret.AccountID, l.instance)}})
	return nil
}
