package pgsession

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestServersMessagesAreShownWithoutTexts(t *testing.T) {
	err := &pgconn.PgError{Severity: "ERROR", Code: "22023", Message: `invalid value for parameter "app.key": "hunter-2"`}
	got := Without(err, []string{"hunter-2", "in"})
	if want := `ERROR: invalid value for parameter "app.key": "…" (SQLSTATE 22023)`; got.Error() != want || Code(got) != "22023" {
		t.Errorf("%v, want %s", got, want)
	}
	if Without(nil, nil) != nil {
		t.Error("no error became one")
	}
}
