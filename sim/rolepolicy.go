package sim

import (
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/sim/iampolicy"
)

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

// roleConditions are the condition keys that a role's policy may use.
var roleConditions = []string{"secretsmanager:resource/AllowRotationLambdaArn", "kms:ViaService",
	"kms:EncryptionContext:SecretARN", "kms:ResourceAliases"}

// keyActions are the KMS actions that an operation performs with a secret's key, on behalf of the
// caller.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html#security-encryption-authz
var keyActions = map[string][]string{
	"BatchGetSecretValue": {"kms:Decrypt"},
	"GetSecretValue":      {"kms:Decrypt"},
	"PutSecretValue":      {"kms:GenerateDataKey", "kms:Decrypt"},
	"UpdateSecret":        {"kms:GenerateDataKey", "kms:Decrypt"},
}

// ownKey reports whether a secret has a customer managed key.
func (sec *secret) ownKey() bool {
	return sec.Key != "" && !strings.HasSuffix(sec.Key, defaultKey)
}

// licensed checks that the role's policy allows the operation and the use of the key, and that the
// key's policy does. granted means that the secret's policy allows a caller in its account, which
// then does not need the role's policy. Unknown: AWS's text for a refused key, beyond its
// beginning.
func (s *Sim) licensed(c *caller, sec *secret, granted bool) *fault {
	p := s.policies[c.role]
	action := "secretsmanager:" + c.operation
	have := map[string][]string{"secretsmanager:resource/AllowRotationLambdaArn": {sec.Rotation.Function}}
	if p != nil && !(granted && c.account == sec.Account) && !p.Permits(action, sec.ARN, have) {
		return accessDenied("User: %s is not authorized to perform: %s on resource: %s because no identity-based "+
			"policy allows the %s action", c.arn, action, sec.ARN, action)
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
			return accessDenied("Access to KMS is not allowed: User: %s is not authorized to perform: %s on "+
				"resource: %s", c.arn, action, key)
		}
	}
	return nil
}

// licensedAlone is licensed for operations without an existing secret: the policy must allow them
// on all resources.
func (s *Sim) licensedAlone(c *caller) *fault {
	onAll := []string{"CreateSecret", "ListSecrets", "BatchGetSecretValue", "GetRandomPassword"}
	if !slices.Contains(onAll, c.operation) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	action := "secretsmanager:" + c.operation
	if p := s.policies[c.role]; p != nil && !p.Permits(action, "*", nil) {
		return accessDenied("User: %s is not authorized to perform: %s because no identity-based policy allows the "+
			"%s action", c.arn, action, action)
	}
	return nil
}
