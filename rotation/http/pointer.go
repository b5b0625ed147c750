package http

import (
	"encoding/json"
	"strconv"
	"strings"

	"example.com/rotator/internal/lazyregexp"
)

// pointerForm is a JSON pointer.
// Source: https://www.rfc-editor.org/rfc/rfc6901#section-3
var pointerForm = lazyregexp.New(`^(/([^/~]|~[01])*)*$`)

// resolve returns what a pointer leads to in decoded JSON; "" is the whole.
func resolve(x any, pointer string) (any, bool) {
	if pointer == "" {
		return x, true
	}
	for _, token := range strings.Split(pointer[1:], "/") {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch at := x.(type) {
		case map[string]any:
			next, ok := at[token]
			if !ok {
				return nil, false
			}
			x = next
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(at) || strconv.Itoa(i) != token {
				return nil, false
			}
			x = at[i]
		default:
			return nil, false
		}
	}
	return x, true
}

// scalarLimit bounds a text, and numberLimit a number, in bytes.
const (
	scalarLimit = 16 << 10
	numberLimit = 64
)

// scalar returns the string or the number that a pointer leads to, as a text that
// is not empty.
func scalar(x any, pointer string) (text string, number, ok bool) {
	x, ok = resolve(x, pointer)
	if !ok {
		return "", false, false
	}
	switch x := x.(type) {
	case string:
		return x, false, x != "" && len(x) <= scalarLimit
	case json.Number:
		return x.String(), true, len(x) <= numberLimit
	}
	return "", false, false
}
