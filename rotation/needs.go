package rotation

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"example.com/rotator/rotation/engine"
)

// TopologyNeeder is a Topology that can tell what its answers need.
type TopologyNeeder interface {
	Topology
	// Needs returns what it takes to find a superuser's host by the tags of the
	// superuser secret, if that names none in primary, and to find out whether host
	// is its replica.
	Needs(superuserARN, primary string, tags map[string]string, host string) []engine.Permission
}

// Needs finds out what the rotation of a secret needs. It reads the secret and
// its superuser secret, may ask the target, and changes nothing.
//
// Source of the actions on keys:
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html#security-encryption-authz
func (r *Rotator) Needs(ctx context.Context, arn string) (engine.Needs, error) {
	run := r.inspect(arn)
	run.event.Step = CreateSecret
	n, err := run.needs(ctx)
	if err != nil {
		failure := run.report(ctx, err)
		failure.Step = ""
		return n, failure
	}
	return n, nil
}

func (r *run) needs(ctx context.Context) (n engine.Needs, err error) {
	defer r.guard(&err)
	n.Secret = r.event.SecretID
	d, err := r.describe(ctx)
	if err != nil {
		return n, err
	}
	current, err := r.current(ctx)
	if err != nil {
		return n, err
	}
	req, err := r.choose(current)
	if err != nil {
		return n, err
	}
	n.Engine, n.Strategy = r.kind.Names[0], req.Strategy
	allow(&n, r.secret.arn, "Secret", "secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage")
	allow(&n, r.secret.arn, "OptionalOlderVersions", "secretsmanager:ListSecretVersionIds")
	key(&n, r.secret.arn, d.key, "Key", "kms:Decrypt", "kms:GenerateDataKey")

	req.Login = req.Current
	// With RECOVER_BY_SUPERUSER the superuser only mends what is broken.
	recovery := req.Strategy == engine.SingleUser && !req.SuperuserChanges && superuserARN(r.kind, req.Current) != "" && r.cfg.recoverBySuperuser()
	if req.SuperuserChanges || recovery {
		if err := r.superuserNeeds(ctx, req, &n, recovery); err != nil {
			return n, err
		}
	}
	n.Login, _ = req.Login.Text(r.kind.UserField)
	n.Superuser = req.Superuser

	// An engine that refuses every secret says so here, whether it is a Needer or not.
	if _, ok := r.engine.(engine.Minter); !ok {
		if req.Pending, err = r.next(ctx, req); err != nil {
			return n, err
		}
	}
	if engine, ok := r.engine.(engine.Needer); ok {
		if err := r.exchange(ctx, func(ctx context.Context) error { return engine.Needs(ctx, req, &n) }); err != nil {
			failure := r.report(ctx, err)
			failure.Step = "" // no step was taken
			n.Unread, n.Note = failure, "what the login needs could not be found out: "+failure.Error()
		}
	} else {
		n.Note = "this engine does not tell what the login needs"
	}
	for i := range n.Permissions {
		// What an engine or the topology needs is needed where the secret is.
		n.Permissions[i].Account = cmp.Or(n.Permissions[i].Account, account(r.secret.arn))
	}
	return n, nil
}

// superuserNeeds adds what reading the superuser secret needs, and makes it the login.
func (r *run) superuserNeeds(ctx context.Context, req *engine.Request, n *engine.Needs, recovery bool) error {
	id := superuserARN(r.kind, req.Current)
	s, err := r.open(ctx, id)
	if err != nil {
		return err
	}
	d, err := s.describe(ctx)
	if err != nil {
		return err
	}
	v, err := s.get(ctx, "", awsCurrent)
	if err = explainAbsent(err, id); err != nil {
		return err
	}
	own, named := v.value.Text("host")
	host, _ := req.Current.Text("host")
	elsewhere := host != "" && (!named || !sameHost(host, own))
	prefix, actions := "", []string{"secretsmanager:GetSecretValue"}
	if recovery {
		prefix = "Optional"
	}
	if elsewhere && !named {
		actions = append(actions, "secretsmanager:DescribeSecret")
	}
	allow(n, s.arn, prefix+"Superuser", actions...)
	key(n, s.arn, d.key, prefix+"SuperuserKey", "kms:Decrypt")
	if t, ok := r.cfg.Topology.(TopologyNeeder); ok && elsewhere {
		for _, p := range t.Needs(s.arn, own, d.tags, host) {
			p.Sid, p.Account = prefix+p.Sid, account(s.arn)
			n.Permissions = append(n.Permissions, p)
		}
	}
	req.Login, req.Superuser = v.value, true
	return nil
}

// allow adds actions on a secret.
func allow(n *engine.Needs, secret, sid string, actions ...string) {
	n.Permissions = append(n.Permissions, engine.Permission{Account: account(secret), Sid: sid, Actions: actions, Resources: []string{secret}})
}

// key adds actions on a secret's own key, by way of Secrets Manager and for that
// secret only.
func key(n *engine.Needs, secret, id, sid string, actions ...string) {
	a, err := arn.Parse(secret)
	if err != nil || id == "" || strings.HasSuffix(id, "alias/aws/secretsmanager") {
		return // the key of AWS, which everybody in the account can use so
	}
	suffix := "amazonaws.com"
	if a.Partition == "aws-cn" {
		suffix += ".cn"
	}
	where := fmt.Sprintf("arn:%s:kms:%s:%s:key/", a.Partition, a.Region, a.AccountID)
	p := engine.Permission{Account: a.AccountID, Sid: sid, Actions: actions, Resources: []string{where + id},
		Conditions: map[string]map[string]string{"StringEquals": {"kms:ViaService": "secretsmanager." + a.Region + "." + suffix, "kms:EncryptionContext:SecretARN": secret}}}
	if _, alias, ok := strings.Cut(":"+id, ":alias/"); ok {
		// IAM knows keys by their ids alone.
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

// account returns the account of an ARN, or "".
func account(id string) string {
	a, _ := arn.Parse(id) // "" is the answer for what is none
	return a.AccountID
}
