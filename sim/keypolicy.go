package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/sim/iampolicy"
)

// PutKeyPolicy gives a KMS key its policy. From then on a role may use the key, through
// Secrets Manager, only if the policy allows it, be it by the role's ARN or by its
// account; callers that are no role always may. A role that has an identity policy
// needs that as well, as on AWS every role of another account than the key's does.
//
// It fails if arn is not the ARN of a key, or the policy has anything that is not
// evaluated here, as PutRolePolicy does.
// Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-modifying-external-accounts.html
func (s *Sim) PutKeyPolicy(arn, document string) error {
	if !strings.HasPrefix(arn, "arn:aws:kms:") || !strings.Contains(arn, ":key/") {
		return fmt.Errorf("%q is not the ARN of a key", arn)
	}
	p, f := parsePolicy(document)
	if f != nil {
		return fmt.Errorf("the policy of %s cannot be read: %s", arn, f.Message)
	}
	for _, st := range p.Statement {
		if st.NotPrincipal != nil || st.NotAction != nil || st.NotResource != nil {
			return fmt.Errorf("statement %q: NotPrincipal, NotAction and NotResource are not evaluated here", st.Sid)
		}
	}
	if _, err := identity(p.Statement); err != nil {
		return fmt.Errorf("%s: %w", arn, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keyPolicies[arn] = p
	return nil
}

// identity returns the policy that the statements are to those they name.
func identity(statements []statement) (*iampolicy.Policy, error) {
	var theirs []map[string]any
	for _, st := range statements {
		m := map[string]any{"Sid": st.Sid, "Effect": st.Effect, "Action": st.Action, "Resource": st.Resource}
		if st.Condition != nil {
			m["Condition"] = st.Condition
		}
		theirs = append(theirs, m)
	}
	text, err := json.Marshal(map[string]any{"Statement": theirs})
	if err != nil {
		return nil, err
	}
	return iampolicy.Parse(string(text), roleConditions...)
}

// keyAdmits evaluates the policy of a key, if it has one, for one action of a role.
func (s *Sim) keyAdmits(c *caller, action, key string, have map[string][]string) bool {
	p := s.keyPolicies[key]
	if p == nil || c.role == "" {
		return true
	}
	var theirs []statement
	for _, st := range p.Statement {
		if st.Principal.is(c) {
			theirs = append(theirs, st)
		}
	}
	policy, err := identity(theirs)
	return err == nil && policy.Permits(action, key, have)
}

// SetOrganization says which organisation an account belongs to, so that conditions
// of resource policies on aws:PrincipalOrgID can be evaluated.
func (s *Sim) SetOrganization(account, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.organizations[account] = id
}

// applies evaluates a resource policy's conditions. known is false where one of them
// is not evaluated here, or the caller's organisation was not told.
func (s *Sim) applies(st *statement, c *caller) (applies, known bool) {
	for operator, keys := range st.Condition {
		text, err := json.Marshal(keys)
		var want map[string]iampolicy.List[string]
		if err != nil || json.Unmarshal(text, &want) != nil || operator != "StringEquals" {
			return false, false
		}
		for key, values := range want {
			organization := s.organizations[c.account]
			if key != "aws:PrincipalOrgID" || organization == "" {
				return false, false
			}
			if !slices.Contains(values, organization) {
				return false, true
			}
		}
	}
	return true, true
}
