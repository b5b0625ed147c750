// Package errtree looks for errors that have nothing to be known by but their text.
package errtree

// Any reports whether the text of err fits, or that of an error in it. A text that has to fit as a whole, or from its
// beginning, cannot be brought about by the names that outer errors quote, which whoever writes the secret has chosen.
func Any(err error, fits func(text string) bool) bool {
	if err == nil {
		return false
	}
	if fits(err.Error()) {
		return true
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return Any(e.Unwrap(), fits)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if Any(inner, fits) {
				return true
			}
		}
	}
	return false
}

// Is reports whether err, or an error in it, has exactly this text.
func Is(err error, text string) bool {
	return Any(err, func(s string) bool { return s == text })
}
