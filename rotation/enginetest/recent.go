package enginetest

// Recent are the users that a harness has made of late. The suite makes hundreds,
// and some servers become slow by them: a harness drops those whose world is over,
// which is all but the last two.
type Recent []string

// Add takes a new user's name and returns the name of one to drop, or "".
func (r *Recent) Add(name string) string {
	*r = append(*r, name)
	if len(*r) < 3 {
		return ""
	}
	old := (*r)[0]
	*r = (*r)[1:]
	return old
}
