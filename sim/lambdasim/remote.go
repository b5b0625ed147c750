package lambdasim

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"example.com/rotator/sim"
)

// longest is the maximum timeout of a Lambda function.
// Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const longest = 15 * time.Minute

// Remote returns the function with an ARN behind a server of Lambda's Invoke API, such as `sam local start-lambda`. The
// server enforces the function's timeout. An alias or version in the ARN is dropped, because SAM does not support them.
func Remote(base, arn string) (sim.InvokerFunc, error) {
	if u, err := url.Parse(base); err != nil || u.Host == "" {
		return nil, fmt.Errorf("%q is not a URL", base)
	}
	part := strings.Split(arn, ":")
	if len(part) < 7 {
		return nil, notARN(arn)
	}
	client := lambda.New(lambda.Options{BaseEndpoint: &base, Region: part[3], Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(part[4], "simulated", "")})
	return func(ctx context.Context, payload []byte) (body []byte, functionError string, err error) {
		ctx, cancel := context.WithTimeout(ctx, longest)
		defer cancel()
		out, err := client.Invoke(ctx, &lambda.InvokeInput{FunctionName: &part[6], Payload: payload})
		if err != nil {
			return nil, "", err
		}
		// SAM reports a timeout without the header, and not as JSON.
		if out.FunctionError == nil && !json.Valid(out.Payload) {
			return out.Payload, sim.Unhandled, nil
		}
		return out.Payload, aws.ToString(out.FunctionError), nil
	}, nil
}
