package sim

import (
	"encoding/json"
	"slices"

	"example.com/rotator/sim/iampolicy"
)

// policy is a resource policy.
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
type policy struct {
	Version   string
	Statement iampolicy.List[statement]
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

// principal is "*" or a map of kinds to names.
type principal struct {
	all bool
	aws iampolicy.List[string]
}

func (p *principal) UnmarshalJSON(text []byte) error {
	if string(text) == `"*"` {
		p.all = true
		return nil
	}
	var m map[string]iampolicy.List[string]
	err := json.Unmarshal(text, &m)
	p.aws = m["AWS"]
	p.all = slices.Contains(p.aws, "*")
	return err
}

// is tells whether a principal of a policy is the caller: his account, or his role.
func (p *principal) is(c *caller) bool {
	if p == nil {
		return false
	}
	return p.all || slices.ContainsFunc(p.aws, func(a string) bool {
		return a == c.account || a == "arn:aws:iam::"+c.account+":root" || a == c.arn || c.role != "" && a == c.role
	})
}

// likeAny matches a text with patterns of * and ?, in any case.
func likeAny(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return iampolicy.Like(p, text) })
}

// covers tells whether a statement speaks of a call, conditions aside.
func (st *statement) covers(c *caller, arn string) bool {
	who := st.Principal.is(c) || st.NotPrincipal != nil && !st.NotPrincipal.is(c)
	action := "secretsmanager:" + c.operation
	what := likeAny(st.Action, action) || st.NotAction != nil && !likeAny(st.NotAction, action)
	on := likeAny(st.Resource, arn) || st.NotResource != nil && !likeAny(st.NotResource, arn)
	return who && what && on
}

// parsePolicy reads a policy. Unknown: AWS's text, beyond its beginning.
func parsePolicy(text string) (*policy, *fault) {
	malformed := func(why string) *fault {
		return &fault{"MalformedPolicyDocumentException", "This resource policy contains invalid Json: " + why}
	}
	var p policy
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return nil, malformed("it is not a policy")
	}
	if len(p.Statement) == 0 {
		return nil, malformed("it has no Statement")
	}
	for _, st := range p.Statement {
		switch {
		case st.Effect != "Allow" && st.Effect != "Deny":
			return nil, malformed("an Effect is neither Allow nor Deny")
		case st.Principal == nil && st.NotPrincipal == nil:
			return nil, malformed("a statement has no Principal")
		case st.Action == nil && st.NotAction == nil:
			return nil, malformed("a statement has no Action")
		case st.Resource == nil && st.NotResource == nil:
			return nil, malformed("a statement has no Resource")
		}
	}
	return &p, nil
}

// public tells whether a policy lets everybody in.
func (p *policy) public() bool {
	return slices.ContainsFunc(p.Statement, func(st statement) bool {
		return st.Effect == "Allow" && st.Principal != nil && st.Principal.all && len(st.Condition) == 0
	})
}

// admit checks that a caller may do his operation on a secret. Within an account
// everything is allowed that neither the secret's policy denies nor the role's own,
// where it was given one, leaves out; from another account the policy must allow it, and
// the secret must have a key of its own. Of conditions only the caller's organisation is
// evaluated, where that was told (SetOrganization): a statement with another one
// denies and never allows. Unknown: which of the last two AWS checks first.
func (s *Sim) admit(c *caller, sec *secret) *fault {
	refused := func(why string) *fault {
		return accessDenied("User: %s is not authorized to perform: secretsmanager:%s on resource: %s %s", c.arn, c.operation, sec.ARN, why)
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
	case !sec.ownKey():
		return invalidRequest("You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key.")
	}
	return nil
}

type putPolicyInput struct {
	SecretId          string `required:"true" min:"1" max:"2048"`
	ResourcePolicy    string `required:"true" min:"1" max:"20480"`
	BlockPublicPolicy bool
}

func (s *Sim) putResourcePolicy(c *caller, in putPolicyInput) (any, *fault) {
	sec, f := s.writable(c, in.SecretId)
	if f != nil {
		return nil, f
	}
	p, f := parsePolicy(in.ResourcePolicy)
	if f != nil {
		return nil, f
	}
	if in.BlockPublicPolicy && p.public() {
		return nil, &fault{"PublicPolicyException", "The BlockPublicPolicy parameter is set to true, and the resource policy did not prevent broad access to the secret."}
	}
	sec.Policy = in.ResourcePolicy
	sec.touch(s.clock.Now())
	return answer{"ARN": sec.ARN, "Name": sec.Name}, nil
}

func (s *Sim) getResourcePolicy(c *caller, in idInput) (any, *fault) {
	sec, f := s.find(c, in.SecretId)
	if f != nil {
		return nil, f
	}
	out := answer{"ARN": sec.ARN, "Name": sec.Name}
	if sec.Policy != "" {
		out["ResourcePolicy"] = sec.Policy
	}
	return out, nil
}

func (s *Sim) deleteResourcePolicy(c *caller, in idInput) (any, *fault) {
	sec, f := s.writable(c, in.SecretId)
	if f != nil {
		return nil, f
	}
	sec.Policy = ""
	sec.touch(s.clock.Now())
	return answer{"ARN": sec.ARN, "Name": sec.Name}, nil
}

type validatePolicyInput struct {
	SecretId       string `min:"1" max:"2048"`
	ResourcePolicy string `required:"true" min:"1" max:"20480"`
}

func (s *Sim) validateResourcePolicy(c *caller, in validatePolicyInput) (any, *fault) {
	if in.SecretId != "" {
		if _, f := s.find(c, in.SecretId); f != nil {
			return nil, f
		}
	}
	p, f := parsePolicy(in.ResourcePolicy)
	if f != nil {
		return nil, f
	}
	found := []answer{}
	if p.public() {
		found = append(found, answer{"CheckName": "PUBLIC_POLICY", "ErrorMessage": "The resource policy grants broad access to the secret."})
	}
	return answer{"PolicyValidationPassed": len(found) == 0, "ValidationErrors": found}, nil
}
