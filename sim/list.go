package sim

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// paginate returns one page of a list, and the token of the next page or "". Unknown: the text for a bad NextToken.
func paginate[T any](all []T, token *string, limit *int32, most int) (page []T, next string, f *fault) {
	from := 0
	if token != nil {
		var err error
		if from, err = strconv.Atoi(*token); err != nil || from < 0 {
			return nil, "", &fault{"InvalidNextTokenException", "The NextToken value is invalid."}
		}
		from = min(from, len(all))
	}
	if limit != nil {
		most = int(*limit)
	}
	to := min(len(all), from+most)
	if to < len(all) {
		next = strconv.Itoa(to)
	}
	return all[from:to], next, nil
}

// matches reports whether a secret passes all filters. To pass a filter, it must match one of the values, or not match
// one that begins with an exclamation mark.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_search-secret.html
func (s *Sim) matches(sec *secret, filters []types.Filter) bool {
	for _, f := range filters {
		if !slices.ContainsFunc(f.Values, func(v string) bool {
			if bare, not := strings.CutPrefix(v, "!"); not {
				return !s.match(sec, f.Key, bare)
			}
			return s.match(sec, f.Key, v)
		}) {
			return false
		}
	}
	return true
}

func (s *Sim) match(sec *secret, key types.FilterNameStringType, value string) bool {
	prefix := func(of string) bool { return strings.HasPrefix(of, value) }
	switch key {
	case "name":
		return prefix(sec.Name)
	case "tag-key":
		return slices.ContainsFunc(sec.Tags, func(t types.Tag) bool { return prefix(*t.Key) })
	case "tag-value":
		return slices.ContainsFunc(sec.Tags, func(t types.Tag) bool { return prefix(aws.ToString(t.Value)) })
	case "description":
		return hasWords(sec.Description, value)
	case "primary-region":
		return len(sec.Replicas) > 0 && prefix(sec.primary().Region)
	case "owning-service":
		return sec.Owner != "" && prefix(sec.Owner)
	default: // all
		attributes := []string{sec.Name, sec.Description}
		for _, t := range sec.Tags {
			attributes = append(attributes, *t.Key, aws.ToString(t.Value))
		}
		return slices.ContainsFunc(attributes, func(text string) bool { return hasWords(text, value) })
	}
}

// hasWords reports whether the value has words and each is a prefix of a word of the text, ignoring case.
func hasWords(text, value string) bool {
	have, want := splitWords(text), splitWords(value)
	for _, w := range want {
		begins := func(h string) bool { return strings.HasPrefix(strings.ToLower(h), strings.ToLower(w)) }
		if !slices.ContainsFunc(have, begins) {
			return false
		}
	}
	return len(want) > 0
}

// marks separate words, but a text without spaces that contains two different marks is one word.
const marks = "/-_+=.@"

var newWord = regexp.MustCompile(`[^a-z][a-z]+`)

// splitWords returns the words of a text as filters see them. A word ends at a space or a
// mark, and begins at a capital or digit that precedes a lower-case letter.
// Unknown: whether AWS splits at spaces before it looks for marks; the simulator does.
// Source: moto's secretsmanager/list_secrets/filters.py, whose rules were tested on AWS
func splitWords(text string) (words []string) {
	isMark := func(r rune) bool { return strings.ContainsRune(marks, r) }
	space := func(r rune) bool { return !letterOrDigit(r) && !isMark(r) }
	for _, word := range strings.FieldsFunc(text, space) {
		first := max(strings.IndexFunc(word, isMark), 0)
		switch {
		case strings.Trim(word, marks) == "":
		case strings.ContainsAny(word, strings.ReplaceAll(marks, word[first:first+1], "")):
			words = append(words, word)
		default:
			parts := strings.Join(strings.FieldsFunc(word, isMark), " ")
			words = append(words, strings.Fields(newWord.ReplaceAllString(parts, " $0 "))...)
		}
	}
	return words
}

func letterOrDigit(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r >= 128
}

// listSecrets begins with the oldest secret by default. Unknown: where AWS puts secrets that were never retrieved when
// it sorts by that date; the simulator puts them first.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html and moto's tests
func (s *Sim) listSecrets(c *caller, in *sm.ListSecretsInput) (answer, *fault) {
	all, f := s.filtered(c, in.Filters, aws.ToBool(in.IncludePlannedDeletion))
	if f != nil {
		return nil, f
	}
	slices.SortFunc(all, func(a, b *secret) int {
		n := 0
		switch in.SortBy {
		case "", "created-date":
			n = a.Created.Compare(b.Created)
		case "last-accessed-date":
			n = a.Accessed.Compare(b.Accessed)
		case "last-changed-date":
			n = a.Changed.Compare(b.Changed)
		}
		n = cmp.Or(n, byName(a, b))
		if in.SortOrder == "desc" {
			n = -n
		}
		return n
	})
	page, next, f := paginate(all, in.NextToken, in.MaxResults, 100)
	if f != nil {
		return nil, f
	}
	list := []answer{}
	for _, sec := range page {
		e := s.describe(sec)
		e["SecretVersionsToStages"] = sec.byVersion()
		list = append(list, e)
	}
	return answer{"SecretList": list, "NextToken": next}, nil
}

