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
	"example.com/rotator/rotation/engine"
	"example.com/rotator/sim"
)

// taken is a step that has ended.
type taken struct {
	version, step string       // step is "" for the rotation as a whole
	cause         engine.Cause // of a failure, or ""
	message       string
}

// record returns the steps that ended after begin, oldest first. Secrets Manager does not show them.
type record func(ctx context.Context, begin time.Time) ([]taken, error)

// recordOf returns the record of a secret: the simulator's or, on AWS, the function's log group.
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
	return func(ctx context.Context, begin time.Time) ([]taken, error) {
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
		var history []sim.Happened
		if err := json.NewDecoder(answer.Body).Decode(&history); err != nil {
			return nil, err
		}
		var steps []taken
		for _, h := range history {
			switch {
			case h.Step != "":
				steps = append(steps, taken{h.Version, h.Step, causeOf(h.Cause, h.Message), h.Message})
			case strings.HasSuffix(h.Event, "RotationFailed"): // if no step has failed, the label was not moved
				steps = append(steps, taken{h.Version, "", engine.InternalError, h.Message})
			}
		}
		return steps, nil
	}
}

// causeOf returns the cause of a function's error. The errors of other functions may have none.
func causeOf(cause, message string) engine.Cause {
	if cause == "" && message != "" {
		return engine.TargetFailed
	}
	return engine.Cause(cause)
}

// logRecord reads the lines "step done" and "step failed" in the log of this function. Other functions,
// such as AWS's templates, do not write them.
func logRecord(cfg aws.Config, secret, function, group string) record {
	if a, err := arn.Parse(function); err == nil {
		cfg.Region = a.Region
	}
	group = cmp.Or(group, "/aws/lambda/"+fleet.FunctionName(function))
	client := cloudwatchlogs.NewFromConfig(cfg)
	return func(ctx context.Context, begin time.Time) ([]taken, error) {
		in := &cloudwatchlogs.FilterLogEventsInput{LogGroupName: &group, StartTime: aws.Int64(begin.UnixMilli()),
			FilterPattern: aws.String(fmt.Sprintf(`{ $.secret = %q && $.message = "step *" }`, secret))}
		var steps []taken
		for pages := cloudwatchlogs.NewFilterLogEventsPaginator(client, in); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, fmt.Errorf("cannot read the log group %s: %w", group, awserror.Brief(err))
			}
			for _, e := range page.Events {
				var line struct{ Version, Step, Cause, Error string }
				if json.Unmarshal([]byte(aws.ToString(e.Message)), &line) == nil {
					steps = append(steps, taken{line.Version, line.Step, causeOf(line.Cause, line.Error), line.Error})
				}
			}
		}
		return steps, nil
	}
}
