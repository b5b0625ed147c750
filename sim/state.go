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

// state is the content of a state file: all secrets of all accounts, by place, and the service's
// time, which may be ahead of the machine's.
type state struct {
	Version  int
	Clock    time.Time
	Accounts map[string]map[string]*secret
}

// Load reads the state file, if there is one, and resumes rotations, schedules and recovery
// windows. Call it after registering the functions and before using the service. If the file's time
// is ahead, the clock continues from it.
func (s *Sim) Load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.sweep(); err != nil {
		return fmt.Errorf("cannot clean up after an earlier run: %w", err)
	}
	text, err := os.ReadFile(s.opts.StateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return s.save() // detects now if the file cannot be written
	}
	if err != nil {
		return fmt.Errorf("cannot read the state: %w", err)
	}
	var st state
	if err := json.Unmarshal(text, &st); err != nil || st.Version != 1 {
		return fmt.Errorf("%s is not a state file of this simulator", s.opts.StateFile)
	}
	if c, ok := s.clock.(*realClock); ok {
		c.notBefore(st.Clock)
	}
	for _, secrets := range st.Accounts {
		for _, sec := range secrets {
			s.add(sec) // an older version had one region and stored secrets by name
			r := &sec.Rotation
			if r.Running {
				r.start = s.clock.Now()
				s.run(sec, r.Token, r.Test, 1) // ends immediately if the secret was deleted
			}
			_, unfinished := sec.unfinished()
			switch {
			case !sec.Deleted.IsZero():
				s.bury(sec)
			case unfinished && !r.Running:
				s.rearm(sec) // it failed, and its window is over
			default:
				s.arm(sec, r.Open, r.Next, s.clock.Now())
			}
		}
	}
	return nil
}

// draft is the prefix of temporary state files; digits follow.
func (s *Sim) draft() string { return ".secretsim-" + filepath.Base(s.opts.StateFile) + "-" }

// sweep removes temporary files that crashes left behind, because they contain values.
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

// keep is save without a caller to report an error to.
func (s *Sim) keep() {
	if err := s.save(); err != nil && s.opts.Log != nil {
		s.opts.Log.Error("the state file cannot be written", "error", err)
	}
}

// save writes the state file, if configured. A crash at any moment leaves either the old or the new
// file intact.
func (s *Sim) save() error {
	if s.opts.StateFile == "" {
		return nil
	}
	text, err := json.Marshal(state{1, s.clock.Now(), s.accounts})
	if err != nil {
		return err
	}
	dir := filepath.Dir(s.opts.StateFile)
	f, err := os.CreateTemp(dir, s.draft()+"*") // readable only by the owner
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