func byName(a, b *secret) int { return strings.Compare(a.Name, b.Name) }

// filtered returns the secrets and replicas that pass the filters, in the caller's account and region, in no order.
func (s *Sim) filtered(c *caller, filters []types.Filter, deleted bool) (all []*secret, _ *fault) {
	for _, f := range filters {
		switch {
		case f.Key == "":
			return nil, invalidParameter("Invalid filter key")
		case f.Values == nil:
			return nil, invalidParameter("Invalid filter values for key: %s", f.Key)
		}
	}
	for at, sec := range s.secrets {
		if at.region != c.region {
			sec = sec.in(c.region)
		}
		if at.account == c.account && sec != nil && (deleted || sec.Deleted.IsZero()) && s.matches(sec, filters) {
			all = append(all, sec)
		}
	}
	return all, nil
}

func (s *Sim) batchGetSecretValue(c *caller, in *sm.BatchGetSecretValueInput) (answer, *fault) {
	if (in.SecretIdList == nil) == (in.Filters == nil) {
		return nil, invalidParameter("Either 'SecretIdList' or 'Filters' must be provided, but not both.")
	}
	if in.MaxResults != nil && in.Filters == nil {
		return nil, invalidParameter(
			"'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.")
	}
	ids, next := in.SecretIdList, ""
	if in.Filters != nil {
		all, f := s.filtered(c, in.Filters, false)
		if f != nil {
			return nil, f
		}
		slices.SortFunc(all, byName)
		page, n, f := paginate(all, in.NextToken, in.MaxResults, 20)
		if f != nil {
			return nil, f
		}
		for _, sec := range page {
			ids = append(ids, sec.ARN)
		}
		next = n
	}
	values, failed := []answer{}, []answer{}
	each := *c
	each.operation = "GetSecretValue"
	for _, id := range ids {
		var out answer
		sec, f := s.find(&each, id)
		if f == nil {
			out, f = s.getSecretValue(&each, sec, &sm.GetSecretValueInput{})
		}
		if f != nil {
			failed = append(failed, answer{"SecretId": id, "ErrorCode": f.Code, "Message": f.Message})
			continue
		}
		values = append(values, out)
	}
	return answer{"SecretValues": values, "Errors": failed, "NextToken": next}, nil
}

func (s *Sim) describeSecret(c *caller, sec *secret, _ *sm.DescribeSecretInput) (answer, *fault) {
	sec = s.seen(c, sec)
	out := s.describe(sec)
	if !sec.Rotation.Enabled {
		// ListSecrets still returns it.
		// Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DescribeSecret.html
		delete(out, "LastRotatedDate")
	}
	out["VersionIdsToStages"] = sec.byVersion()
	if len(sec.Replicas) > 0 && sec.origin == nil {
		out["ReplicationStatus"] = sec.replicationStatus()
	}
	return out, nil
}

// describe returns what DescribeSecret and ListSecrets have in common.
func (s *Sim) describe(sec *secret) answer {
	r := &sec.Rotation
	out := sec.answer("CreatedDate", stamp(sec.Created), "LastChangedDate", stamp(sec.Changed),
		"LastAccessedDate", stamp(sec.Accessed), "DeletedDate", stamp(sec.Deleted), "Description", sec.Description,
		"Type", sec.Type, "OwningService", sec.Owner, "Tags", sec.Tags, "LastRotatedDate", stamp(r.Last),
		"NextRotationDate", stamp(r.Next), "RotationLambdaARN", r.Function, "RotationRules", shownRules(r.Rules),
		"ExternalSecretRotationRoleArn", r.Role, "ExternalSecretRotationMetadata", r.Metadata)
	if sec.ownKey() {
		out["KmsKeyId"] = sec.Key
	}
	if r.configured() {
		out["RotationEnabled"] = r.Enabled
	}
	if len(sec.Replicas) > 0 {
		out["PrimaryRegion"] = sec.primary().Region
	}
	return out
}

// listSecretVersionIds lists versions that have a value. Unknown: whether AWS answers for a secret
// that is scheduled for deletion; the simulator does.
func (s *Sim) listSecretVersionIds(
	c *caller, sec *secret, in *sm.ListSecretVersionIdsInput,
) (answer, *fault) {
	sec = s.seen(c, sec)
	all := slices.DeleteFunc(sec.newest(), func(v *version) bool {
		return !v.filled() || !aws.ToBool(in.IncludeDeprecated) && sec.stages(v.ID) == nil
	})
	page, next, f := paginate(all, in.NextToken, in.MaxResults, 100)
	if f != nil {
		return nil, f
	}
	versions := []answer{}
	for _, v := range page {
		versions = append(versions, answer{"VersionId": v.ID, "CreatedDate": stamp(v.Created),
			"KmsKeyIds":     []string{cmp.Or(sec.Key, "DefaultEncryptionKey")},
			"VersionStages": sec.stages(v.ID), "LastAccessedDate": stamp(v.Accessed)})
	}
	return sec.answer("Versions", versions, "NextToken", next), nil
}
