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

// RemoteFunction is a function behind Lambda's Invoke API, as `sam local
// start-lambda` serves it.
type RemoteFunction struct {
	url     string
	timeout time.Duration
}

// longest is the greatest time-out that a function of Lambda can have.
// Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const longest = 15 * time.Minute

// Remote returns the function with the given ARN at the base URL. Its host keeps its
// time-out; a host that does not answer is given up after the longest that Lambda has.
// An alias or a version in the ARN is left out, as SAM takes none.
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

// Invoke calls the function and waits for its answer. When ctx ends the call is cut
// off; what the host does with the function then is the host's.
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
	// SAM answers a time-out, and nothing else, without the header and with no
	// JSON at all.
	if functionError == "" && !json.Valid(body) {
		functionError = "Unhandled"
	}
	return body, functionError, nil
}
