package sim

import (
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/sim/iampolicy"
)

// PutRolePolicy gives a role its one identity policy. From then on the sessions of
// that role may do what the policy allows and nothing else; a role without one may
// do all. The key of a secret is part of it: reading and writing a secret with a
// key of its own takes kms:Decrypt and kms:GenerateDataKey.
//
// It fails if arn is not the ARN of a role, or the policy has anything that is not
// evaluated here, as iampolicy.Parse says; the keys of conditions are roleConditions.
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

// roleConditions are the keys that a role's policy may ask for.
var roleConditions = []string{"secretsmanager:resource/AllowRotationLambdaArn", "kms:ViaService", "kms:EncryptionContext:SecretARN", "kms:ResourceAliases"}

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
	return sec.Key != "" && !strings.HasSuffix(sec.Key, defaultKey)
}

// licensed checks the role's policy for the operation, and for the key, whose own policy
// it checks as well. granted is
// set where the secret's own policy allows a caller of its account, which is enough
// without the role's. Unknown: AWS's text for a refused key, beyond its beginning.
func (s *Sim) licensed(c *caller, sec *secret, granted bool) *fault {
	p := s.policies[c.role]
	action := "secretsmanager:" + c.operation
	have := map[string][]string{"secretsmanager:resource/AllowRotationLambdaArn": {sec.Rotation.Function}}
	if p != nil && !(granted && c.account == sec.Account) && !p.Permits(action, sec.ARN, have) {
		return accessDenied("User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action", c.arn, action, sec.ARN, action)
	}
	if !sec.ownKey() {
		return nil
	}
	key, use := sec.Key, map[string][]string{
		"kms:ViaService":                  {"secretsmanager." + sec.region() + ".amazonaws.com"},
		"kms:EncryptionContext:SecretARN": {sec.ARN},
	}
	if _, alias, ok := strings.Cut(":"+key, ":alias/"); ok {
		use["kms:ResourceAliases"] = []string{"alias/" + alias}
		key = "of-alias-" + alias
	}
	if !strings.HasPrefix(key, "arn:") {
		key = "arn:aws:kms:" + sec.region() + ":" + sec.Account + ":key/" + key
	}
	for _, action := range keyActions[c.operation] {
		if p != nil && !p.Permits(action, key, use) || !s.keyAdmits(c, action, key, use) {
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
	if p := s.policies[c.role]; p != nil && !p.Permits(action, "*", nil) {
		return accessDenied("User: %s is not authorized to perform: %s because no identity-based policy allows the %s action", c.arn, action, action)
	}
	return nil
}
