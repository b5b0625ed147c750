//go:build repro

package enginetest

import "testing"

// D6: an edit by UpdateSecret between setSecret and finishSecret leaves no labelled version that opens the target.
func TestReviewEditAfterSetSecretLocksOut(t *testing.T) {
	for _, way := range []string{"UpdateSecret", "PutSecretValue", "labels"} {
		w, token := begun(t, &toyHarness{server: newToyServer(t)}, 2)
		edited := w.first.With("note", "an operator's words")
		var err error
		switch way {
		case "UpdateSecret":
			err = w.update(edited)
		case "PutSecretValue":
			err = w.put(edited, "11111111-1111-1111-1111-111111111111", "AWSCURRENT")
		default:
			err = w.replace(edited)
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // as often as Secrets Manager repeats it
			for _, s := range steps {
				if err = w.step(t.Context(), s, token); err != nil {
					break
				}
			}
		}
		if lerr := w.notLockedOut(); lerr != nil {
			t.Errorf("%s: %v (the rotation ends with %v)", way, lerr, err)
		}
	}
}
