package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/internal/awserror"
	"example.com/rotator/rotation/engine"
)

// Values is the part of Secrets Manager's client that reads many values; *secretsmanager.Client
// implements it.
type Values interface {
	BatchGetSecretValue(context.Context, *secretsmanager.BatchGetSecretValueInput, ...func(*secretsmanager.Options)) (
		*secretsmanager.BatchGetSecretValueOutput, error)
}

// batch is how many values one call can read.
const batch = 20

// Superusers reads the values of secrets and returns, by the secrets' ARNs, the names or ARNs of the
// superuser secrets that they name in the fields of the kinds. Nothing else of a value is kept. unread has
// the reason for each secret whose value could not be read.
func Superusers(ctx context.Context, api Values, arns []string, kinds []engine.Kind) (
	superusers map[string]string, unread map[string]error) {
	var fields []string
	for _, k := range kinds {
		if f := k.Superusers(); f != "" && !slices.Contains(fields, f) {
			fields = append(fields, f)
		}
	}
	superusers, unread = make(map[string]string), make(map[string]error)
	var mu sync.Mutex
	chunks := slices.Collect(slices.Chunk(arns, batch))
	concurrently(len(chunks), 5, func(i int) {
		out, err := api.BatchGetSecretValue(ctx, &secretsmanager.BatchGetSecretValueInput{SecretIdList: chunks[i]})
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			for _, arn := range chunks[i] {
				unread[arn] = awserror.Brief(err)
			}
			return
		}
		for _, v := range out.SecretValues {
			if name := superuser(v.SecretString, fields); name != "" {
				superusers[aws.ToString(v.ARN)] = name
			}
		}
		for _, e := range out.Errors {
			if code := aws.ToString(e.ErrorCode); code != "ResourceNotFoundException" {
				unread[aws.ToString(e.SecretId)] = errors.New(code + ": " + aws.ToString(e.Message))
			}
		}
	})
	return superusers, unread
}

// superuser returns the first of the fields that a value has.
func superuser(value *string, fields []string) string {
	var v map[string]json.RawMessage
	if value == nil || json.Unmarshal([]byte(*value), &v) != nil {
		return ""
	}
	for _, f := range fields {
		var name string
		if json.Unmarshal(v[f], &name) == nil && name != "" {
			return name
		}
	}
	return ""
}

// Order sorts secrets by name, but superuser secrets before the secrets that name them. It returns for each
// the indices of those that come before it: its superuser secret or, if its value could not be read and it
// is not a superuser secret, all of those. A cycle is cut.
func Order(secrets []Secret, superusers map[string]string, unread map[string]error) (after [][]int) {
	slices.SortFunc(secrets, func(a, b Secret) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ARN, b.ARN))
	})
	before := above(secrets, superusers, unread)
	var depth func(i int) int
	depth = func(i int) (n int) {
		for _, j := range before[i] {
			n = max(n, depth(j)+1)
		}
		return n
	}
	depths, order := make([]int, len(secrets)), make([]int, len(secrets)) // order has the old indices
	for i := range secrets {
		depths[i], order[i] = depth(i), i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(depths[a], depths[b]) })
	place, sorted := make([]int, len(secrets)), make([]Secret, len(secrets))
	for to, from := range order {
		place[from], sorted[to] = to, secrets[from]
	}
	copy(secrets, sorted)
	after = make([][]int, len(secrets))
	for to, from := range order {
		for _, j := range before[from] {
			after[to] = append(after[to], place[j])
		}
	}
	return after
}

// above returns for each secret the indices of those that come before it.
func above(secrets []Secret, superusers map[string]string, unread map[string]error) [][]int {
	index := make(map[string]int, 3*len(secrets))
	for i, s := range secrets {
		index[s.ARN] = i
		index[s.Account+"/"+s.Name] = i
		if dash := strings.LastIndexByte(s.ARN, '-'); dash > 0 {
			index[s.ARN[:dash]] = i // the partial ARN
		}
	}
	up := slices.Repeat([]int{-1}, len(secrets)) // the superuser secret of each, or -1
	var all []int                                // the superuser secrets
	for i, s := range secrets {
		name := superusers[s.ARN]
		j, ok := index[name]
		if !ok {
			j, ok = index[s.Account+"/"+name]
		}
		if ok && !leads(up, j, i) {
			up[i] = j
			all = append(all, j)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	before := make([][]int, len(secrets))
	for i, s := range secrets {
		if up[i] >= 0 {
			before[i] = []int{up[i]}
		}
		if _, superuser := slices.BinarySearch(all, i); unread[s.ARN] != nil && !superuser {
			before[i] = all
		}
	}
	return before
}

// leads reports whether the way up from one secret reaches another.
func leads(up []int, from, to int) bool {
	for i := from; i >= 0; i = up[i] {
		if i == to {
			return true
		}
	}
	return false
}

// Each calls do for each of len(after) jobs, at most parallel at a time. A job begins after the jobs in its
// element of after have ended; apart from that, jobs begin in order. do gets the failed ones of those, and
// reports whether its job succeeded. Once ctx is done, no job begins. begun has the jobs that did.
func Each(ctx context.Context, after [][]int, parallel int, do func(i int, failed []int) bool) (begun []bool) {
	begun = make([]bool, len(after))
	waits := make([]int, len(after)) // how many jobs each still waits for
	followers := make([][]int, len(after))
	failed := make([][]int, len(after))
	var ready []int // the jobs that can begin, in order
	for i, before := range after {
		if waits[i] = len(before); waits[i] == 0 {
			ready = append(ready, i)
		}
		for _, j := range before {
			followers[j] = append(followers[j], i)
		}
	}
	type end struct {
		job int
		ok  bool
	}
	ends := make(chan end)
	for running := 0; running > 0 || len(ready) > 0 && ctx.Err() == nil; {
		if running < parallel && len(ready) > 0 && ctx.Err() == nil {
			i := ready[0]
			ready, begun[i] = ready[1:], true
			running++
			go func() { ends <- end{i, do(i, failed[i])} }()
			continue
		}
		e := <-ends
		running--
		for _, f := range followers[e.job] {
			if !e.ok {
				failed[f] = append(failed[f], e.job)
			}
			if waits[f]--; waits[f] == 0 {
				at, _ := slices.BinarySearch(ready, f)
				ready = slices.Insert(ready, at, f)
			}
		}
	}
	return begun
}
