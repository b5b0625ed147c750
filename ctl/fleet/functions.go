package fleet

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"golang.org/x/time/rate"

	"example.com/rotator/internal/awserror"
)

// Function is the configuration of a rotation function.
type Function struct {
	ARN, Runtime, Handler, Description string // the ARN without a version or alias
	// Settings holds the variables that AWS's rotation templates read. No other variable is kept.
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

// unqualified returns a function's ARN without an alias or version.
func unqualified(id string) string {
	head, _, _ := strings.Cut(id, ":function:")
	return head + ":function:" + FunctionName(id)
}

// read reads the configurations of functions, and returns them by unqualified ARN.
func read(ctx context.Context, client func(account string) *lambda.Client, arns []string) map[string]*Function {
	all := make(map[string]*Function)
	accounts := make(map[string][]*Function)
	for _, id := range arns {
		a, _ := arn.Parse(id) // Secrets Manager accepts only ARNs
		if id = unqualified(id); all[id] == nil && a.AccountID != "" {
			all[id] = &Function{ARN: id}
			accounts[a.AccountID] = append(accounts[a.AccountID], all[id])
		}
	}
	for id, wanted := range accounts {
		readAccount(ctx, client(id), wanted)
	}
	return all
}

var errUnlisted = errors.New("not in the account's list of functions")

// readAccount finds functions in the list of one account's functions. Lambda allows an account 15 such calls per
// second; a page has 50 functions.
// Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
func readAccount(ctx context.Context, api *lambda.Client, wanted []*Function) {
	unread := make(map[string]*Function, len(wanted))
	for _, f := range wanted {
		unread[f.ARN] = f
	}
	var err error
	pace := rate.NewLimiter(10, 1)
	pages := lambda.NewListFunctionsPaginator(api, &lambda.ListFunctionsInput{})
	for err == nil && pages.HasMorePages() && len(unread) > 0 {
		var page *lambda.ListFunctionsOutput
		if page, err = pages.NextPage(ctx); err != nil {
			break
		}
		for i := range page.Functions {
			c := &page.Functions[i]
			if f := unread[aws.ToString(c.FunctionArn)]; f != nil {
				f.understand(c)
				delete(unread, f.ARN)
			}
		}
		err = pace.Wait(ctx)
	}
	for _, f := range unread {
		f.Err = cmp.Or(awserror.Brief(err), errUnlisted)
	}
}

func (f *Function) understand(c *types.FunctionConfiguration) {
	f.Runtime, f.Handler, f.Description = string(c.Runtime), aws.ToString(c.Handler), aws.ToString(c.Description)
	if c.PackageType == types.PackageTypeImage {
		f.Runtime = "image"
	}
	f.Settings = make(map[string]string)
	if c.Environment != nil {
		for _, name := range append(settings, endpoint) {
			if v, ok := c.Environment.Variables[name]; ok {
				f.Settings[name] = v
			}
		}
	}
	if c.VpcConfig != nil {
		f.Subnets, f.Groups = c.VpcConfig.SubnetIds, c.VpcConfig.SecurityGroupIds
	}
}
