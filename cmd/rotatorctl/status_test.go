package main

import (
	"strings"
	"testing"
	"time"
)

func TestTroubles(t *testing.T) {
	now := time.Now()
	at := func(ago time.Duration) *time.Time { then := now.Add(-ago); return &then }
	current := labeled{ID: "c", Labels: []string{"AWSCURRENT"}, Created: at(time.Hour)}
	for _, c := range []struct {
		name    string
		s       status
		changed time.Duration
		want    string
	}{
		{"nothing", status{Enabled: true, Versions: []labeled{current}}, time.Hour, ""},
		{"a rotation that has just begun", status{Enabled: true, Versions: []labeled{current, {ID: "p", Labels: []string{"AWSPENDING"}}}}, time.Minute, ""},
		{"createSecret fails", status{Enabled: true, Versions: []labeled{current, {ID: "p", Labels: []string{"AWSPENDING"}}}}, time.Hour, "createSecret has not succeeded"},
		{"setSecret at work", status{Enabled: true, Versions: []labeled{current, {ID: "p", Labels: []string{"AWSPENDING"}, Created: at(time.Minute)}}}, time.Minute, ""},
		{"setSecret fails", status{Enabled: true, Versions: []labeled{current, {ID: "p", Labels: []string{"AWSPENDING"}, Created: at(time.Hour)}}}, time.Hour, "is repeated"},
		{"canceled", status{Versions: []labeled{current, {ID: "p", Labels: []string{"AWSPENDING"}, Created: at(time.Minute)}}}, time.Minute, "canceled half-way"},
		{"no value", status{}, time.Hour, "no version is AWSCURRENT"},
		{"overdue", status{Enabled: true, Next: at(2 * time.Hour), Versions: []labeled{current}}, time.Hour, "was due"},
	} {
		got := strings.Join(c.s.troubles(now, now.Add(-c.changed)), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
