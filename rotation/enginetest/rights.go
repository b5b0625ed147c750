package enginetest

import (
	"context"
	"testing"
)

// rights runs the application before the first rotation and after each of three, with the current
// value and, if users alternate, with the previous one.
func rights(t testing.TB, h Harness) {
	application, ok := h.(Workload)
	if !ok {
		return
	}
	w := newWorld(t, h)
	labels := []string{"AWSCURRENT"}
	for rotations := range 4 {
		if rotations > 0 {
			w.must(w.rotate(), "rotation %d", rotations)
			if w.alternates() {
				labels = []string{"AWSCURRENT", "AWSPREVIOUS"}
			}
		}
		for _, label := range labels {
			w.must(application.Work(context.Background(), w.direct(w.labeled(label).value)),
				"the application with %s after %d rotations", label, rotations)
		}
	}
}
