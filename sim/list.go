package sim

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// nextToken says where a list goes on; "" for its end.
type nextToken string

// in adds the token to an answer.
func (t nextToken) in(a answer) answer {
	if t != "" {
		a["NextToken"] = string(t)
	}
	return a
}

// paginate returns one page of a list. Unknown: the text for a bad NextToken.
func paginate[T any](all []T, token string, limit *int, most int) ([]T, nextToken, *fault) {
	from := 0
	if token != "" {
		text, err := base64.RawURLEncoding.DecodeString(token)
		if err == nil {
			from, err = strconv.Atoi(strings.TrimPrefix(string(text), "page:"))
		}
		if err != nil || !strings.HasPrefix(string(text), "page:") || from < 0 {
			return nil, "", &fault{"InvalidNextTokenException", "The NextToken value is invalid."}
		}
		from = min(from, len(all))
	}
	if limit != nil {
		most = *limit
	}
	to := min(len(all), from+most)
	var next nextToken
	if to < len(all) {
		next = nextToken(base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "page:%d", to)))
	}
	return all[from:to], next, nil
}

type filter struct {
	Key    string   `enum:"description name tag-key tag-value primary-region owning-service all"`
	Values []string `min:"1" max:"10"`
}

var filterValue = regexp.MustCompile(`^\!?[a-zA-Z0-9 :_@\/\+\=\.\-\!]*$`)

func checkFilters(filters []filter) *fault {
	for _, f := range filters {
		if f.Key == "" {
			return invalidParameter("Invalid filter key")
		}
		if len(f.Values) == 0 {
			return invalidParameter("Invalid filter values for key: %s", f.Key)
		}
		for _, v := range f.Values {
			if len(v) > 512 || !filterValue.MatchString(v) {
				return validation("1 validation error detected: Value '[%s]' at 'filters' failed to satisfy constraint: Member must satisfy regular expression pattern: %s", v, filterValue)
			}
		}
	}
	return nil
}

// matches tells whether a secret passes all filters; of the values of one filter
// any will do, and one that begins with an exclamation mark must not match.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_search-secret.html
func (s *Sim) matches(sec *secret, filters []filter) bool {
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

func (s *Sim) match(sec *secret, key, value string) bool {
	prefix := func(of string) bool { return strings.HasPrefix(of, value) }
	switch key {
	case "name":
		return prefix(sec.Name)
	case "tag-key":
		return slices.ContainsFunc(sec.Tags, func(t tag) bool { return prefix(t.Key) })
	case "tag-value":
		return slices.ContainsFunc(sec.Tags, func(t tag) bool { return prefix(t.Value) })
	case "description":
		return hasWords(sec.Description, value)
	case "primary-region":
		return len(sec.Replicas) > 0 && prefix(sec.primary().region())
	case "owning-service":
		return false // no secret here is managed by another service
	default: // all
		text := sec.Name + " " + sec.Description
		for _, t := range sec.Tags {
			text += " " + t.Key + " " + t.Value
		}
		return hasWords(text, value)
	}
}

var wordBreak = regexp.MustCompile(`[^A-Za-z0-9]+`)

// hasWords tells whether each word of a value begins some word of a text,
// whatever the case.
func hasWords(text, value string) bool {
	words := wordBreak.Split(strings.ToLower(text), -1)
	for _, w := range wordBreak.Split(strings.ToLower(value), -1) {
		if !slices.ContainsFunc(words, func(have string) bool { return strings.HasPrefix(have, w) }) {
			return false
		}
	}
	return true
}

type listInput struct {
	NextToken              string   `min:"1" max:"4096"`
	MaxResults             *int     `min:"1" max:"100"`
	Filters                []filter `max:"10"`
	SortOrder              string   `enum:"asc desc"`
	SortBy                 string   `enum:"created-date last-accessed-date last-changed-date name"`
	IncludePlannedDeletion bool
}

func (s *Sim) listSecrets(c *caller, in listInput) (any, *fault) {
	if f := checkFilters(in.Filters); f != nil {
		return nil, f
	}
	all := s.filtered(c, in.Filters, in.IncludePlannedDeletion)
	when := map[string]func(*secret) time.Time{
		"last-accessed-date": func(s *secret) time.Time { return s.Accessed },
		"last-changed-date":  func(s *secret) time.Time { return s.Changed },
	}[in.SortBy]
	if when == nil {
		when = func(s *secret) time.Time { return s.Created }
	}
	slices.SortStableFunc(all, func(a, b *secret) int {
		n := when(a).Compare(when(b))
		if in.SortBy == "name" {
			n = strings.Compare(a.Name, b.Name)
		}
		if in.SortOrder != "asc" { // newest first unless told otherwise
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
		if len(sec.Labels) > 0 {
			e["SecretVersionsToStages"] = sec.byVersion()
		}
		list = append(list, e)
	}
	return next.in(answer{"SecretList": list}), nil
}

// filtered returns an account's secrets and replicas of a region, by name.
func (s *Sim) filtered(c *caller, filters []filter, deleted bool) []*secret {
	var all []*secret
	for _, sec := range s.accounts[c.account] {
		if sec.region() != c.region {
			sec = sec.in(c.region)
		}
		if sec != nil && (deleted || sec.Deleted.IsZero()) && s.matches(sec, filters) {
			all = append(all, sec)
		}
	}
	slices.SortFunc(all, func(a, b *secret) int { return strings.Compare(a.Name, b.Name) })
	return all
}

type batchInput struct {
	SecretIdList []string `min:"1" max:"20" each:"2048"`
	Filters      []filter `max:"10"`
	MaxResults   *int     `min:"1" max:"20"`
	NextToken    string   `min:"1" max:"4096"`
}

func (s *Sim) batchGetSecretValue(c *caller, in batchInput) (any, *fault) {
	if (in.SecretIdList == nil) == (in.Filters == nil) {
		return nil, invalidParameter("Either 'SecretIdList' or 'Filters' must be provided, but not both.")
	}
	if in.MaxResults != nil && in.Filters == nil {
		return nil, invalidParameter("'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.")
	}
	if f := checkFilters(in.Filters); f != nil {
		return nil, f
	}
	ids, next := in.SecretIdList, nextToken("")
	if in.Filters != nil {
		page, n, f := paginate(s.filtered(c, in.Filters, false), in.NextToken, in.MaxResults, 20)
		if f != nil {
			return nil, f
		}
		for _, sec := range page {
			ids = append(ids, sec.ARN)
		}
		next = n
	}
	values, failed := []any{}, []answer{}
	each := *c
	each.operation = "GetSecretValue"
	for _, id := range ids {
		out, f := s.getSecretValue(&each, getInput{SecretId: id})
		if f != nil {
			failed = append(failed, answer{"SecretId": id, "ErrorCode": f.Code, "Message": f.Message})
			continue
		}
		values = append(values, out)
	}
	return next.in(answer{"SecretValues": values, "Errors": failed}), nil
}
