package ctl

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/ctl/fleet"
	"example.com/rotator/internal/awserror"
	"example.com/rotator/sim"
)

// record returns the history of a secret, oldest first, at least since begin. Secrets Manager does not offer it.
type record func(ctx context.Context, begin time.Time) ([]sim.Progress, error)

// recordOf returns the record of a secret: from the simulator or, on AWS, from the function's log group.
func recordOf(
	ctx context.Context, cfg aws.Config, client *secretsmanager.Client, secret, function, group string,
) record {
	if base := aws.ToString(client.Options().BaseEndpoint); base != "" {
		simulated := simulatorRecord(base, secret)
		if _, err := simulated(ctx, time.Time{}); err == nil {
			return simulated
		}
	}
	return logRecord(cfg, secret, function, group)
}

// simulatorRecord reads the history that `rotatorctl sim` serves.
func simulatorRecord(base, secret string) record {
	return func(ctx context.Context, _ time.Time) (history []sim.Progress, err error) {
		address := strings.TrimSuffix(base, "/") + "/history/" + url.PathEscape(secret)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("cannot read the record of %s: %s", secret, answer.Status)
		}
		err = json.NewDecoder(answer.Body).Decode(&history)
		return history, err
	}
}

// logRecord reads the lines "step done" and "step failed" in the log of this function. Other functions,
// such as AWS's templates, do not write them.
func logRecord(cfg aws.Config, secret, function, group string) record {
	if a, err := arn.Parse(function); err == nil {
		cfg.Region = a.Region
	}
	group = cmp.Or(group, "/aws/lambda/"+fleet.FunctionName(function))
	client := cloudwatchlogs.NewFromConfig(cfg)
	return func(ctx context.Context, begin time.Time) (steps []sim.Progress, err error) {
		in := &cloudwatchlogs.FilterLogEventsInput{LogGroupName: &group, StartTime: aws.Int64(begin.UnixMilli()),
			FilterPattern: aws.String(fmt.Sprintf(`{ $.secret = %q && $.message = "step *" }`, secret))}
		for pages := cloudwatchlogs.NewFilterLogEventsPaginator(client, in); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, fmt.Errorf("cannot read the log group %s: %w", group, awserror.Brief(err))
			}
			for _, e := range page.Events {
				var line struct{ Version, Step, Cause, Error string }
				if json.Unmarshal([]byte(aws.ToString(e.Message)), &line) == nil {
					steps = append(steps, sim.Progress{
						Version: line.Version, Step: line.Step, Cause: line.Cause, Message: line.Error,
					})
				}
			}
		}
		return steps, nil
	}
}
