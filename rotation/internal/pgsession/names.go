package pgsession

import "strings"

// Names splits a list of names as the server writes it: separated by commas, in
// double quotes where needed.
func Names(list string) []string {
	var out []string
	var item strings.Builder
	quoted, any := false, false
	flush := func() {
		if any {
			out = append(out, item.String())
		}
		item.Reset()
		any = false
	}
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '"' && quoted && i+1 < len(list) && list[i+1] == '"':
			item.WriteByte(c)
			i++
		case c == '"':
			quoted = !quoted
			any = true
		case c == ',' && !quoted:
			flush()
		case c == ' ' && !quoted:
		default:
			item.WriteByte(c)
			any = true
		}
	}
	flush()
	return out
}
