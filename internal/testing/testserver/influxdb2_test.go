package testserver

import (
	"net/http"
	"testing"
)

func TestInfluxDB2(t *testing.T) {
	s := During(startInfluxDB2)(t, struct{}{})
	if status, err := s.SignIn(t.Context(), s.User, s.Password); status != http.StatusNoContent {
		t.Errorf("the password: %d, %v", status, err)
	}
	if status, err := s.SignIn(t.Context(), s.User, "wrong"); status != http.StatusUnauthorized {
		t.Errorf("a wrong password: %d, %v", status, err)
	}
	for token, want := range map[string]int{s.Token: http.StatusOK, "wrong": http.StatusUnauthorized} {
		if status, body, err := s.Call(t.Context(), token, http.MethodGet, "/api/v2/orgs", nil); status != want {
			t.Errorf("orgs: %d, %v: %s", status, err, body)
		}
	}
	CheckTLS(t, &s.Server)
	CheckStop(t, &s.Server)
}
