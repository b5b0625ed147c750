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

// resolve returns what a pointer leads to in decoded JSON, or nil; "" is the whole.
func resolve(x any, pointer string) any {
	if pointer == "" {
		return x
	}
	for _, token := range strings.Split(pointer[1:], "/") {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch at := x.(type) {
		case map[string]any:
			x = at[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(at) || strconv.Itoa(i) != token {
				return nil
			}
			x = at[i]
		default:
			return nil
		}
	}
	return x
}

// scalar returns the string or the number that a pointer leads to, as a text that is not empty. Its length is bounded.
func scalar(x any, pointer string) (text string, number, ok bool) {
	switch x := resolve(x, pointer).(type) {
	case string:
		return x, false, x != "" && len(x) <= 16<<10
	case json.Number:
		return x.String(), true, len(x) <= 64
	}
	return "", false, false
}
