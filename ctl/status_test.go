package ctl

import (
	"strings"
	"testing"
	"time"

	"example.com/rotator/rotation/operator"
)

func TestJudge(t *testing.T) {
	now := time.Now()
	at := func(ago time.Duration) *time.Time { then := now.Add(-ago); return &then }
	current := labeled{ID: "c", Labels: []string{"AWSCURRENT"}, Created: at(time.Hour)}
	empty := labeled{ID: "p", Labels: []string{"AWSPENDING"}}
	filled := func(ago time.Duration) labeled {
		return labeled{ID: "p", Labels: []string{"AWSPENDING"}, Created: at(ago)}
	}
	for _, c := range []struct {
		name   string
		s      status
		check  string
		state  operator.State
		says   string
		advice string
	}{
		{"nothing", status{Enabled: true, Versions: []labeled{current}},
			"rotation", operator.OK, "no rotation is under way", ""},
		{"began", status{Enabled: true, changed: *at(time.Minute), Versions: []labeled{current, empty}},
			"rotation", operator.OK, "under way since", ""},
		{"createSecret fails", status{Enabled: true, changed: *at(time.Hour), Versions: []labeled{current, empty}},
			"rotation", operator.Failed, "no value yet", "rotatorctl check"},
		{"setSecret at work", status{Enabled: true, Versions: []labeled{current, filled(time.Minute)}},
			"rotation", operator.OK, "(1 minute ago)", ""},
		{"setSecret fails", status{Enabled: true, Versions: []labeled{current, filled(time.Hour)}},
			"rotation", operator.Failed, "stuck since", "rotatorctl check"},
		{"canceled", status{Versions: []labeled{current, filled(time.Minute)}},
			"rotation", operator.Failed, "was canceled", "recover"},
		{"no value", status{}, "labels", operator.Failed, "no version is AWSCURRENT", "put-secret-value"},
		{"one second late", status{Enabled: true, Next: at(time.Second), Versions: []labeled{current}},
			"schedule", operator.Failed, "has not succeeded", "rotatorctl check"},
		{"on time", status{Enabled: true, Next: at(-time.Hour), Versions: []labeled{current}},
			"schedule", operator.OK, "is due by", ""},
		{"off", status{Versions: []labeled{current}}, "schedule", operator.Skipped, "rotation is off", ""},
		{"to be deleted", status{Deletion: at(-time.Hour), Versions: []labeled{current}},
			"secret", operator.Failed, "will be deleted at", "restore-secret"},
		{"managed", status{Manager: "rds", Versions: []labeled{current}}, "secret", operator.OK, "managed by rds", ""},
	} {
		for _, f := range c.s.judge(now) {
			if f.Check != c.check {
				continue
			}
			if f.State != c.state || !strings.Contains(f.Message, c.says) || !strings.Contains(f.Advice, c.advice) {
				t.Errorf("%s: %+v", c.name, f)
			}
		}
	}
}
