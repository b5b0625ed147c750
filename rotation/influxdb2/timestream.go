package influxdb2

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/timestreaminfluxdb"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/awsapi"
	"example.com/rotator/rotation/internal/boundconn"
)

// locate sets the address of a login without a host to its instance's, and returns the ARN of the secret that AWS
// created for the instance.
// Source: https://docs.aws.amazon.com/ts-influxdb/latest/ts-influxdb-api/API_GetDbInstance.html
func (s server) locate(ctx context.Context, r *engine.Request, l *login) (secret string, err error) {
	if l.Host != "" {
		return "", nil
	}
	cfg, err := s.settings.Config(ctx, r.Secret)
	if err != nil {
		return "", err
	}
	i, err := timestreaminfluxdb.NewFromConfig(cfg).
		GetDbInstance(ctx, &timestreaminfluxdb.GetDbInstanceInput{Identifier: &l.instance})
	if err != nil {
		return "", notFound(l.instance, err)
	}
	if l.Host = aws.ToString(i.Endpoint); l.Host == "" {
		return "", engine.Errorf(engine.TargetFailed, "wait until the instance is available",
			"the instance %q has no endpoint: its status is %s", l.instance, i.Status)
	}
	if i.Port != nil {
		l.Port = int(*i.Port)
	}
	return aws.ToString(i.InfluxAuthParametersSecretArn), nil
}

func notFound(instance string, err error) error {
	const what = "the address of the instance %q cannot be found: %w"
	switch code := awsapi.Code(err); {
	case code == "ResourceNotFoundException" || code == "ValidationException":
		return engine.Errorf(engine.InvalidSecret, "correct "+instanceField+", or name the server in host", what,
			instance, boundconn.Shorten(err))
	case strings.HasPrefix(code, "AccessDenied"):
		return engine.Errorf(engine.PrivilegeMissing,
			"allow timestream-influxdb:GetDbInstance to the role that the secret is rotated with, or set host",
			what, instance, boundconn.Shorten(err))
	}
	return awsapi.Failed("the address of the instance "+instance+" cannot be found", err)
}

// needs adds the permission to find the secret's instance. note describes what the server requires.
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
	n.Permissions = append(n.Permissions,
		engine.Permission{Sid: "InfluxDBInstance", Actions: []string{"timestream-influxdb:GetDbInstance"},
			Resources: []string{awsapi.Resource(r.Secret, "timestream-influxdb", "db-instance/"+l.instance)}})
	return nil
}
