package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/sim/iampolicy"
)

// PutKeyPolicy sets the policy of a KMS key. From then on a role may use the key through Secrets
// Manager only if the policy allows the role or its account; callers that are not roles always may.
// A role with an identity policy also needs its permission, as on AWS every role in another account
// than the key's does.
//
// It fails if arn is not the ARN of a key, or the policy has anything unsupported; see
// PutRolePolicy.
// Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-modifying-external-accounts.html
func (s *Sim) PutKeyPolicy(arn, document string) error {
	if !strings.HasPrefix(arn, "arn:aws:kms:") || !strings.Contains(arn, ":key/") {
		return fmt.Errorf("%q is not the ARN of a key", arn)
	}
	p, f := parsePolicy(document)
	if f != nil {
		return fmt.Errorf("cannot parse the policy of %s: %s", arn, f.Message)
	}
	for _, st := range p.Statement {
		if st.NotPrincipal != nil || st.NotAction != nil || st.NotResource != nil {
			return fmt.Errorf("statement %q: NotPrincipal, NotAction and NotResource are not supported", st.Sid)
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

// identity returns the statements as an identity policy.
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

// keyAdmits evaluates a key's policy, if it has one, for one action of a role.
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

// SetOrganization sets the organization of an account, for conditions on aws:PrincipalOrgID in
// resource policies.
func (s *Sim) SetOrganization(account, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.organizations[account] = id
}

// applies evaluates a resource policy's conditions. known is false if one of them is unsupported,
// or the caller's organization is not set.
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
