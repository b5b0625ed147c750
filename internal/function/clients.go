package function

import (
	"cmp"
	"context"
	"net/url"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// clients creates the AWS clients for a secret: in its region, and with the role in its account if one is configured.
// Between invocations it keeps credentials, but nothing about a rotation.
type clients struct {
	role       string // an ARN that may contain {account} and {partition}, or ""
	externalID string
	endpoint   string // of Secrets Manager, or ""

	load func() (aws.Config, error)

	mu    sync.Mutex
	roles map[string]aws.CredentialsProvider // by region and ARN
}

// newClients reads the configuration. Only the operator chooses the role, never the event or the secret.
func newClients(getenv func(string) string) (*clients, error) {
	c := &clients{
		role:       getenv("ROTATION_ROLE_ARN"),
		externalID: getenv("ROTATION_ROLE_EXTERNAL_ID"),
		endpoint:   getenv("SECRETS_MANAGER_ENDPOINT"),
		load:       sync.OnceValues(loadEnvironment),
		roles:      make(map[string]aws.CredentialsProvider),
	}
	const advice = "set ROTATION_ROLE_ARN to the ARN of a role; {account} and {partition} in it become those of the " +
		"secret"
	if c.role != "" {
		example := strings.NewReplacer("{account}", "123456789012", "{partition}", "aws").Replace(c.role)
		a, err := arn.Parse(example)
		if err != nil || a.Service != "iam" || !strings.HasPrefix(a.Resource, "role/") {
			return nil, engine.Errorf(engine.InvalidConfiguration, advice, "ROTATION_ROLE_ARN is not the ARN of a role")
		}
	} else if c.externalID != "" {
		return nil, engine.Errorf(engine.InvalidConfiguration, advice,
			"ROTATION_ROLE_EXTERNAL_ID is set without ROTATION_ROLE_ARN")
	}
	if c.endpoint != "" {
		if u, err := url.Parse(c.endpoint); err != nil || u.Host == "" {
			return nil, engine.Errorf(engine.InvalidConfiguration,
				"set it to a URL such as https://secretsmanager.eu-west-1.amazonaws.com",
				"SECRETS_MANAGER_ENDPOINT is not a URL")
		}
	}
	return c, nil
}

// admits refuses an event that would fail later without a rotation token. With a role, or if function and secret are in
// different accounts, Secrets Manager identifies the versions of a rotation by that token. function is the function's
// ARN, or "" if unknown.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot_rotation.html
func (c *clients) admits(e rotation.Event, function string) error {
	if e.Step != rotation.CreateSecret || len(e.RotationToken.Reveal()) > 0 {
		return nil
	}
	own := rotation.Account(function)
	if c.role == "" && (own == "" || own == rotation.Account(e.SecretID)) {
		return nil
	}
	return engine.Errorf(engine.InvalidEvent,
		"let Secrets Manager call the function, for example by `rotatorctl rotate`: only it has the token, and it "+
			"refuses a made-up one",
		"the event has no RotationToken, which an assumed role or a function of another account needs")
}

// regionForm matches the name of a region. partitions maps prefixes of names to partitions; all other regions are in
// aws. suffixes maps partitions to DNS suffixes; all others have amazonaws.com.
// Source: https://github.com/aws/aws-sdk-go-v2/blob/main/internal/endpoints/awsrulesfn/partitions.json
var (
	regionForm = lazyregexp.New(`^(us-gov|(?:us|eu)-iso[a-z]?|eusc-[a-z]{2}|[a-z]{2})-[a-z]+-[0-9]{1,2}$`)
	partitions = map[string]string{"cn": "aws-cn", "us-gov": "aws-us-gov", "eusc-de": "aws-eusc",
		"us-iso": "aws-iso", "us-isob": "aws-iso-b", "eu-isoe": "aws-iso-e", "us-isof": "aws-iso-f"}
	suffixes = map[string]string{"aws-cn": "amazonaws.com.cn", "aws-eusc": "amazonaws.eu", "aws-iso": "c2s.ic.gov",
		"aws-iso-b": "sc2s.sgov.gov", "aws-iso-e": "cloud.adc-e.uk", "aws-iso-f": "csp.hci.ic.gov"}
)

// Partition returns the partition of a region, or "" if region is not the name of a region.
func Partition(region string) string {
	m := regionForm().FindStringSubmatch(region)
	if m == nil {
		return ""
	}
	return cmp.Or(partitions[m[1]], "aws")
}

// settings returns the SDK's configuration for a secret: the region in its ARN, and the credentials of the role in its
// account if one is configured. Anyone who can write a secret's value may have chosen the ARN, and its region becomes
// part of the host that receives signed requests, so the region is checked.
func (c *clients) settings(_ context.Context, secret string) (aws.Config, error) {
	a, err := arn.Parse(secret)
	if err != nil || a.Service != "secretsmanager" {
		return aws.Config{}, engine.Errorf(engine.InvalidSecret, "give the full ARN of the secret",
			"%q is not the ARN of a secret", secret)
	}
	if p := Partition(a.Region); p == "" || p != a.Partition {
		return aws.Config{}, engine.Errorf(engine.InvalidSecret, "copy the ARN from Secrets Manager",
			"the secret %q is not in an AWS region", secret)
	}
	cfg, err := c.load()
	if err != nil {
		return cfg, err
	}
	if own := Partition(cfg.Region); own != "" && own != a.Partition {
		return cfg, engine.Errorf(engine.InvalidSecret, "rotate it by a function in its partition",
			"the secret %q is not in the function's partition %s", secret, own)
	}
	cfg.Region = a.Region
	if c.role != "" {
		role := strings.NewReplacer("{account}", a.AccountID, "{partition}", a.Partition).Replace(c.role)
		cfg.Credentials = c.assume(cfg, role)
	}
	return cfg, nil
}

// databases returns the settings for calls about databases in a secret's account.
func (c *clients) databases(ctx context.Context, secret string) (aws.Config, error) {
	cfg, err := c.settings(ctx, secret)
	cfg.BaseEndpoint = nil // AWS_ENDPOINT_URL is not an endpoint of RDS
	return cfg, err
}

// secretsManager returns the client for a secret.
func (c *clients) secretsManager(ctx context.Context, secret string) (*secretsmanager.Client, error) {
	cfg, err := c.settings(ctx, secret)
	if err != nil {
		return nil, err
	}
	return secretsmanager.NewFromConfig(cfg, func(o *secretsmanager.Options) {
		// Each of AWS's own endpoints serves one region.
		own, _ := c.load() // settings already returned any error
		if c.endpoint != "" && (cfg.Region == own.Region || !strings.Contains(c.endpoint, ".amazonaws.")) {
			o.BaseEndpoint = &c.endpoint
		}
	}), nil
}

// assume returns the credentials of a role, and renews them when they expire.
func (c *clients) assume(cfg aws.Config, role string) aws.CredentialsProvider {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The STS client keeps its region, and a role is assumed in the secret's region.
	key := cfg.Region + " " + role
	if p, ok := c.roles[key]; ok {
		return p
	}
	p := aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), role,
		func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "rotator"
			if c.externalID != "" {
				o.ExternalID = &c.externalID
			}
		}))
	c.roles[key] = p
	return p
}
