package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// state is what a state file holds: all secrets of all accounts, by place, and the
// time of the service, which may be ahead of the machine's.
type state struct {
	Version  int
	Clock    time.Time
	Accounts map[string]map[string]*secret
}

// Load reads the state file, if there is one, and goes on with what was under way:
// rotations, schedules and recovery windows. It must be called before the service
// is used, after the functions were registered. Its clock goes on from the time of the
// file, if that is ahead.
func (s *Sim) Load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.sweep(); err != nil {
		return fmt.Errorf("cannot clean up after an earlier run: %w", err)
	}
	text, err := os.ReadFile(s.opts.StateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return s.save() // so that a place that cannot be written is found at once
	}
	if err != nil {
		return fmt.Errorf("cannot read the state: %w", err)
	}
	var st state
	if err := json.Unmarshal(text, &st); err != nil || st.Version != 1 {
		return fmt.Errorf("the state file %s is not one of this simulator", s.opts.StateFile)
	}
	if c, ok := s.clock.(*realClock); ok {
		c.notBefore(st.Clock)
	}
	for _, secrets := range st.Accounts {
		for _, sec := range secrets {
			s.add(sec) // an older version knew one region, and secrets by their names
			r := &sec.Rotation
			if r.Running {
				r.start = s.clock.Now()
				s.resume(sec) // and ends at once where the secret was deleted
			}
			_, unfinished := sec.unfinished()
			switch {
			case !sec.Deleted.IsZero():
				s.bury(sec)
			case !r.Enabled || r.Next.IsZero():
			case unfinished && !r.Running:
				s.rearm(sec) // it was given up, and its window is over
			default:
				s.arm(sec, r.Open, r.Next, s.clock.Now())
			}
		}
	}
	return nil
}

// draft is how the names of a state file's drafts begin; digits follow.
func (s *Sim) draft() string { return ".secretsim-" + filepath.Base(s.opts.StateFile) + "-" }

// sweep removes the drafts that crashes have left behind: values stand in them.
func (s *Sim) sweep() error {
	dir := filepath.Dir(s.opts.StateFile)
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), s.draft()); ok && strings.Trim(rest, "0123456789") == "" {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// keep is save where nobody waits for an answer.
func (s *Sim) keep() {
	if err := s.save(); err != nil && s.opts.Log != nil {
		s.opts.Log.Error("the state file cannot be written", "error", err)
	}
}

// save writes the state file, if there is to be one. A crash at any moment leaves
// the old or the new file whole.
func (s *Sim) save() error {
	if s.opts.StateFile == "" {
		return nil
	}
	text, err := json.Marshal(state{1, s.clock.Now(), s.accounts})
	if err != nil {
		return err
	}
	dir := filepath.Dir(s.opts.StateFile)
	f, err := os.CreateTemp(dir, s.draft()+"*") // readable by the owner alone
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), s.opts.StateFile)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
