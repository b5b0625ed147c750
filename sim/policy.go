package sim

import (
	"regexp"
	"slices"

	"example.com/rotator/sim/iampolicy"
)

// named reports whether a statement applies to the caller's account or role.
func (c *caller) named(st *iampolicy.Statement) bool {
	is := func(p iampolicy.Principal) bool {
		return slices.ContainsFunc(p["AWS"], func(a string) bool {
			return a == "*" || a == c.account || a == "arn:aws:iam::"+c.account+":root" || a == c.arn ||
				c.role != "" && a == c.role
		})
	}
	return is(st.Principal) || st.NotPrincipal != nil && !is(st.NotPrincipal)
}

func malformed(text string) *fault { return &fault{"MalformedPolicyDocumentException", text} }

// parsePolicy parses a resource policy and checks its syntax.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_secret-policy.html
// (of 2020); for the version https://github.com/awsdocs/aws-cloudformation-user-guide/pull/623
func parsePolicy(text string) (*iampolicy.Policy, *fault) {
	p, err := iampolicy.Decode(text)
	if err != nil || len(p.Statement) == 0 || slices.ContainsFunc(p.Statement, func(st iampolicy.Statement) bool {
		return st.Principal == nil && st.NotPrincipal == nil
	}) {
		return nil, malformed("This resource policy contains a syntax error.")
	}
	if !slices.Contains([]string{"", "2008-10-17", "2012-10-17"}, p.Version) {
		return nil, malformed("This policy has invalid syntax.")
	}
	return p, nil
}

var (
	principalForm = regexp.MustCompile(`^(\d{12}|arn:aws[a-z-]*:(iam::\d{12}:(root|(user|role)/[^*?]+)|` +
		`sts::\d{12}:(assumed-role|federated-user)/[^*?]+))$`)
	serviceForm = regexp.MustCompile(`^([a-z0-9-]+\.)+amazonaws\.com(\.cn)?$`)
)

