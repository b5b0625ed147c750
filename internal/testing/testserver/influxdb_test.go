package testserver

import (
	"net/http"
	"strings"
	"testing"
)

func TestInfluxDB(t *testing.T) {
	s := During(startInfluxDB)(t, struct{}{})
	app := Unique("app")
	if status, body := s.Query(t, s.User, s.Password,
		"CREATE USER "+app+" WITH PASSWORD 'fixture'"); status != http.StatusOK || strings.Contains(body, "error") {
		t.Errorf("create a user: %d %s", status, body)
	}
	if status, _ := s.Query(t, app, "fixture", "SHOW DATABASES"); status != http.StatusOK {
		t.Errorf("the password: %d", status)
	}
	if status, _ := s.Query(t, app, "wrong", "SHOW DATABASES"); status != http.StatusUnauthorized {
		t.Errorf("a wrong password: %d", status)
	}
	CheckTLS(t, &s.Server)
	CheckStop(t, &s.Server)
}
