package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// state is the content of a state file: all secrets of all accounts, by place, and the service's
// time, which may be ahead of the machine's.
type state struct {
	Version  int
	Clock    time.Time
	Accounts map[string]map[string]*secret
}

// Load reads the state file, if there is one, and resumes rotations, schedules and recovery windows. Call it after
// registering the functions and before using the service. If the file's time is ahead, the clock continues from it.
func (s *Sim) Load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A crash may have left a draft, which contains values.
	if err := os.Remove(s.draft()); err != nil && !errors.Is(err, fs.ErrNotExist) {
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
			s.add(sec) // older files have other keys: names, without a region
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

// draft returns the path of the file that save writes first.
func (s *Sim) draft() string {
	dir, name := filepath.Split(s.opts.StateFile)
	return filepath.Join(dir, ".secretsim-"+name)
}

// keep is save for callers that cannot return an error.
func (s *Sim) keep() {
	if err := s.save(); err != nil && s.opts.Log != nil {
		s.opts.Log.Error("the state file cannot be written", "error", err)
	}
}

// save writes the state file, if configured. A crash at any moment leaves either the old or the new file intact.
func (s *Sim) save() error {
	if s.opts.StateFile == "" {
		return nil
	}
	text, err := json.Marshal(state{1, s.clock.Now(), s.accounts})
	if err != nil {
		return err
	}
	_ = os.Remove(s.draft()) // left by a crash
	f, err := os.OpenFile(s.draft(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(s.draft(), s.opts.StateFile)
	}
	if err != nil {
		return errors.Join(err, os.Remove(s.draft()))
	}
	d, err := os.Open(filepath.Dir(s.opts.StateFile))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
