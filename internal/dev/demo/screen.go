package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"example.com/rotator/sim"
)

// screen is the demo's output.
type screen struct {
	mu sync.Mutex
	w  io.Writer
	// does describes each step of the current act, and labels holds the last printed labels.
	does   map[string]string
	labels string
}

func (s *screen) print(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, format+"\n", args...)
}

func (s *screen) title(text string)               { s.print("\n%s", text) }
func (s *screen) say(format string, args ...any)  { s.print("  "+format, args...) }
func (s *screen) good(format string, args ...any) { s.print("  ok  "+format, args...) }

// legend explains the lines of a rotation.
func (s *screen) legend() {
	s.title("How to read it")
	s.say("AWSCURRENT=1a2b3c4d   the version that applications read, by the start of its ID")
	s.say("AWSPENDING            the new version; the label can remain after the rotation")
	s.say("AWSPREVIOUS           the version that was AWSCURRENT before")
	s.say("client                an application that reads AWSCURRENT and logs in, over and over")
}

// act begins a rotation. does describes its steps.
func (s *screen) act(title string, does map[string]string) {
	s.title(title)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.does = does
}

// step shows a step of a rotation, and the labels if it moved one.
func (s *screen) step(p sim.Progress) {
	if p.Step == "" {
		return
	}
	var at []string
	for _, l := range slices.Sorted(maps.Keys(p.Labels)) {
		at = append(at, l+"="+short(p.Labels[l]))
	}
	labels := strings.Join(at, "  ")
	s.mu.Lock()
	does, moved := s.does[p.Step], labels != s.labels
	s.labels = labels
	s.mu.Unlock()
	s.say("%-13s %s", p.Step, does)
	if moved {
		s.say("%-13s %s", "", labels)
	}
	if p.Message != "" {
		s.say("failed: %s", p.Message)
	}
}

// short returns the start of a version's ID.
func short(version string) string { return version[:8] }
