package enginetest

// Recent holds the users that a harness created last. The suite creates hundreds, which slows some
// servers down. All but the last two belong to finished tests and can be dropped.
type Recent []string

// Add adds a new user's name and returns the name of a user to drop, or "".
func (r *Recent) Add(name string) string {
	*r = append(*r, name)
	if len(*r) < 3 {
		return ""
	}
	old := (*r)[0]
	*r = (*r)[1:]
	return old
}
