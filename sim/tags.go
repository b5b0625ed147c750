package sim

import (
	"slices"
	"strings"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// maxTags is the maximum number of tags of a secret.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
const maxTags = 50

// ofSystem rejects a tag that is reserved for AWS.
// Source: https://github.com/cloud-custodian/cloud-custodian/issues/9093
func ofSystem(key string) *fault {
	if strings.HasPrefix(strings.ToLower(key), "aws:") {
		return invalidParameter("You can't modify system tags. Tag key: '%s'.", key)
	}
	return nil
}

// tag adds or changes tags. Unknown: the text for too many of them.
func (sec *secret) tag(tags []types.Tag) *fault {
	all := slices.Clone(sec.Tags)
	for _, t := range tags {
		if f := ofSystem(*t.Key); f != nil {
			return f
		}
		if i := slices.IndexFunc(all, func(o types.Tag) bool { return *o.Key == *t.Key }); i >= 0 {
			all[i] = t
		} else {
			all = append(all, t)
		}
	}
	if len(all) > maxTags {
		return invalidRequest("You can't have more than %d tags on a secret.", maxTags)
	}
	sec.Tags = all
	return nil
}

func (s *Sim) tagResource(_ *caller, sec *secret, in *sm.TagResourceInput) (answer, *fault) {
	if f := sec.tag(in.Tags); f != nil {
		return nil, f
	}
	sec.touch(s.clock.Now())
	return answer{}, nil
}

func (s *Sim) untagResource(_ *caller, sec *secret, in *sm.UntagResourceInput) (answer, *fault) {
	for _, k := range in.TagKeys {
		if f := ofSystem(k); f != nil {
			return nil, f
		}
	}
	sec.Tags = slices.DeleteFunc(sec.Tags, func(t types.Tag) bool { return slices.Contains(in.TagKeys, *t.Key) })
	sec.touch(s.clock.Now())
	return answer{}, nil
}
