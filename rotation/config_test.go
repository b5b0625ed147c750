package rotation

import (
	"testing"

	"example.com/rotator/rotation/engine"
)

// TestASettingPermitsNoRejectedCharacter: AWS's template for ElastiCache sets EXCLUDE_CHARACTERS without the comma.
func TestASettingPermitsNoRejectedCharacter(t *testing.T) {
	o := option{getenv: func(name string) string { return map[string]string{"EXCLUDE_CHARACTERS": "x"}[name] }}
	s, err := o.settings(engine.PasswordPolicy{Length: 20, ExcludeCharacters: "/", Rejected: ","})
	if p := s.passwords; err != nil || p.ExcludeCharacters != "x" || p.Rejected != "," {
		t.Errorf("%+v, %v", p, err)
	}
}
