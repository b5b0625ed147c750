package awscache_test

import (
	"context"
	"testing"

	"example.com/rotator/internal/testing/awstemplate"
	"example.com/rotator/rotation/engine"
)

// TestSecretOfAWSTemplate: a secret of AWS's template is rotated unchanged.
func TestSecretOfAWSTemplate(t *testing.T) {
	h := &named{cache: newCache(t, "elasticache")}
	h.env = h.fake.Env("ELASTICACHE", h.api.URL)
	h.env["WAITING_RETRY_INTERVAL_IN_SECONDS"] = "1"
	awstemplate.New(t, h.env).Rotate("ElasticacheUserRotation", h)
}

// named is a cache whose user belongs to the secret that the template's variables name.
type named struct {
	*cache
	env map[string]string
}

func (h *named) Bind(_ context.Context, secret string, v engine.Value) error {
	h.env["SECRET_ARN"], h.env["USER_NAME"] = secret, id(v)
	return nil
}
