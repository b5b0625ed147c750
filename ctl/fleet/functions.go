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

// ReadFunctions adds the functions to the secrets, from Lambda's list of the functions of each account: one call per
// fifty functions. It returns how many could not be read, and why one of them could not.
func (l *Listing) ReadFunctions(ctx context.Context, client func(account string) *lambda.Client) (n int, why error) {
	l.functions = make(map[string]*Function)
	accounts := make(map[string]map[string]*Function)
	for _, s := range l.Secrets {
		id := unqualified(s.Function)
		a, err := arn.Parse(id)
		if err != nil || l.functions[id] != nil {
			continue
		}
		if accounts[a.AccountID] == nil {
			accounts[a.AccountID] = make(map[string]*Function)
		}
		l.functions[id] = &Function{ARN: id}
		accounts[a.AccountID][id] = l.functions[id]
	}
	for account, unread := range accounts {
		err := readAccount(ctx, client(account), unread)
		for _, f := range unread {
			f.Err = cmp.Or(err, errUnlisted)
			n, why = n+1, f.Err
		}
	}
	for i := range l.Secrets {
		s := &l.Secrets[i]
		if f := l.functions[unqualified(s.Function)]; f != nil {
			t := f.template()
			s.Runtime, s.Engine, s.Strategy = f.Runtime, cmp.Or(s.Engine, t.Engine), cmp.Or(s.Strategy, t.Strategy)
		}
	}
	return n, why
}

var errUnlisted = errors.New("not in the account's list of functions")

// readAccount reads functions of one account, and removes them from unread. Lambda allows 15 such calls per second.
// Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
func readAccount(ctx context.Context, api *lambda.Client, unread map[string]*Function) error {
	pace := rate.NewLimiter(10, 1)
	pages := lambda.NewListFunctionsPaginator(api, &lambda.ListFunctionsInput{})
	for pages.HasMorePages() && len(unread) > 0 {
		if err := pace.Wait(ctx); err != nil {
			return err
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return awserror.Brief(err)
		}
		for i := range page.Functions {
			c := &page.Functions[i]
			if f := unread[aws.ToString(c.FunctionArn)]; f != nil {
				f.understand(c)
				delete(unread, f.ARN)
			}
		}
	}
	return nil
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
