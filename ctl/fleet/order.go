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

// batch is how many values one call can read.
const batch = 20

// Superusers reads the values of secrets, and returns the name or ARN of the superuser secret that each value names in
// a field of one of the kinds, by the secret's ARN. It keeps nothing else of a value. unread has the reason for each
// value that could not be read.
func Superusers(ctx context.Context, api *secretsmanager.Client, arns []string, kinds []engine.Kind) (
	superusers map[string]string, unread []error) {
	var fields []string
	for _, k := range kinds {
		if f := k.Superusers(); f != "" && !slices.Contains(fields, f) {
			fields = append(fields, f)
		}
	}
	superusers = make(map[string]string)
	var mu sync.Mutex
	chunks := slices.Collect(slices.Chunk(arns, batch))
	concurrently(ctx, len(chunks), 5, func(i int) {
		out, err := api.BatchGetSecretValue(ctx, &secretsmanager.BatchGetSecretValueInput{SecretIdList: chunks[i]})
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			unread = append(unread, slices.Repeat([]error{awserror.Brief(err)}, len(chunks[i]))...)
			return
		}
		for _, v := range out.SecretValues {
			if name := superuser(v.SecretString, fields); name != "" {
				superusers[aws.ToString(v.ARN)] = name
			}
		}
		for _, e := range out.Errors {
			if code := aws.ToString(e.ErrorCode); code != "ResourceNotFoundException" {
				unread = append(unread, errors.New(code+": "+aws.ToString(e.Message)))
			}
		}
	})
	return superusers, unread
}

// superuser returns the first of the fields that is set in a value.
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

// Order sorts secrets by name, with superuser secrets before the secrets that name them. For each secret it returns the
// index, which is lower, of its superuser secret, or -1.
func Order(secrets []Secret, superusers map[string]string) (after []int) {
	arns := make(map[string]string, 2*len(secrets))
	for _, s := range secrets {
		arns[s.ARN], arns[s.Account+"/"+s.Name] = s.ARN, s.ARN
		if dash := strings.LastIndexByte(s.ARN, '-'); dash > 0 {
			arns[s.ARN[:dash]] = s.ARN // the partial ARN
		}
	}
	up := make(map[string]string)
	for _, s := range secrets {
		name := superusers[s.ARN]
		if superuser := cmp.Or(arns[name], arns[s.Account+"/"+name]); superuser != s.ARN {
			up[s.ARN] = superuser
		}
	}
	depth := func(s Secret) (n int) {
		for arn := up[s.ARN]; arn != "" && n < 9; arn = up[arn] { // nine is enough, unless they form a cycle
			n++
		}
		return n
	}
	slices.SortFunc(secrets, func(a, b Secret) int { return cmp.Or(cmp.Compare(depth(a), depth(b)), a.compare(b)) })
	place := make(map[string]int, len(secrets))
	for i, s := range secrets {
		superuser, before := place[up[s.ARN]]
		if !before {
			superuser = -1
		}
		after = append(after, superuser)
		place[s.ARN] = i
	}
	return after
}

// Each calls do for the jobs 0 to len(after)-1, in order and at most parallel at a time. Job i waits for job after[i],
// which has a lower index, unless that is negative. do gets whether that job succeeded, and reports whether job i did.
// Once ctx is done, no job begins.
func Each(ctx context.Context, after []int, parallel int, do func(i int, ready bool) bool) {
	succeeded := make([]bool, len(after))
	ended := make([]chan struct{}, len(after))
	free := make(chan struct{}, parallel)
	var all sync.WaitGroup
	for i, before := range after {
		ended[i] = make(chan struct{})
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			defer close(ended[i])
			ready := true
			if before >= 0 {
				<-ended[before]
				ready = succeeded[before]
			}
			if ctx.Err() == nil {
				succeeded[i] = do(i, ready)
			}
		})
	}
	all.Wait()
}

// concurrently calls do for 0 to n-1, at most limit at a time, until ctx is done.
func concurrently(ctx context.Context, n, limit int, do func(int)) {
	Each(ctx, slices.Repeat([]int{-1}, n), limit, func(i int, _ bool) bool {
		do(i)
		return true
	})
}
