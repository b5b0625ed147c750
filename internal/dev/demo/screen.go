package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"example.com/rotator/sim"
)

// screen is where the demo speaks: in color on a terminal, plainly elsewhere.
type screen struct {
	mu    sync.Mutex
	w     io.Writer
	color bool
}

func newScreen(f *os.File) *screen {
	info, err := f.Stat()
	return &screen{w: f, color: err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == ""}
}

// paint writes a line, colored by an SGR code of ECMA-48.
func (s *screen) paint(code, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.color && code != "" {
		line = "\x1b[" + code + "m" + line + "\x1b[0m"
	}
	fmt.Fprintln(s.w, line)
}

func (s *screen) title(text string)              { s.paint("1", "\n"+text) }
func (s *screen) say(format string, args ...any) { s.paint("", "  "+fmt.Sprintf(format, args...)) }
func (s *screen) good(format string, args ...any) {
	s.paint("32", "  ok  "+fmt.Sprintf(format, args...))
}

// step shows a step of a rotation and where the labels are after it.
func (s *screen) step(p sim.Progress) {
	var labels []string
	for _, l := range slices.Sorted(maps.Keys(p.Labels)) {
		labels = append(labels, l+"="+p.Labels[l][:8])
	}
	line := fmt.Sprintf("  %-13s %s", p.Step, strings.Join(labels, "  "))
	if p.Err != "" {
		s.paint("31", line+"  "+p.Err)
		return
	}
	s.paint("36", line)
}
