// Package awserror says what AWS's SDK says in the words that a person needs: the
// service's code and message, and the request's id where the fault is the service's
// own. The SDK's text begins with the layers that an error came through.
package awserror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// Brief returns err with a short text; what it wraps stays the same. What is no
// error of a call of the SDK is returned as it is.
func Brief(err error) error {
	var first, last *smithy.OperationError
	for at := err; errors.As(at, &last); at = last.Err {
		first = cmp.Or(first, last)
	}
	if first == nil {
		return err
	}
	text := ""
	if last != first {
		// Such as AssumeRole, without which the call itself was not made.
		text = last.Operation() + ": "
	}
	r, answered := errors.AsType[*awshttp.ResponseError](err)
	api, ok := errors.AsType[smithy.APIError](err)
	if answered && r.HTTPStatusCode() > 0 && (!ok || api.ErrorCode() == "UnknownError") {
		// A proxy's answer, or that of something else at the address.
		return brief{fmt.Sprintf("%sthe answer, with the HTTP status %d, is none of the service's", text, r.HTTPStatusCode()), err}
	}
	if ok {
		text += api.ErrorCode() + ": " + api.ErrorMessage()
		if answered && r.HTTPStatusCode() >= 500 && r.ServiceRequestID() != "" {
			// Only AWS can tell more of its own failure.
			text += " [request " + r.ServiceRequestID() + "]"
		}
		return brief{text, err}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return brief{text + "no answer in time", err}
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		// The address says which host, and its path says nothing.
		if at, perr := url.Parse(u.URL); perr == nil {
			text += at.Scheme + "://" + at.Host + ": "
		}
		return brief{text + u.Err.Error(), err}
	}
	if n, ok := errors.AsType[net.Error](err); ok {
		return brief{text + n.Error(), err}
	}
	return brief{text + last.Err.Error(), err}
}

type brief struct {
	text string
	err  error
}

func (b brief) Error() string { return b.text }
func (b brief) Unwrap() error { return b.err }
