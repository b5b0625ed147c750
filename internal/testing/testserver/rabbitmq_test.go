package testserver

import (
	"net/http"
	"testing"
)

func TestRabbitMQ(t *testing.T) {
	s := RabbitMQ(t, RabbitMQOptions{})
	app := Unique("app")
	if status, body := s.Call(t, http.MethodPut, "/api/users/"+app, map[string]string{
		"password": "fixture", "tags": "monitoring",
	}); status != http.StatusCreated {
		t.Errorf("create a user: %d %s", status, body)
	}
	if status, body := s.Call(t, http.MethodGet, "/api/users/"+app, nil); status != http.StatusOK {
		t.Errorf("read it: %d %s", status, body)
	}
	CheckTLS(t, &s.Server)
	CheckStop(t, &s.Server)
}