// checkedPolicy is parsePolicy for a new policy: it also rejects principals that do not exist. For
// users, and for roles in an account without registered roles, it checks only the format.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_secret-policy.html
// (of 2020). The text for a service is the one AWS was seen to answer in 2026.
func (s *Sim) checkedPolicy(text string) (*iampolicy.Policy, *fault) {
	p, f := parsePolicy(text)
	if f != nil {
		return nil, f
	}
	for _, st := range p.Statement {
		for _, who := range []iampolicy.Principal{st.Principal, st.NotPrincipal} {
			for kind, names := range who {
				unsupported := func(name string) bool { return !s.supported(kind, name) }
				switch bad := slices.ContainsFunc(names, unsupported); {
				case bad && kind == "Service":
					return nil, malformed("This resource policy contains an unsupported service principal.")
				case bad:
					return nil, malformed("This resource policy contains an unsupported principal.")
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

// public reports whether a policy allows everyone.
func public(p *iampolicy.Policy) bool {
	return slices.ContainsFunc(p.Statement, func(st iampolicy.Statement) bool {
		return st.Effect == "Allow" && slices.Contains(st.Principal["AWS"], "*") && len(st.Condition) == 0
	})
}

// admit checks that a caller may perform its operation on a secret. Within an account, everything is allowed unless the
// secret's or the role's policy denies it, or the caller's role has a policy and neither policy allows it. From another account, the
// secret's policy and that of the role, if any, must allow it, and the secret must have a customer managed key if the
// operation involves a value (LocalStack's cross-account tests, which were validated on AWS). The only supported
// condition key is the caller's organization, if SetOrganization has set it. With any other key, a Deny applies and an
// Allow does not. Unknown: which of the cross-account conditions AWS checks first.
func (s *Sim) admit(c *caller, sec *secret) *fault {
	action, allowed := "secretsmanager:"+c.operation, false
	if sec.Policy != "" {
		p, f := parsePolicy(sec.Policy)
		if f != nil {
			return f
		}
		have, keys := map[string][]string{}, []string{}
		if organization := s.organizations[c.account]; organization != "" {
			keys = []string{"aws:PrincipalOrgID"}
			have[keys[0]] = []string{organization}
		}
		for _, st := range p.Statement {
			known := st.Check(keys...) == nil
			if !c.named(&st) || !st.Covers(action, sec.ARN) || known && !st.Holds(have) {
				continue
			}
			if st.Effect == "Deny" {
				return c.unauthorized(action, sec.ARN, "with an explicit deny in a resource-based policy")
			}
			allowed = allowed || known
		}
	}
	have := map[string][]string{"secretsmanager:resource/AllowRotationLambdaArn": {sec.Rotation.Function}}
	check := s.licensed
	if allowed && c.account == sec.Account {
		check = s.denied
	}
	if f := check(c, action, sec.ARN, have); f != nil {
		return f
	}
	if f := s.mayUseKey(c, sec); f != nil {
		return f
	}
	switch {
	case c.account == sec.Account:
		return nil
	case !allowed:
		return c.unallowed(action, sec.ARN, "resource")
	case !sec.ownKey() && keyActions[c.operation] != nil:
		return invalidRequest("You can't access a secret from a different AWS account if you encrypt the secret with " +
			"the default KMS service key.")
	}
	return nil
}

type putPolicyInput struct {
	idInput
	ResourcePolicy    string `required:"true" min:"1" max:"20480"`
	BlockPublicPolicy bool
}

// putResourcePolicy rejects a policy that locks out its caller. Unknown: AWS's exception.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_secret-policy.html
// (of 2020)
func (s *Sim) putResourcePolicy(c *caller, sec *secret, in putPolicyInput) (answer, *fault) {
	p, f := s.checkedPolicy(in.ResourcePolicy)
	if f != nil {
		return nil, f
	}
	if in.BlockPublicPolicy && public(p) {
		const text = "You can't attach a resource-based policy that allows broad access to the secret."
		return nil, &fault{"PublicPolicyException", text}
	}
	if s.locksOut(c, sec, in.ResourcePolicy) {
		return nil, invalidRequest(lockedOut)
	}
	sec.Policy = in.ResourcePolicy
	sec.touch(s.clock.Now())
	return sec.answer(), nil
}

const lockedOut = "Your requested changes will not allow you to manage this secret in the future."

// locksOut reports whether a policy would prevent the caller from replacing it.
func (s *Sim) locksOut(c *caller, sec *secret, policy string) bool {
	after, again := *sec, *c
	after.Policy, again.operation = policy, "PutResourcePolicy"
	return s.admit(&again, &after) != nil
}

func (s *Sim) getResourcePolicy(_ *caller, sec *secret, _ idInput) (answer, *fault) {
	return sec.answer("ResourcePolicy", sec.Policy), nil
}

func (s *Sim) deleteResourcePolicy(_ *caller, sec *secret, _ idInput) (answer, *fault) {
	sec.Policy = ""
	sec.touch(s.clock.Now())
	return sec.answer(), nil
}

type validatePolicyInput struct {
	SecretId       string `min:"1" max:"2048"`
	ResourcePolicy string `required:"true" min:"1" max:"20480"`
}

// validateResourcePolicy checks for a lockout only if the request names a secret. Unknown: the names of AWS's checks.
func (s *Sim) validateResourcePolicy(c *caller, in validatePolicyInput) (answer, *fault) {
	var sec *secret
	if in.SecretId != "" {
		var f *fault
		if sec, f = s.find(c, in.SecretId); f != nil {
			return nil, f
		}
	}
	p, f := s.checkedPolicy(in.ResourcePolicy)
	if f != nil {
		return nil, f
	}
	found := []answer{}
	if public(p) {
		const text = "This resource policy grants broad access to your secret."
		found = append(found, answer{"CheckName": "PUBLIC_POLICY", "ErrorMessage": text})
	}
	if sec != nil && s.locksOut(c, sec, in.ResourcePolicy) {
		found = append(found, answer{"CheckName": "LOCKOUT", "ErrorMessage": lockedOut})
	}
	return answer{"PolicyValidationPassed": len(found) == 0, "ValidationErrors": found}, nil
}
