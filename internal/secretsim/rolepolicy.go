package secretsim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// PutRolePolicy gives a role its one identity policy. From then on the sessions of
// that role may do what the policy allows and nothing else; a role without one may
// do all. The key of a secret is part of it: reading and writing a secret with a
// key of its own takes kms:Decrypt and kms:GenerateDataKey.
//
// It fails if arn is not the ARN of a role, or the policy has anything that is not
// evaluated here: NotAction, NotResource, principals, operators other than
// StringEquals, StringLike and ForAnyValue:StringEquals, and keys other than those
// of roleConditions. So no condition is ever passed over.
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
func (s *Sim) PutRolePolicy(arn, document string) error {
	if !roleForm.MatchString(arn) {
		return fmt.Errorf("%q is not the ARN of a role", arn)
	}
	var p policy
	if err := json.Unmarshal([]byte(document), &p); err != nil {
		return fmt.Errorf("the policy of %s cannot be read: %w", arn, err)
	}
	for _, st := range p.Statement {
		switch {
		case st.Effect != "Allow" && st.Effect != "Deny":
			return fmt.Errorf("statement %q: its effect is neither Allow nor Deny", st.Sid)
		case st.Principal != nil || st.NotPrincipal != nil:
			return fmt.Errorf("statement %q: the policy of a role has no principal", st.Sid)
		case st.NotAction != nil || st.NotResource != nil:
			return fmt.Errorf("statement %q: NotAction and NotResource are not evaluated here", st.Sid)
		case len(st.Action) == 0 || len(st.Resource) == 0:
			return fmt.Errorf("statement %q: it has no action or no resource", st.Sid)
		}
		if _, err := st.conditions(); err != nil {
			return fmt.Errorf("statement %q: %w", st.Sid, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.policies[arn] = &p
	return nil
}

// roleConditions are the keys that a role's policy may ask for.
var roleConditions = []string{"secretsmanager:resource/AllowRotationLambdaArn", "kms:ViaService", "kms:EncryptionContext:SecretARN", "kms:ResourceAliases"}

// condition is one test of a statement.
type condition struct {
	operator, key string
	values        []string
}

// conditions reads a statement's conditions.
func (st *statement) conditions() ([]condition, error) {
	var list []condition
	for operator, keys := range st.Condition {
		if !slices.Contains([]string{"StringEquals", "StringLike", "ForAnyValue:StringEquals"}, operator) {
			return nil, fmt.Errorf("the operator %s is not evaluated here", operator)
		}
		m, ok := keys.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s is no map of keys", operator)
		}
		for key, want := range m {
			if !slices.Contains(roleConditions, key) {
				return nil, fmt.Errorf("the condition key %s is not evaluated here", key)
			}
			c := condition{operator: operator, key: key}
			all, ok := want.([]any)
			if !ok {
				all = []any{want}
			}
			for _, one := range all {
				text, ok := one.(string)
				if !ok {
					return nil, fmt.Errorf("a value of %s is no text", key)
				}
				c.values = append(c.values, text)
			}
			list = append(list, c)
		}
	}
	return list, nil
}

// holds evaluates a condition: a key that the call does not have fits nothing.
func (c condition) holds(have map[string]string) bool {
	text, ok := have[c.key]
	return ok && slices.ContainsFunc(c.values, func(want string) bool {
		return want == text || c.operator == "StringLike" && exactly(want, text)
	})
}

// permits evaluates a role's policy for one action.
func (p *policy) permits(action, resource string, have map[string]string) bool {
	allowed := false
	for _, st := range p.Statement {
		conditions, err := st.conditions()
		if err != nil || !likeAny(st.Action, action) || !slices.ContainsFunc(st.Resource, func(r string) bool { return exactly(r, resource) }) ||
			slices.ContainsFunc(conditions, func(c condition) bool { return !c.holds(have) }) {
			continue
		}
		if st.Effect == "Deny" {
			return false
		}
		allowed = true
	}
	return allowed
}

// keyActions are what an operation does with a secret's key, by the caller's right.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html#security-encryption-authz
var keyActions = map[string][]string{
	"BatchGetSecretValue": {"kms:Decrypt"},
	"GetSecretValue":      {"kms:Decrypt"},
	"PutSecretValue":      {"kms:GenerateDataKey", "kms:Decrypt"},
	"UpdateSecret":        {"kms:GenerateDataKey", "kms:Decrypt"},
}

// ownKey tells whether a secret has a key that is not AWS's.
func (sec *secret) ownKey() bool {
	return sec.Key != "" && !strings.HasSuffix(sec.Key, "alias/aws/secretsmanager")
}

// licensed checks the role's policy for the operation, and for the key. granted is
// set where the secret's own policy allows a caller of its account, which is enough
// without the role's. Unknown: AWS's text for a refused key, beyond its beginning.
func (s *Sim) licensed(c *caller, sec *secret, granted bool) *fault {
	p := s.policies[c.role]
	if p == nil {
		return nil
	}
	action := "secretsmanager:" + c.operation
	have := map[string]string{"secretsmanager:resource/AllowRotationLambdaArn": sec.Rotation.Function}
	if !(granted && c.account == sec.Account) && !p.permits(action, sec.ARN, have) {
		return accessDenied("User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action", c.arn, action, sec.ARN, action)
	}
	if !sec.ownKey() {
		return nil
	}
	key, use := sec.Key, map[string]string{"kms:ViaService": "secretsmanager." + s.opts.Region + ".amazonaws.com", "kms:EncryptionContext:SecretARN": sec.ARN}
	if _, alias, ok := strings.Cut(":"+key, ":alias/"); ok {
		use["kms:ResourceAliases"] = "alias/" + alias
		key = "of-alias-" + alias
	}
	if !strings.HasPrefix(key, "arn:") {
		key = "arn:aws:kms:" + s.opts.Region + ":" + sec.Account + ":key/" + key
	}
	for _, action := range keyActions[c.operation] {
		if !p.permits(action, key, use) {
			return accessDenied("Access to KMS is not allowed: User: %s is not authorized to perform: %s on resource: %s", c.arn, action, key)
		}
	}
	return nil
}

// licensedAlone is licensed for what concerns no secret that exists: a policy allows
// it here on all resources or not at all.
func (s *Sim) licensedAlone(c *caller) *fault {
	if !slices.Contains([]string{"CreateSecret", "ListSecrets", "BatchGetSecretValue", "GetRandomPassword"}, c.operation) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	action := "secretsmanager:" + c.operation
	if p := s.policies[c.role]; p != nil && !p.permits(action, "*", nil) {
		return accessDenied("User: %s is not authorized to perform: %s because no identity-based policy allows the %s action", c.arn, action, action)
	}
	return nil
}
