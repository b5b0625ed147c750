package sim

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/sim/iampolicy"
)

// names returns the principals that policies may use for the caller.
func (c *caller) names() []string {
	return []string{c.account, "arn:aws:iam::" + c.account + ":root", c.arn, cmp.Or(c.role, c.arn)}
}

// conditionKeys are the condition keys that policies may use.
var conditionKeys = []string{"aws:PrincipalOrgID", "secretsmanager:resource/AllowRotationLambdaArn", "kms:ViaService",
	"kms:EncryptionContext:SecretARN", "kms:ResourceAliases"}

// parsePolicy parses a policy. Its statements name principals, unless it is the policy of a role.
func parsePolicy(text string, ofRole bool) (*iampolicy.Policy, error) {
	p, err := iampolicy.Parse(text, conditionKeys...)
	if err != nil {
		return nil, err
	}
	for _, st := range p.Statement {
		if (st.Principal == nil && st.NotPrincipal == nil) != ofRole {
			return nil, fmt.Errorf("statement %q: a role's policy names no principal, and every other policy must", st.Sid)
		}
	}
	return p, nil
}

// PutPolicy sets the policy of a role or of a KMS key, if iampolicy.Parse supports it. From then on the role's sessions
// may do only what this policy allows, and roles may use the key through Secrets Manager only if its policy allows the
// role or its account. A role with a policy needs its permission for a key, as roles outside the key's account on AWS.
// Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-modifying-external-accounts.html
func (s *Sim) PutPolicy(arn, document string) error {
	ofRole := roleForm.MatchString(arn)
	if !ofRole && !keyForm.MatchString(arn) {
		return fmt.Errorf("%q is not the ARN of a role or a key", arn)
	}
	p, err := parsePolicy(document, ofRole)
	if err != nil {
		return fmt.Errorf("%s: %w", arn, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.policies[arn] = p
	return nil
}

// SetOrganization sets the organization of an account, for conditions on aws:PrincipalOrgID.
func (s *Sim) SetOrganization(account, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.organizations[account] = []string{id}
}

var (
	principalForm = regexp.MustCompile(`^(\d{12}|arn:aws[a-z-]*:(iam::\d{12}:(root|(user|role)/[^*?]+)|` +
		`sts::\d{12}:(assumed-role|federated-user)/[^*?]+))$`)
	serviceForm = regexp.MustCompile(`^([a-z0-9-]+\.)+amazonaws\.com(\.cn)?$`)
	keyForm     = regexp.MustCompile(`^arn:aws[a-z-]*:kms:[^:]+:\d{12}:key/[^/]+$`)
)

// newPolicy parses a new resource policy. It also rejects principals that do not exist; of users, and of roles in an
// account without registered roles, it checks only the format.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_secret-policy.html (of 2020);
// https://github.com/awsdocs/aws-cloudformation-user-guide/pull/623 for the version; AWS's answer in 2026 for a service
func (s *Sim) newPolicy(text string) (*iampolicy.Policy, *fault) {
	p, err := parsePolicy(text, false)
	switch {
	case errors.Is(err, iampolicy.ErrUnsupported):
		return nil, malformed("The simulator cannot evaluate this policy: %v", err)
	case err != nil || len(p.Statement) == 0:
		return nil, malformed("This resource policy contains a syntax error.")
	case !slices.Contains([]string{"", "2008-10-17", "2012-10-17"}, p.Version):
		return nil, malformed("This policy has invalid syntax.")
	}
	for _, st := range p.Statement {
		for _, who := range []iampolicy.Principal{st.Principal, st.NotPrincipal} {
			for kind, names := range who {
				what := "principal"
				if kind == "Service" {
					what = "service principal"
				}
				if slices.ContainsFunc(names, func(n string) bool { return !s.supported(kind, n) }) {
					return nil, malformed("This resource policy contains an unsupported %s.", what)
				}
			}
		}
	}
	return p, nil
}

// supported reports whether a policy may name a principal.
func (s *Sim) supported(kind, name string) bool {
	switch kind {
	case "AWS":
		return name == "*" || principalForm.MatchString(name) && (!roleForm.MatchString(name) || s.roleExists(name))
	case "Service":
		return serviceForm.MatchString(name)
	}
	return kind == "Federated"
}

// admit checks that a caller may perform its operation on a secret. Within an account, everything is allowed unless the
// secret's or the role's policy denies it, or the caller's role has a policy and neither policy allows it. From another
// account, the secret's policy and that of the role, if any, must allow it, and the secret must have a customer managed
// key if the operation involves a value (LocalStack's cross-account tests, which were validated on AWS). Unknown:
// which of the cross-account conditions AWS checks first.
func (s *Sim) admit(c *caller, sec *secret) *fault {
	action, near := "secretsmanager:"+c.operation, c.account == sec.Account
	have := s.conditions(c, "secretsmanager:resource/AllowRotationLambdaArn", sec.Rotation.Function)
	effect := ""
	if sec.policy != nil {
		effect = sec.policy.Effect(action, sec.ARN, have, c.names()...)
	}
	if effect == "Deny" {
		return c.unauthorized(action, sec.ARN, "with an explicit deny in a resource-based policy")
	}
	allowed := effect == "Allow"
	if f := s.licensed(c, action, sec.ARN, have, near && allowed); f != nil {
		return f
	}
	if f := s.mayUseKey(c, sec); f != nil {
		return f
	}
	switch {
	case near:
		return nil
	case !allowed:
		return c.unallowed(action, sec.ARN, "resource")
	case !sec.ownKey() && keyActions[c.operation] != nil:
		return invalidRequest("You can't access a secret from a different AWS account if you encrypt the secret with " +
			"the default KMS service key.")
	}
	return nil
}

// putResourcePolicy rejects a policy that locks out its caller. Unknown: AWS's exception.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_secret-policy.html (of 2020)
func (s *Sim) putResourcePolicy(c *caller, sec *secret, in *sm.PutResourcePolicyInput) (answer, *fault) {
	p, f := s.newPolicy(*in.ResourcePolicy)
	if f != nil {
		return nil, f
	}
	if aws.ToBool(in.BlockPublicPolicy) && public(p) {
		const text = "You can't attach a resource-based policy that allows broad access to the secret."
		return nil, &fault{"PublicPolicyException", text}
	}
	if s.locksOut(c, sec, p) {
		return nil, invalidRequest(lockedOut)
	}
	sec.Policy, sec.policy = *in.ResourcePolicy, p
	sec.touch(s.clock.Now())
	return sec.answer(), nil
}

const lockedOut = "Your requested changes will not allow you to manage this secret in the future."

// locksOut reports whether a policy would prevent the caller from replacing it.
func (s *Sim) locksOut(c *caller, sec *secret, policy *iampolicy.Policy) bool {
	after, again := *sec, *c
	after.policy, again.operation = policy, "PutResourcePolicy"
	return s.admit(&again, &after) != nil
}

// public reports whether a policy allows everyone.
func public(p *iampolicy.Policy) bool {
	return slices.ContainsFunc(p.Statement, func(st iampolicy.Statement) bool {
		return st.Effect == "Allow" && slices.Contains(st.Principal["AWS"], "*") && len(st.Condition) == 0
	})
}

// validateResourcePolicy checks for a lockout only if the request names a secret. Unknown: the names of AWS's checks.
func (s *Sim) validateResourcePolicy(c *caller, in *sm.ValidateResourcePolicyInput) (answer, *fault) {
	var sec *secret
	if in.SecretId != nil {
		var f *fault
		if sec, f = s.find(c, *in.SecretId); f != nil {
			return nil, f
		}
	}
	p, f := s.newPolicy(*in.ResourcePolicy)
	if f != nil {
		return nil, f
	}
	found := []answer{}
	if public(p) {
		const text = "This resource policy grants broad access to your secret."
		found = append(found, answer{"CheckName": "PUBLIC_POLICY", "ErrorMessage": text})
	}
	if sec != nil && s.locksOut(c, sec, p) {
		found = append(found, answer{"CheckName": "LOCKOUT", "ErrorMessage": lockedOut})
	}
	return answer{"PolicyValidationPassed": len(found) == 0, "ValidationErrors": found}, nil
}

func (s *Sim) getResourcePolicy(_ *caller, sec *secret, _ *sm.GetResourcePolicyInput) (answer, *fault) {
	return sec.answer("ResourcePolicy", sec.Policy), nil
}

func (s *Sim) deleteResourcePolicy(_ *caller, sec *secret, _ *sm.DeleteResourcePolicyInput) (answer, *fault) {
	sec.Policy, sec.policy = "", nil
	sec.touch(s.clock.Now())
	return sec.answer(), nil
}

// conditions returns the condition keys of a call, given as names and values.
func (s *Sim) conditions(c *caller, more ...string) map[string][]string {
	out := map[string][]string{"aws:PrincipalOrgID": s.organizations[c.account]}
	for i := 0; i < len(more); i += 2 {
		out[more[i]] = more[i+1 : i+2]
	}
	return out
}

func (c *caller) unauthorized(action, resource, why string) *fault {
	on := " on resource: " + resource
	if resource == "*" {
		on = ""
	}
	return accessDenied("User: %s is not authorized to perform: %s%s %s", c.arn, action, on, why)
}

// unallowed returns the error for an action that no policy of a kind, identity or resource, allows.
func (c *caller) unallowed(action, resource, kind string) *fault {
	return c.unauthorized(action, resource, "because no "+kind+"-based policy allows the "+action+" action")
}

// licensed checks that the policy of the caller's role, if it has one, allows an action. If another policy allows the
// action, it suffices that the role's does not deny it.
func (s *Sim) licensed(c *caller, action, resource string, have map[string][]string, allowed bool) *fault {
	p := s.policies[c.role]
	if p == nil {
		return nil
	}
	switch effect := p.Effect(action, resource, have); {
	case effect == "Deny":
		return c.unauthorized(action, resource, "with an explicit deny in an identity-based policy")
	case effect == "" && !allowed:
		return c.unallowed(action, resource, "identity")
	}
	return nil
}

// keyActions are the KMS actions that an operation performs with a secret's key, on behalf of the caller.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html#security-encryption-authz
var keyActions = map[string][]string{
	"GetSecretValue": {"kms:Decrypt"},
	"PutSecretValue": {"kms:GenerateDataKey", "kms:Decrypt"},
	"UpdateSecret":   {"kms:GenerateDataKey", "kms:Decrypt"},
}

// ownKey reports whether a secret has a customer managed key.
func (sec *secret) ownKey() bool {
	return sec.Key != "" && !strings.HasSuffix(sec.Key, defaultKey)
}

// mayUseKey checks that the policies of the caller's role and of the secret's key allow what the operation does with
// that key. Unknown: AWS's text after "Access to KMS is not allowed".
func (s *Sim) mayUseKey(c *caller, sec *secret) *fault {
	if c.role == "" || !sec.ownKey() {
		return nil
	}
	key := sec.Key
	have := s.conditions(c, "kms:ViaService", "secretsmanager."+sec.Region+".amazonaws.com",
		"kms:EncryptionContext:SecretARN", sec.ARN)
	if _, alias, ok := strings.Cut(":"+key, ":alias/"); ok {
		have["kms:ResourceAliases"] = []string{"alias/" + alias}
		key = "of-alias-" + alias
	}
	if !strings.HasPrefix(key, "arn:") {
		key = "arn:aws:kms:" + sec.Region + ":" + sec.Account + ":key/" + key
	}
	policy := s.policies[key]
	for _, action := range keyActions[c.operation] {
		if s.licensed(c, action, key, have, false) != nil ||
			policy != nil && policy.Effect(action, key, have, c.names()...) != "Allow" {
			return accessDenied("Access to KMS is not allowed: User: %s is not authorized to perform: %s on "+
				"resource: %s", c.arn, action, key)
		}
	}
	return nil
}
