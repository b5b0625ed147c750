package sim

import (
	"fmt"
	"strings"

	"example.com/rotator/sim/iampolicy"
)

// roleConditions are the condition keys that the policies of roles and keys may use.
var roleConditions = []string{"secretsmanager:resource/AllowRotationLambdaArn", "kms:ViaService",
	"kms:EncryptionContext:SecretARN", "kms:ResourceAliases"}

// PutRolePolicy sets the only identity policy of a role. From then on the role's sessions may do
// only what the policy allows; a role without a policy may do everything. Reading and writing a
// secret with a customer managed key requires kms:Decrypt and kms:GenerateDataKey.
//
// It fails if arn is not the ARN of a role, or the policy has anything that iampolicy.Parse does
// not support. The supported condition keys are roleConditions.
func (s *Sim) PutRolePolicy(arn, document string) error {
	if !roleForm.MatchString(arn) {
		return fmt.Errorf("%q is not the ARN of a role", arn)
	}
	p, err := iampolicy.Parse(document, roleConditions...)
	if err != nil {
		return fmt.Errorf("%s: %w", arn, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.policies[arn] = p
	return nil
}

// PutKeyPolicy sets the policy of a KMS key. From then on a role may use the key through Secrets Manager only if the
// policy allows the role or its account. Other callers always may. A role with an identity policy also needs permission
// from that policy, as every role outside the key's account does on AWS.
//
// It fails if arn is not the ARN of a key, or the policy has an unsupported condition; see PutRolePolicy.
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
		if err := st.Check(roleConditions...); err != nil {
			return fmt.Errorf("%s: %w", arn, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.policies[arn] = p
	return nil
}

// SetOrganization sets the organization of an account, for conditions on aws:PrincipalOrgID in resource policies.
func (s *Sim) SetOrganization(account, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.organizations[account] = id
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

// licensed checks that the policy of the caller's role, if it has one, allows an action.
func (s *Sim) licensed(c *caller, action, resource string, have map[string][]string) *fault {
	if f := s.denied(c, action, resource, have); f != nil {
		return f
	}
	if p := s.policies[c.role]; p != nil && !p.Permits(action, resource, have) {
		return c.unallowed(action, resource, "identity")
	}
	return nil
}

// denied checks that the policy of the caller's role does not deny an action.
func (s *Sim) denied(c *caller, action, resource string, have map[string][]string) *fault {
	if p := s.policies[c.role]; p != nil && p.Effect(action, resource, have) == "Deny" {
		return c.unauthorized(action, resource, "with an explicit deny in an identity-based policy")
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
	key, have := sec.Key, map[string][]string{
		"kms:ViaService":                  {"secretsmanager." + sec.region() + ".amazonaws.com"},
		"kms:EncryptionContext:SecretARN": {sec.ARN},
	}
	if _, alias, ok := strings.Cut(":"+key, ":alias/"); ok {
		have["kms:ResourceAliases"] = []string{"alias/" + alias}
		key = "of-alias-" + alias
	}
	if !strings.HasPrefix(key, "arn:") {
		key = "arn:aws:kms:" + sec.region() + ":" + sec.Account + ":key/" + key
	}
	var theirs *iampolicy.Policy // the part of the key's policy that applies to the caller
	if p := s.policies[key]; p != nil {
		theirs = &iampolicy.Policy{}
		for _, st := range p.Statement {
			if c.named(&st) {
				theirs.Statement = append(theirs.Statement, st)
			}
		}
	}
	for _, action := range keyActions[c.operation] {
		if s.licensed(c, action, key, have) != nil || theirs != nil && !theirs.Permits(action, key, have) {
			return accessDenied("Access to KMS is not allowed: User: %s is not authorized to perform: %s on "+
				"resource: %s", c.arn, action, key)
		}
	}
	return nil
}
