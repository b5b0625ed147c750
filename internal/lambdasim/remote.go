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
)

// RemoteFunction is a function behind Lambda's Invoke API, as `sam local
// start-lambda` serves it.
type RemoteFunction struct{ url string }

// Remote returns the function with the given ARN at the base URL.
func Remote(base, arn string) (*RemoteFunction, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%q is not a URL", base)
	}
	name := arn[strings.LastIndexByte(arn, ':')+1:]
	return &RemoteFunction{u.JoinPath("2015-03-31", "functions", name, "invocations").String()}, nil
}

// Invoke calls the function and waits for its answer.
// Source: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
func (f *RemoteFunction) Invoke(ctx context.Context, payload []byte) (body []byte, functionError string, err error) {
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
