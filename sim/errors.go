package sim

import "fmt"

// fault is an error response of the API, with the service's own code and text.
type fault struct {
	Code    string
	Message string
}

func (f *fault) Error() string { return f.Code + ": " + f.Message }

func notFound(format string, args ...any) *fault {
	return &fault{"ResourceNotFoundException", fmt.Sprintf("Secrets Manager can't find the specified "+format, args...)}
}

func invalidRequest(format string, args ...any) *fault {
	return &fault{"InvalidRequestException", fmt.Sprintf(format, args...)}
}

func invalidParameter(format string, args ...any) *fault {
	return &fault{"InvalidParameterException", fmt.Sprintf(format, args...)}
}

func validation(format string, args ...any) *fault {
	return &fault{"ValidationException", fmt.Sprintf(format, args...)}
}

func accessDenied(format string, args ...any) *fault {
	return &fault{"AccessDeniedException", fmt.Sprintf(format, args...)}
}

func markedForDeletion() *fault {
	return invalidRequest("You can't perform this operation on the secret because it was marked for deletion.")
}

func notOnReplica() *fault {
	return invalidParameter("Operation not permitted on a replica secret. Call must be made in primary secret's region.")
}

func tokenUsed(token, arn string) *fault {
	return &fault{"ResourceExistsException",
		fmt.Sprintf("You can't use ClientRequestToken %s because that value is already in use for a version of "+
			"secret %s.", token, arn)}
}
