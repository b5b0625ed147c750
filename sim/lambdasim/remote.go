package lambdasim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// RemoteFunction is a function behind a server of Lambda's Invoke API, such as `sam local start-lambda`.
type RemoteFunction struct {
	url     string
	timeout time.Duration
}

// longest is the maximum timeout of a Lambda function.
// Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const longest = 15 * time.Minute

// Remote returns the function with an ARN at a base URL. The host enforces its timeout; a call without a response fails
// after Lambda's maximum. An alias or version in the ARN is dropped, because SAM does not support them.
func Remote(base, arn string) (*RemoteFunction, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%q is not a URL", base)
	}
	part := strings.Split(arn, ":")
	if len(part) < 7 {
		return nil, notARN(arn)
	}
	return &RemoteFunction{u.JoinPath("2015-03-31", "functions", part[6], "invocations").String(), longest}, nil
}

// Invoke calls the function and waits for its response. When ctx ends, the call ends, but not necessarily the function.
// Source: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
func (f *RemoteFunction) Invoke(ctx context.Context, payload []byte) (body []byte, functionError string, err error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, bytes.NewReader(payload))
	if err != nil {
		return nil, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(io.LimitReader(resp.Body, 6<<20)); err != nil {
		return nil, "", err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("the function's host answered %s", resp.Status)
	}
	functionError = resp.Header.Get("X-Amz-Function-Error")
	// SAM reports a timeout without the header, and not as JSON.
	if functionError == "" && !json.Valid(body) {
		functionError = "Unhandled"
	}
	return body, functionError, nil
}
