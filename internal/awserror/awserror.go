// Package awserror shortens errors of AWS's SDK to what a person needs: the service's code and message, and the request
// id if the service failed. The SDK's text begins with every layer that the error passed through.
package awserror

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// Brief returns err with a short text; it still wraps err. An error that is not from an SDK call is returned unchanged.
func Brief(err error) error {
	first, ok := errors.AsType[*smithy.OperationError](err)
	if !ok {
		return err
	}
	last := Innermost(first)
	text := ""
	if last != first {
		// Another call, such as AssumeRole, failed before the call itself.
		text = last.Operation() + ": "
	}
	status := 0
	r, ok := errors.AsType[*awshttp.ResponseError](err)
	if ok {
		status = r.HTTPStatusCode()
	}
	api, answered := errors.AsType[smithy.APIError](err)
	connection, failed := errors.AsType[*url.Error](err)
	switch {
	case answered && api.ErrorCode() != "UnknownError":
		text += api.ErrorCode() + ": " + api.ErrorMessage()
		if status >= 500 && r.ServiceRequestID() != "" {
			// AWS needs the request id to explain its failure.
			text += " [request " + r.ServiceRequestID() + "]"
		}
	case !answered && errors.Is(err, context.DeadlineExceeded):
		text += "no answer in time"
	case status > 0:
		// The answer of a proxy, or of something else at the address.
		text += fmt.Sprintf("the answer, with HTTP status %d, broke off or did not come from the service", status)
	case failed:
		// The host is useful; the path is not.
		if at, perr := url.Parse(connection.URL); perr == nil {
			text += at.Scheme + "://" + at.Host + ": "
		}
		text += connection.Err.Error()
	default:
		text += last.Err.Error()
	}
	return brief{text, err}
}

// Innermost returns the call that failed, if one call required another, such as AssumeRole.
func Innermost(call *smithy.OperationError) *smithy.OperationError {
	for {
		inner, ok := errors.AsType[*smithy.OperationError](call.Err)
		if !ok {
			return call
		}
		call = inner
	}
}

type brief struct {
	text string
	err  error
}

func (b brief) Error() string { return b.text }
func (b brief) Unwrap() error { return b.err }
