package rotation

import (
	"context"
	"log/slog"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/rotation/awscache"
	"example.com/rotator/rotation/engine"
)

// TestOneEnginesRuleStopsNoOther: EXCLUDE_CHARACTERS can leave only punctuation that ElastiCache rejects.
func TestOneEnginesRuleStopsNoOther(t *testing.T) {
	c := Config{Engines: []engine.Engine{awscache.NewElastiCache(engine.TLSPolicy{}, nil, awscache.Options{})},
		Log: slog.New(slog.DiscardHandler), Secrets: func(context.Context, string) (*secretsmanager.Client, error) { return nil, nil },
		Getenv: func(name string) string {
			return map[string]string{"EXCLUDE_CHARACTERS": "!\"#$%&'()*+-./:;<=>?[\\]^_`{|}~"}[name]
		}}
	if err := c.check(); err != nil {
		t.Error(err)
	}
}

// TestASettingPermitsNoRejectedCharacter: AWS's template for ElastiCache sets EXCLUDE_CHARACTERS without the comma.
func TestASettingPermitsNoRejectedCharacter(t *testing.T) {
	o := option{getenv: func(name string) string { return map[string]string{"EXCLUDE_CHARACTERS": "x"}[name] }}
	s, err := o.settings(engine.PasswordPolicy{Length: 20, ExcludeCharacters: "/", Rejected: ","})
	if p := s.passwords; err != nil || p.ExcludeCharacters != "x" || p.Rejected != "," {
		t.Errorf("%+v, %v", p, err)
	}
}
