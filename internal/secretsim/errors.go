package secretsim

import "fmt"

// fault is an answer of the API that is not success: its code and its text are
// the service's own.
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

// constraint is the front end's answer to a member that its model does not allow.
func constraint(value any, path, rule string) *fault {
	return validation("1 validation error detected: Value '%v' at '%s' failed to satisfy constraint: Member must %s", value, path, rule)
}
