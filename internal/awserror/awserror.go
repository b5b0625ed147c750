// Package awserror shortens errors of AWS's SDK to what a person needs: the service's code and message, and the request
// id if the service failed. The SDK's text begins with every layer that the error passed through.
package awserror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
	r, answered := errors.AsType[*awshttp.ResponseError](err)
	answered = answered && r.HTTPStatusCode() > 0
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok && errors.Is(err, context.DeadlineExceeded) {
		return brief{text + "no answer in time", err}
	}
	if answered && (!ok || api.ErrorCode() == "UnknownError") {
		// The answer of a proxy, or of something else at the address.
		what := "did not come from the service"
		// At the end of a context, the connection can be closed before the read sees the context's error.
		if _, lost := errors.AsType[*net.OpError](err); !ok && (lost || errors.Is(err, io.ErrUnexpectedEOF)) {
			what = "broke off"
		}
		return brief{fmt.Sprintf("%sthe answer, with HTTP status %d, %s", text, r.HTTPStatusCode(), what), err}
	}
	if ok {
		text += api.ErrorCode() + ": " + api.ErrorMessage()
		if answered && r.HTTPStatusCode() >= 500 && r.ServiceRequestID() != "" {
			// AWS needs the request id to explain its failure.
			text += " [request " + r.ServiceRequestID() + "]"
		}
		return brief{text, err}
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		// The host is useful; the path is not.
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
