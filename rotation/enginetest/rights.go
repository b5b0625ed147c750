package enginetest

import (
	"context"
	"fmt"
	"testing"
)

// rights runs the application before the first rotation and after each of three, with the current
// value and, if users alternate, with the previous one.
func rights(t testing.TB, h Harness) error {
	application, ok := h.(Workload)
	if !ok {
		return nil
	}
	w, err := newWorld(t, h)
	if err != nil {
		return err
	}
	labels := []string{"AWSCURRENT"}
	for rotations := range 4 {
		if rotations > 0 {
			if err := w.rotate(); err != nil {
				return err
			}
			if w.alternates() {
				labels = []string{"AWSCURRENT", "AWSPREVIOUS"}
			}
		}
		for _, label := range labels {
			v, err := w.labeled(label)
			if err != nil {
				return err
			}
			if err := application.Work(context.Background(), w.direct(v.value)); err != nil {
				return fmt.Errorf("the application with %s after %d rotations: %w", label, rotations, err)
			}
		}
	}
	return nil
}
