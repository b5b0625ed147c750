package fleet

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	"golang.org/x/time/rate"

	"example.com/rotator/internal/awserror"
)

// Function is the configuration of a rotation function.
type Function struct {
	ARN, Runtime, Handler, Description string
	// Settings holds the variables that AWS's rotation templates read, and ROTATOR_SETTINGS. No other variable is kept.
	Settings        map[string]string
	Subnets, Groups []string // of the VPC
	// Err is why the configuration could not be read.
	Err error
}

// FunctionName returns the name in a function's ARN, without an alias or version, or "" for any other text.
func FunctionName(text string) string {
	a, err := arn.Parse(text)
	name, ok := strings.CutPrefix(a.Resource, "function:")
	if err != nil || a.Service != "lambda" || !ok {
		return ""
	}
	name, _, _ = strings.Cut(name, ":")
	return name
}

// read reads the configurations of the secrets' rotation functions.
func read(ctx context.Context, client func(account string) *lambda.Client, secrets []Secret) map[string]*Function {
	all := make(map[string]*Function)
	for _, s := range secrets {
		if s.Function != "" {
			all[s.Function] = &Function{ARN: s.Function}
		}
	}
	accounts := make(map[string][]*Function)
	for _, f := range all {
		a, _ := arn.Parse(f.ARN) // Secrets Manager accepts only ARNs
		accounts[a.AccountID] = append(accounts[a.AccountID], f)
	}
	ids := slices.Sorted(maps.Keys(accounts))
	concurrently(ctx, len(ids), 8, func(i int) { readAccount(ctx, client(ids[i]), accounts[ids[i]]) })
	return all
}

// few is the maximum number of functions to read one by one. A page of Lambda's list has fifty.
const few = 50

// readAccount reads functions of one account. Lambda allows an account 15 such calls per second, so calls are paced,
// and many functions are read page by page. Pages omit aliases and versions, which are read one by one.
// Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
func readAccount(ctx context.Context, api *lambda.Client, wanted []*Function) {
	pace := rate.NewLimiter(10, 1)
	var down error // why Lambda does not answer
	if len(wanted) > few {
		unread := make(map[string]*Function, len(wanted))
		for _, f := range wanted {
			unread[f.ARN] = f
		}
		pages := lambda.NewListFunctionsPaginator(api, &lambda.ListFunctionsInput{})
		for pages.HasMorePages() && len(unread) > 0 {
			if down = pace.Wait(ctx); down != nil {
				break
			}
			page, err := pages.NextPage(ctx)
			if err != nil {
				down = awserror.Brief(err)
				break
			}
			for i := range page.Functions {
				c := &page.Functions[i]
				if f := unread[aws.ToString(c.FunctionArn)]; f != nil {
					f.understand(c)
					delete(unread, f.ARN)
				}
			}
		}
		wanted = slices.Collect(maps.Values(unread))
	}
	for _, f := range wanted {
		if f.Err = down; down != nil {
			continue
		}
		f.read(ctx, api, pace)
		if _, answered := errors.AsType[smithy.APIError](f.Err); !answered {
			down = f.Err
		}
	}
}

// ReadFunction reads the configuration of one function.
func ReadFunction(ctx context.Context, api *lambda.Client, id string) *Function {
	f := &Function{ARN: id}
	f.read(ctx, api, rate.NewLimiter(1, 1))
	return f
}

func (f *Function) read(ctx context.Context, api *lambda.Client, pace *rate.Limiter) {
	if f.Err = pace.Wait(ctx); f.Err != nil {
		return
	}
	out, err := api.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &f.ARN})
	if err != nil {
		f.Err = awserror.Brief(err)
		return
	}
	f.understand(&types.FunctionConfiguration{
		Runtime: out.Runtime, Handler: out.Handler, Description: out.Description,
		Environment: out.Environment, VpcConfig: out.VpcConfig, PackageType: out.PackageType,
	})
}

func (f *Function) understand(c *types.FunctionConfiguration) {
	f.Runtime, f.Handler, f.Description = string(c.Runtime), aws.ToString(c.Handler), aws.ToString(c.Description)
	if c.PackageType == types.PackageTypeImage {
		f.Runtime = "image"
	}
	f.Settings = make(map[string]string)
	if c.Environment != nil {
		for _, name := range kept {
			if v, ok := c.Environment.Variables[name]; ok {
				f.Settings[name] = v
			}
		}
	}
	if c.VpcConfig != nil {
		f.Subnets, f.Groups = c.VpcConfig.SubnetIds, c.VpcConfig.SecurityGroupIds
	}
}
