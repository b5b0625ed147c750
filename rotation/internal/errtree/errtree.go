// Package errtree finds errors that can be recognized only by their text.
package errtree

// Any reports whether the text of err, or of an error that it wraps, fits. If fits compares the whole text or its
// beginning, names that the secret's writer chose cannot cause a match, even where outer errors quote them.
func Any(err error, fits func(text string) bool) bool {
	if err == nil {
		return false
	}
	if fits(err.Error()) {
		return true
	}
	switch e := err.(type) { //nolint:errorlint // it walks the tree itself
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

// Is reports whether err, or an error that it wraps, has exactly this text.
func Is(err error, text string) bool {
	return Any(err, func(s string) bool { return s == text })
}
