package sim

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/smithy-go"
)

// described is a function with a configuration.
type described struct {
	InvokerFunc
	configuration Configuration
}

func (d described) Configuration() Configuration { return d.configuration }

func nothing(context.Context, []byte) ([]byte, string, error) { return []byte("null"), "", nil }

func (b *bench) lambda(p aws.CredentialsProvider) *awslambda.Client {
	return awslambda.New(awslambda.Options{
		BaseEndpoint: &b.url, Region: "us-east-1", Retryer: aws.NopRetryer{}, Credentials: p,
	})
}

func TestLambdaDescribesAFunction(t *testing.T) {
	b := newBench(t, Options{})
	const arn = "arn:aws:lambda:us-east-1:" + mine + ":function:old"
	b.RegisterFunction(arn, described{nothing, Configuration{
		Runtime: "python3.12", Handler: "lambda_function.lambda_handler", Description: "a rotation",
		Timeout: 30 * time.Second, Environment: map[string]string{"SECRETS_MANAGER_ENDPOINT": "https://example"},
		Subnets: []string{"subnet-1"}, SecurityGroups: []string{"sg-1"},
	}})
	b.RegisterFunction(arn+"er:live", InvokerFunc(nothing))
	client := b.lambda(static("test"))
	for _, name := range []string{arn, "old"} {
		out, err := client.GetFunctionConfiguration(ctx, &awslambda.GetFunctionConfigurationInput{FunctionName: &name})
		if err != nil {
			t.Fatal(name, err)
		}
		if aws.ToString(out.FunctionArn) != arn || aws.ToString(out.FunctionName) != "old" ||
			out.Runtime != "python3.12" || aws.ToString(out.Handler) != "lambda_function.lambda_handler" ||
			aws.ToString(out.Description) != "a rotation" || aws.ToInt32(out.Timeout) != 30 ||
			out.Environment.Variables["SECRETS_MANAGER_ENDPOINT"] != "https://example" ||
			out.VpcConfig.SubnetIds[0] != "subnet-1" || out.VpcConfig.SecurityGroupIds[0] != "sg-1" {
			t.Errorf("%s: %+v", name, out)
		}
	}
	for _, alias := range []awslambda.GetFunctionConfigurationInput{
		{FunctionName: aws.String(arn + "er:live")}, {FunctionName: aws.String("older:live")},
		{FunctionName: aws.String("older"), Qualifier: aws.String("live")},
	} {
		out, err := client.GetFunctionConfiguration(ctx, &alias)
		if err != nil || aws.ToString(out.FunctionArn) != arn+"er:live" || aws.ToString(out.FunctionName) != "older" ||
			out.Runtime != "" || out.Environment != nil || out.VpcConfig != nil {
			t.Errorf("%+v, %v", out, err)
		}
	}
	get := func(p aws.CredentialsProvider, name string) error {
		_, err := b.lambda(p).GetFunctionConfiguration(ctx, &awslambda.GetFunctionConfigurationInput{FunctionName: &name})
		return err
	}
	refused(t, get(static("test"), "none"), "ResourceNotFoundException",
		"Function not found: arn:aws:lambda:us-east-1:"+mine+":function:none")
	refused(t, get(static(theirs), arn), "AccessDeniedException", "User: arn:aws:iam::"+theirs+
		":root is not authorized to perform: lambda:GetFunctionConfiguration on resource: "+arn+" because no resource-based")
}

// TestLambdaListsItsFunctions: only those of the account and the region, fifty per page.
func TestLambdaListsItsFunctions(t *testing.T) {
	b := newBench(t, Options{})
	for i := range 120 {
		b.RegisterFunction(fmt.Sprintf("arn:aws:lambda:us-east-1:%s:function:f%03d", mine, i), described{nothing, Configuration{Runtime: "provided.al2023"}})
	}
	b.RegisterFunction("arn:aws:lambda:us-east-1:"+mine+":function:f000:live", InvokerFunc(nothing))
	b.RegisterFunction("arn:aws:lambda:eu-west-1:"+mine+":function:elsewhere", InvokerFunc(nothing))
	b.RegisterFunction("arn:aws:lambda:us-east-1:"+theirs+":function:theirs", InvokerFunc(nothing))
	var pages, seen int
	for p := awslambda.NewListFunctionsPaginator(b.lambda(static("test")), &awslambda.ListFunctionsInput{}); p.HasMorePages(); pages++ {
		out, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range out.Functions {
			if want := fmt.Sprintf("f%03d", seen); aws.ToString(f.FunctionName) != want || f.Runtime != "provided.al2023" {
				t.Errorf("%s in place of %s: %s", aws.ToString(f.FunctionName), want, f.Runtime)
			}
			seen++
		}
	}
	if pages != 3 || seen != 120 {
		t.Errorf("%d functions on %d pages", seen, pages)
	}
}

// TestLambdaNeedsRights: the role's policy must allow the calls.
func TestLambdaNeedsRights(t *testing.T) {
	b := newBench(t, Options{})
	const arn = "arn:aws:lambda:us-east-1:" + mine + ":function:f"
	b.RegisterFunction(arn, InvokerFunc(nothing))
	policy := `{"Statement":{"Effect":"Allow","Action":"lambda:GetFunctionConfiguration","Resource":"` + arn + `"}}`
	if err := b.PutPolicy(role, policy); err != nil {
		t.Fatal(err)
	}
	_, by, err := b.assume("")
	if err != nil {
		t.Fatal(err)
	}
	name := &awslambda.GetFunctionConfigurationInput{FunctionName: aws.String("f")}
	if _, err := b.lambda(by).GetFunctionConfiguration(ctx, name); err != nil {
		t.Error(err)
	}
	_, err = b.lambda(by).ListFunctions(ctx, nil)
	if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != "AccessDeniedException" {
		t.Error(err)
	}
	gone := credentials.NewStaticCredentialsProvider("ASIASIMULATEDGONE", "x", "y")
	_, err = b.lambda(gone).ListFunctions(ctx, nil)
	if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != "UnrecognizedClientException" {
		t.Error(err)
	}
	_, err = b.lambda(static("test")).GetFunction(ctx, &awslambda.GetFunctionInput{FunctionName: aws.String("f")})
	refused(t, err, "UnknownOperationException", "")
}
