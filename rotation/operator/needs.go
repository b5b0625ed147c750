package operator

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// Needs returns the permissions that the rotation of a secret needs. It reads the secret and its superuser secret, may
// query the target, and changes nothing. Source of the actions on keys:
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html#security-encryption-authz
func Needs(ctx context.Context, r *rotation.Rotator, secret string) (engine.Needs, error) {
	n := engine.Needs{Secret: secret}
	i, err := r.Inspect(ctx, secret)
	if err != nil {
		return n, err
	}
	n.Engine, n.Strategy = i.Kind.Names[0], i.Request.Strategy
	allow(&n, secret, "Secret", "secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue",
		"secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage")
	allow(&n, secret, "OptionalOlderVersions", "secretsmanager:ListSecretVersionIds")
	key(&n, secret, i.Key, "Key", "kms:Decrypt", "kms:GenerateDataKey")
	var as *rotation.SuperuserSecret
	if i.Request.SuperuserChanges {
		s, err := i.ReadSuperuser(ctx)
		if err != nil {
			return n, err
		}
		as = &s
		superuserNeeds(&n, i, s)
	}
	if err := i.Needs(ctx, &n, as); err != nil {
		return n, err
	}
	for p := range n.Permissions {
		// An engine leaves the account empty, which means the secret's account.
		n.Permissions[p].Account = cmp.Or(n.Permissions[p].Account, rotation.Account(secret))
	}
	return n, nil
}

// superuserNeeds adds the permissions to read the superuser secret.
func superuserNeeds(n *engine.Needs, i *rotation.Inspection, s rotation.SuperuserSecret) {
	host, _ := i.Request.Current.Text("host")
	elsewhere := host != "" && (s.Host == "" || !rotation.SameHost(host, s.Host))
	actions := []string{"secretsmanager:GetSecretValue"}
	if elsewhere && s.Host == "" {
		actions = append(actions, "secretsmanager:DescribeSecret")
	}
	allow(n, s.ARN, "Superuser", actions...)
	key(n, s.ARN, s.Key, "SuperuserKey", "kms:Decrypt")
	if i.Topology != nil && elsewhere {
		for _, p := range i.Topology.Needs(s.ARN, s.Host, s.Tags, host) {
			p.Account = rotation.Account(s.ARN)
			n.Permissions = append(n.Permissions, p)
		}
	}
}

func allow(n *engine.Needs, secret, sid string, actions ...string) {
	n.Permissions = append(n.Permissions, engine.Permission{
		Account: rotation.Account(secret), Sid: sid, Actions: actions, Resources: []string{secret},
	})
}

// key adds actions on a secret's customer managed key, through Secrets Manager and for that secret only.
func key(n *engine.Needs, secret, id, sid string, actions ...string) {
	a, err := arn.Parse(secret)
	if err != nil || id == "" || strings.HasSuffix(id, "alias/aws/secretsmanager") {
		return // the AWS managed key, which every principal in the account may use through Secrets Manager
	}
	suffix := "amazonaws.com"
	if a.Partition == "aws-cn" {
		suffix += ".cn"
	}
	where := fmt.Sprintf("arn:%s:kms:%s:%s:key/", a.Partition, a.Region, a.AccountID)
	p := engine.Permission{Account: a.AccountID, Sid: sid, Actions: actions, Resources: []string{where + id},
		Conditions: map[string]map[string]string{"StringEquals": {
			"kms:ViaService":                  "secretsmanager." + a.Region + "." + suffix,
			"kms:EncryptionContext:SecretARN": secret,
		}}}
	if _, alias, ok := strings.Cut(":"+id, ":alias/"); ok {
		// An IAM policy cannot name a key by its alias.
		if k, err := arn.Parse(id); err == nil {
			where = fmt.Sprintf("arn:%s:kms:%s:%s:key/", k.Partition, k.Region, k.AccountID)
		}
		p.Resources = []string{where + "*"}
		p.Conditions["ForAnyValue:StringEquals"] = map[string]string{"kms:ResourceAliases": "alias/" + alias}
	} else if strings.HasPrefix(id, "arn:") {
		p.Resources = []string{id}
	}
	n.Permissions = append(n.Permissions, p)
}
