package influxdb2

import (
	"context"
	"fmt"

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
	const what = "the address of the instance %q cannot be found"
	if code := awsapi.Code(err); code == "ResourceNotFoundException" || code == "ValidationException" {
		return "", engine.Errorf(engine.InvalidSecret, "correct "+instanceField+", or name the server in host",
			what+": %w", l.instance, boundconn.Shorten(err))
	}
	if err != nil {
		return "", awsapi.Failed(fmt.Sprintf(what, l.instance), err)
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
