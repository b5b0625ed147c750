package secretsim

import (
	"cmp"
	"crypto/rand"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// answer is the body of a successful answer. Members without a value are left out.
type answer map[string]any

const noToken = "You must provide a ClientRequestToken value. We recommend a UUID-type value."

func tokenUsed(token, arn string) *fault {
	return &fault{"ResourceExistsException", "You can't use ClientRequestToken " + token + " because that value is already in use for a version of secret " + arn + "."}
}

// checkToken is the check that comes before all others.
func checkToken(token string) *fault {
	if token == "" {
		return invalidRequest(noToken)
	}
	if len(token) < 32 || len(token) > 64 {
		return invalidParameter("ClientRequestToken must be 32-64 characters long.")
	}
	return nil
}

func checkValue(text *string, binary []byte, required bool) *fault {
	none := (text == nil || *text == "") && len(binary) == 0
	switch {
	case text != nil && binary != nil:
		return invalidParameter("You can't specify both a binary secret value and a string secret value in the same secret.")
	case none && (required || text != nil || binary != nil):
		return invalidRequest("You must provide either SecretString or SecretBinary.")
	case text != nil && len(*text) > 65536:
		return constraint("secretString", "secretString", "have length less than or equal to 65536")
	case len(binary) > 65536:
		return constraint("secretBinary", "secretBinary", "have length less than or equal to 65536")
	}
	return nil
}

type createInput struct {
	Name, ClientRequestToken, Description, KmsKeyId string
	SecretString                                    *string
	SecretBinary                                    []byte
	Tags                                            []tag
}

func (s *Sim) createSecret(in createInput) (any, *fault) {
	if f := checkToken(in.ClientRequestToken); f != nil {
		return nil, f
	}
	if !nameForm.MatchString(in.Name) || len(in.Name) > 512 {
		return nil, validation(badName)
	}
	if f := checkValue(in.SecretString, in.SecretBinary, false); f != nil {
		return nil, f
	}
	if sec := s.secrets[in.Name]; sec != nil {
		v := sec.versions[in.ClientRequestToken]
		switch {
		case !sec.deleted.IsZero():
			return nil, invalidRequest("You can't create this secret because a secret with this name is already scheduled for deletion.")
		case v != nil && v.same(in.SecretString, in.SecretBinary):
			return answer{"ARN": sec.arn, "Name": sec.name, "VersionId": v.id}, nil
		case v != nil:
			return nil, tokenUsed(in.ClientRequestToken, sec.arn)
		}
		return nil, &fault{"ResourceExistsException", "The operation failed because the secret " + in.Name + " already exists."}
	}
	now := s.now()
	sec := &secret{
		name: in.Name, arn: "arn:aws:secretsmanager:" + s.opts.Region + ":" + s.opts.Account + ":secret:" + in.Name + "-" + suffix(),
		description: in.Description, key: in.KmsKeyId, created: now, changed: now,
		versions: make(map[string]*version), labels: make(map[string]string),
	}
	sec.tag(in.Tags)
	s.secrets[in.Name] = sec
	out := answer{"ARN": sec.arn, "Name": sec.name}
	if in.SecretString != nil || in.SecretBinary != nil {
		s.store(sec, in.ClientRequestToken, in.SecretString, in.SecretBinary, []string{current})
		out["VersionId"] = in.ClientRequestToken
	}
	return out, nil
}

// store makes a version, or fills the place that a rotation has reserved.
func (s *Sim) store(sec *secret, token string, text *string, binary []byte, stages []string) *version {
	now := s.now()
	if !sec.hadAnyValue && !slices.Contains(stages, current) {
		stages = append(slices.Clone(stages), current)
	}
	sec.hadAnyValue = true
	v := &version{id: token, text: text, binary: binary, created: now}
	sec.versions[token] = v
	sec.attach(token, stages)
	sec.changed = now
	sec.prune(now)
	return v
}

type getInput struct{ SecretId, VersionId, VersionStage string }

func (s *Sim) getSecretValue(in getInput) (any, *fault) {
	sec, f := s.live(in.SecretId)
	if f != nil {
		return nil, f
	}
	label := in.VersionStage
	if label == "" && in.VersionId == "" {
		label = current
	}
	id := cmp.Or(in.VersionId, sec.labels[label])
	v := sec.versions[id]
	switch {
	case v == nil && in.VersionId != "":
		return nil, notFound("secret value for VersionId: %s", in.VersionId)
	case v == nil:
		return nil, notFound("secret value for staging label: %s", label)
	case label != "" && sec.labels[label] != id:
		return nil, invalidRequest("You provided a VersionStage that is not associated to the provided VersionId.")
	case !v.filled() && in.VersionId != "":
		return nil, notFound("secret value for VersionId: %s", in.VersionId)
	case !v.filled():
		return nil, notFound("secret value for staging label: %s", label)
	}
	day := time.Now().UTC().Truncate(24 * time.Hour)
	sec.accessed, v.accessed = day, day
	out := answer{"ARN": sec.arn, "Name": sec.name, "VersionId": id, "CreatedDate": stamp(v.created)}
	if v.text != nil {
		out["SecretString"] = *v.text
	} else {
		out["SecretBinary"] = v.binary
	}
	if l := sec.stages(id); l != nil {
		out["VersionStages"] = l
	}
	return out, nil
}

type putInput struct {
	SecretId, ClientRequestToken, RotationToken string
	SecretString                                *string
	SecretBinary                                []byte
	VersionStages                               []string
}

func (s *Sim) putSecretValue(in putInput) (any, *fault) {
	if f := checkToken(in.ClientRequestToken); f != nil {
		return nil, f
	}
	sec, f := s.live(in.SecretId)
	if f != nil {
		return nil, f
	}
	if f := checkValue(in.SecretString, in.SecretBinary, true); f != nil {
		return nil, f
	}
	if n := len(in.RotationToken); n != 0 && (n < 36 || n > 256) {
		return nil, constraint("***", "rotationToken", "have length greater than or equal to 36")
	}
	if n := len(in.VersionStages); in.VersionStages != nil && (n < 1 || n > 20) {
		return nil, constraint(in.VersionStages, "versionStages", "have length between 1 and 20")
	}
	if v := sec.versions[in.ClientRequestToken]; v != nil && v.filled() {
		if !v.same(in.SecretString, in.SecretBinary) {
			return nil, tokenUsed(in.ClientRequestToken, sec.arn)
		}
	} else {
		stages := in.VersionStages
		if stages == nil {
			stages = []string{current}
		}
		s.store(sec, in.ClientRequestToken, in.SecretString, in.SecretBinary, stages)
	}
	return answer{"ARN": sec.arn, "Name": sec.name, "VersionId": in.ClientRequestToken, "VersionStages": sec.stages(in.ClientRequestToken)}, nil
}

type updateInput struct {
	SecretId, ClientRequestToken string
	Description, KmsKeyId        *string
	SecretString                 *string
	SecretBinary                 []byte
}

func (s *Sim) updateSecret(in updateInput) (any, *fault) {
	if f := checkToken(in.ClientRequestToken); f != nil {
		return nil, f
	}
	sec, f := s.live(in.SecretId)
	if f != nil {
		return nil, f
	}
	if f := checkValue(in.SecretString, in.SecretBinary, false); f != nil {
		return nil, f
	}
	out := answer{"ARN": sec.arn, "Name": sec.name}
	if in.SecretString != nil || in.SecretBinary != nil {
		if v := sec.versions[in.ClientRequestToken]; v != nil && v.filled() {
			if !v.same(in.SecretString, in.SecretBinary) {
				return nil, tokenUsed(in.ClientRequestToken, sec.arn)
			}
		} else {
			s.store(sec, in.ClientRequestToken, in.SecretString, in.SecretBinary, []string{current})
		}
		out["VersionId"] = in.ClientRequestToken
	}
	if in.Description != nil {
		sec.description = *in.Description
	}
	if in.KmsKeyId != nil {
		sec.key = *in.KmsKeyId
	}
	sec.changed = s.now()
	return out, nil
}

type stageInput struct{ SecretId, VersionStage, RemoveFromVersionId, MoveToVersionId string }

func (s *Sim) updateSecretVersionStage(in stageInput) (any, *fault) {
	sec, f := s.live(in.SecretId)
	if f != nil {
		return nil, f
	}
	if f := sec.move(in.VersionStage, in.RemoveFromVersionId, in.MoveToVersionId); f != nil {
		return nil, f
	}
	sec.changed = s.now()
	return answer{"ARN": sec.arn, "Name": sec.name}, nil
}

type idInput struct{ SecretId string }

func (s *Sim) describeSecret(in idInput) (any, *fault) {
	sec, f := s.find(in.SecretId)
	if f != nil {
		return nil, f
	}
	out := s.describe(sec)
	if len(sec.labels) > 0 {
		out["VersionIdsToStages"] = sec.byVersion()
	}
	return out, nil
}

func (sec *secret) byVersion() map[string][]string {
	m := make(map[string][]string)
	for _, id := range sec.labels {
		m[id] = sec.stages(id)
	}
	return m
}

func (s *Sim) describe(sec *secret) answer {
	out := answer{"ARN": sec.arn, "Name": sec.name, "CreatedDate": stamp(sec.created), "LastChangedDate": stamp(sec.changed)}
	set := func(name, v string) {
		if v != "" {
			out[name] = v
		}
	}
	set("Description", sec.description)
	set("KmsKeyId", sec.key)
	set("RotationLambdaARN", sec.rotation.function)
	if sec.rotation.function != "" {
		out["RotationEnabled"] = sec.rotation.enabled
	}
	if sec.rotation.rules != nil {
		out["RotationRules"] = sec.rotation.rules
	}
	for name, t := range map[string]time.Time{"LastAccessedDate": sec.accessed, "LastRotatedDate": sec.rotation.last, "DeletedDate": sec.deleted} {
		if !t.IsZero() {
			out[name] = stamp(t)
		}
	}
	if sec.everTagged {
		out["Tags"] = append([]tag{}, sec.tags...)
	}
	return out
}

type listVersionsInput struct {
	SecretId, NextToken string
	MaxResults          int
	IncludeDeprecated   bool
}

func (s *Sim) listSecretVersionIds(in listVersionsInput) (any, *fault) {
	sec, f := s.find(in.SecretId)
	if f != nil {
		return nil, f
	}
	var all []*version
	for _, v := range sec.versions {
		if v.filled() && (in.IncludeDeprecated || sec.stages(v.id) != nil) {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b *version) int { return cmp.Or(b.created.Compare(a.created), strings.Compare(a.id, b.id)) })
	page, next, f := paginate(all, in.NextToken, in.MaxResults)
	if f != nil {
		return nil, f
	}
	versions := []answer{}
	for _, v := range page {
		e := answer{"VersionId": v.id, "CreatedDate": stamp(v.created), "KmsKeyIds": []string{cmp.Or(sec.key, "DefaultEncryptionKey")}}
		if l := sec.stages(v.id); l != nil {
			e["VersionStages"] = l
		}
		if !v.accessed.IsZero() {
			e["LastAccessedDate"] = stamp(v.accessed)
		}
		versions = append(versions, e)
	}
	out := answer{"ARN": sec.arn, "Name": sec.name, "Versions": versions}
	if next != "" {
		out["NextToken"] = next
	}
	return out, nil
}

func paginate[T any](all []T, token string, limit int) ([]T, string, *fault) {
	from := 0
	if token != "" {
		n, err := strconv.Atoi(token)
		if err != nil || n < 0 || n > len(all) {
			return nil, "", &fault{"InvalidNextTokenException", "The NextToken value is invalid."}
		}
		from = n
	}
	to := min(len(all), from+cmp.Or(limit, 100))
	next := ""
	if to < len(all) {
		next = strconv.Itoa(to)
	}
	return all[from:to], next, nil
}

type listInput struct {
	NextToken              string
	MaxResults             int
	IncludePlannedDeletion bool
}

func (s *Sim) listSecrets(in listInput) (any, *fault) {
	var all []*secret
	for _, sec := range s.secrets {
		if sec.deleted.IsZero() || in.IncludePlannedDeletion {
			all = append(all, sec)
		}
	}
	slices.SortFunc(all, func(a, b *secret) int { return b.created.Compare(a.created) })
	page, next, f := paginate(all, in.NextToken, in.MaxResults)
	if f != nil {
		return nil, f
	}
	list := []answer{}
	for _, sec := range page {
		e := s.describe(sec)
		if len(sec.labels) > 0 {
			e["SecretVersionsToStages"] = sec.byVersion()
		}
		list = append(list, e)
	}
	out := answer{"SecretList": list}
	if next != "" {
		out["NextToken"] = next
	}
	return out, nil
}

type deleteInput struct {
	SecretId                   string
	RecoveryWindowInDays       *int
	ForceDeleteWithoutRecovery bool
}

func (s *Sim) deleteSecret(in deleteInput) (any, *fault) {
	sec, f := s.find(in.SecretId)
	if f != nil {
		return nil, f
	}
	days := 30
	if in.RecoveryWindowInDays != nil {
		days = *in.RecoveryWindowInDays
		if in.ForceDeleteWithoutRecovery {
			return nil, invalidParameter("You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
		}
		if days < 7 || days > 30 {
			return nil, invalidParameter("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
		}
	}
	now := s.now()
	if in.ForceDeleteWithoutRecovery {
		delete(s.secrets, sec.name)
		sec.deleted = now
		return answer{"ARN": sec.arn, "Name": sec.name, "DeletionDate": stamp(now)}, nil
	}
	if !sec.deleted.IsZero() {
		return nil, invalidRequest("You can't perform this operation on the secret because it was marked for deletion.")
	}
	sec.deleted = now.AddDate(0, 0, days)
	return answer{"ARN": sec.arn, "Name": sec.name, "DeletionDate": stamp(sec.deleted)}, nil
}

func (s *Sim) restoreSecret(in idInput) (any, *fault) {
	sec, f := s.find(in.SecretId)
	if f != nil {
		return nil, f
	}
	sec.deleted = time.Time{}
	return answer{"ARN": sec.arn, "Name": sec.name}, nil
}

func (s *Sim) cancelRotateSecret(in idInput) (any, *fault) {
	sec, f := s.live(in.SecretId)
	if f != nil {
		return nil, f
	}
	if sec.rotation.function == "" {
		return nil, invalidRequest("No Lambda rotation function ARN is associated with this secret.")
	}
	sec.rotation.enabled = false
	if sec.rotation.stop != nil {
		sec.rotation.stop()
	}
	out := answer{"ARN": sec.arn, "Name": sec.name}
	if p, ok := sec.labels[pending]; ok {
		out["VersionId"] = p
	}
	return out, nil
}

type tagInput struct {
	SecretId string
	Tags     []tag
	TagKeys  []string
}

func (sec *secret) tag(tags []tag) {
	for _, t := range tags {
		sec.everTagged = true
		if i := slices.IndexFunc(sec.tags, func(o tag) bool { return o.Key == t.Key }); i >= 0 {
			sec.tags[i] = t
		} else {
			sec.tags = append(sec.tags, t)
		}
	}
}

func (s *Sim) tagResource(in tagInput) (any, *fault) {
	sec, f := s.live(in.SecretId)
	if f != nil {
		return nil, f
	}
	sec.tag(in.Tags)
	return answer{}, nil
}

func (s *Sim) untagResource(in tagInput) (any, *fault) {
	sec, f := s.live(in.SecretId)
	if f != nil {
		return nil, f
	}
	sec.tags = slices.DeleteFunc(sec.tags, func(t tag) bool { return slices.Contains(in.TagKeys, t.Key) })
	return answer{}, nil
}

type randomInput struct {
	PasswordLength                                                         *int
	ExcludeCharacters                                                      string
	ExcludeNumbers, ExcludePunctuation, ExcludeUppercase, ExcludeLowercase bool
	IncludeSpace                                                           bool
	RequireEachIncludedType                                                *bool
}

func (s *Sim) getRandomPassword(in randomInput) (any, *fault) {
	n := 32
	if in.PasswordLength != nil {
		n = *in.PasswordLength
	}
	if n < 1 {
		return nil, constraint(n, "passwordLength", "have value greater than or equal to 1")
	}
	if n > 4096 {
		return nil, constraint(n, "passwordLength", "have value less than or equal to 4096")
	}
	required := in.RequireEachIncludedType == nil || *in.RequireEachIncludedType
	var classes []string
	for _, c := range []struct {
		out bool
		set string
	}{{in.ExcludeUppercase, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}, {in.ExcludeLowercase, "abcdefghijklmnopqrstuvwxyz"}, {in.ExcludeNumbers, "0123456789"}, {in.ExcludePunctuation, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"}} {
		if c.out {
			continue
		}
		set := strings.Map(func(r rune) rune {
			if strings.ContainsRune(in.ExcludeCharacters, r) {
				return -1
			}
			return r
		}, c.set)
		if set == "" && required {
			return nil, invalidParameter("All characters of the desired type have been excluded")
		}
		classes = append(classes, set)
	}
	all := strings.Join(classes, "")
	if in.IncludeSpace {
		all += " "
	}
	if all == "" {
		return nil, invalidParameter("All characters have been excluded from selection")
	}
	if required && n < len(classes) {
		return nil, invalidParameter("Password length is too short based on the required types")
	}
	for {
		b := make([]byte, n)
		for i := range b {
			k, _ := rand.Int(rand.Reader, big.NewInt(int64(len(all))))
			b[i] = all[k.Int64()]
		}
		if !required || !slices.ContainsFunc(classes, func(c string) bool { return !strings.ContainsAny(string(b), c) }) {
			return answer{"RandomPassword": string(b)}, nil
		}
	}
}
