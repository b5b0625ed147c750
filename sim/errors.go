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

// coded returns a function that formats an error response with a code.
func coded(code string) func(format string, args ...any) *fault {
	return func(format string, args ...any) *fault { return &fault{code, fmt.Sprintf(format, args...)} }
}

var (
	invalidRequest   = coded("InvalidRequestException")
	invalidParameter = coded("InvalidParameterException")
	validation       = coded("ValidationException")
	accessDenied     = coded("AccessDeniedException")
	malformed        = coded("MalformedPolicyDocumentException")
)

func markedForDeletion() *fault {
	return invalidRequest("You can't perform this operation on the secret because it was marked for deletion.")
}

func notOnReplica() *fault {
	return invalidParameter("Operation not permitted on a replica secret. Call must be made in primary secret's region.")
}

func tokenUsed(token, arn string) *fault {
	return &fault{"ResourceExistsException", "You can't use ClientRequestToken " + token +
		" because that value is already in use for a version of secret " + arn + "."}
}
