package sim

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"

	"example.com/rotator/sim/iampolicy"
)

// policy is a resource policy.
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
type policy struct {
	Version, Id string
	Statement   iampolicy.List[statement]
}

type statement struct {
	Sid                   string
	Effect                string
	Principal             *principal
	NotPrincipal          *principal
	Action, NotAction     iampolicy.List[string]
	Resource, NotResource iampolicy.List[string]
	Condition             map[string]any
}

// UnmarshalJSON rejects elements that are not part of a statement.
func (st *statement) UnmarshalJSON(text []byte) error {
	type plain statement
	return strictly(text, (*plain)(st))
}

func strictly(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// principal is "*" or a map of kinds to names.
type principal struct {
	all   bool
	aws   iampolicy.List[string]
	kinds map[string]iampolicy.List[string]
}

func (p *principal) UnmarshalJSON(text []byte) error {
	if string(text) == `"*"` {
		p.all = true
		return nil
	}
	err := json.Unmarshal(text, &p.kinds)
	p.aws = p.kinds["AWS"]
	p.all = slices.Contains(p.aws, "*")
	return err
}

// is reports whether a policy's principal is the caller's account or role.
func (p *principal) is(c *caller) bool {
	if p == nil {
		return false
	}
	return p.all || slices.ContainsFunc(p.aws, func(a string) bool {
		return a == c.account || a == "arn:aws:iam::"+c.account+":root" || a == c.arn || c.role != "" && a == c.role
	})
}

// likeAny matches a text with patterns of * and ?, ignoring case.
func likeAny(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return iampolicy.Like(p, text) })
}

// covers reports whether a statement applies to a call, apart from conditions.
func (st *statement) covers(c *caller, arn string) bool {
	who := st.Principal.is(c) || st.NotPrincipal != nil && !st.NotPrincipal.is(c)
	action := "secretsmanager:" + c.operation
	what := likeAny(st.Action, action) || st.NotAction != nil && !likeAny(st.NotAction, action)
	on := likeAny(st.Resource, arn) || st.NotResource != nil && !likeAny(st.NotResource, arn)
	return who && what && on
}

func malformed(text string) *fault { return &fault{"MalformedPolicyDocumentException", text} }

// parsePolicy parses a policy and checks its syntax.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_secret-policy.html
// (of 2020); for the version https://github.com/awsdocs/aws-cloudformation-user-guide/pull/623
func parsePolicy(text string) (*policy, *fault) {
	broken := malformed("This resource policy contains a syntax error.")
	var p policy
	if err := strictly([]byte(text), &p); err != nil || len(p.Statement) == 0 {
		return nil, broken
	}
	if !slices.Contains([]string{"", "2008-10-17", "2012-10-17"}, p.Version) {
		return nil, malformed("This policy has invalid syntax.")
	}
	for _, st := range p.Statement {
		switch {
		case st.Effect != "Allow" && st.Effect != "Deny",
			st.Principal == nil && st.NotPrincipal == nil,
			st.Action == nil && st.NotAction == nil,
			st.Resource == nil && st.NotResource == nil:
			return nil, broken
		}
	}
	return &p, nil
}

var (
	principalForm = regexp.MustCompile(`^(\d{12}|arn:aws[a-z-]*:(iam::\d{12}:(root|(user|role)/[^*?]+)|` +
		`sts::\d{12}:(assumed-role|federated-user)/[^*?]+))$`)
	serviceForm = regexp.MustCompile(`^([a-z0-9-]+\.)+amazonaws\.com(\.cn)?$`)
)

// checkPrincipals rejects principals that do not exist. For users, and for roles in an account
// without registered roles, it checks only the format.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_secret-policy.html
// (of 2020). The text for a service is the one AWS was seen to answer in 2026.
func (s *Sim) checkPrincipals(p *policy) *fault {
	for _, st := range p.Statement {
		for _, who := range []*principal{st.Principal, st.NotPrincipal} {
			if who == nil {
				continue
			}
			for kind, names := range who.kinds {
				unsupported := func(name string) bool { return !s.supported(kind, name) }
				switch bad := slices.ContainsFunc(names, unsupported); {
				case bad && kind == "Service":
					return malformed("This resource policy contains an unsupported service principal.")
				case bad:
					return malformed("This resource policy contains an unsupported principal.")
				}
			}
		}
	}
	return nil
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

// public reports whether a policy allows everybody.
func (p *policy) public() bool {
	return slices.ContainsFunc(p.Statement, func(st statement) bool {
		return st.Effect == "Allow" && st.Principal != nil && st.Principal.all && len(st.Condition) == 0
	})
}

// admit checks that a caller may perform its operation on a secret. Within an account, everything
// is allowed unless the secret's policy denies it or the role has a policy that does not allow it.
// From another account, the secret's policy must allow it, and the secret must have a customer
// managed key if the operation involves a value (LocalStack's cross-account tests, which were
// validated on AWS). The only supported condition is on the caller's organization, if that is set
// (SetOrganization); a statement with another one denies and never allows. Unknown: which of the
// last two AWS checks first.
func (s *Sim) admit(c *caller, sec *secret) *fault {
	refused := func(why string) *fault {
		return accessDenied("User: %s is not authorized to perform: secretsmanager:%s on resource: %s %s", c.arn,
			c.operation, sec.ARN, why)
	}
	allowed := false
	if sec.Policy != "" {
		p, f := parsePolicy(sec.Policy)
		if f != nil {
			return f
		}
		for _, st := range p.Statement {
			if !st.covers(c, sec.ARN) {
				continue
			}
			applies, known := s.applies(&st, c)
			if st.Effect == "Deny" && (applies || !known) {
				return refused("with an explicit deny in a resource-based policy")
			}
			allowed = allowed || st.Effect == "Allow" && applies
		}
	}
	if f := s.licensed(c, sec, allowed); f != nil {
		return f
	}
	switch {
	case c.account == sec.Account:
		return nil
	case !allowed:
		return refused("because no resource-based policy allows the secretsmanager:" + c.operation + " action")
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
	if in.BlockPublicPolicy && p.public() {
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

func (s *Sim) checkedPolicy(text string) (*policy, *fault) {
	p, f := parsePolicy(text)
	if f == nil {
		f = s.checkPrincipals(p)
	}
	return p, f
}

// locksOut reports whether a policy keeps the caller from replacing it.
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

// validateResourcePolicy checks for a lockout only if it is given a secret.
// Unknown: the names of AWS's checks.
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
	if p.public() {
		const text = "This resource policy grants broad access to your secret."
		found = append(found, answer{"CheckName": "PUBLIC_POLICY", "ErrorMessage": text})
	}
	if sec != nil && s.locksOut(c, sec, in.ResourcePolicy) {
		found = append(found, answer{"CheckName": "LOCKOUT", "ErrorMessage": lockedOut})
	}
	return answer{"PolicyValidationPassed": len(found) == 0, "ValidationErrors": found}, nil
}
