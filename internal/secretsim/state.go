package secretsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// state is what a state file holds: all secrets of all accounts, by name.
type state struct {
	Version  int
	Accounts map[string]map[string]*secret
}

// Load reads the state file, if there is one, and goes on with what was under way:
// rotations, schedules and recovery windows. It must be called before the service
// is used, after the functions were registered.
func (s *Sim) Load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
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
	for account, secrets := range st.Accounts {
		s.accounts[account] = secrets
		for _, sec := range secrets {
			r := &sec.Rotation
			switch {
			case !sec.Deleted.IsZero():
				s.bury(sec)
			case r.Running:
				s.resume(sec)
				fallthrough
			case r.Enabled && !r.Next.IsZero():
				s.arm(sec, r.Open, r.Next)
			}
		}
	}
	return nil
}

// save writes the state file, if there is to be one. A crash at any moment leaves
// the old or the new file whole.
func (s *Sim) save() error {
	if s.opts.StateFile == "" {
		return nil
	}
	text, err := json.Marshal(state{1, s.accounts})
	if err != nil {
		return err
	}
	dir := filepath.Dir(s.opts.StateFile)
	f, err := os.CreateTemp(dir, ".secretsim-*") // readable by the owner alone
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
