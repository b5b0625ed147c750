package sim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Configuration is what Lambda's API returns about a function.
type Configuration struct {
	Runtime, Handler, Description string
	Timeout                       time.Duration
	Environment                   map[string]string
	Subnets, SecurityGroups       []string
}

// Configured is an Invoker with a configuration. For other functions, Lambda's API returns only the names.
type Configured interface {
	Invoker
	Configuration() Configuration
}

const functionsPath = "/2015-03-31/functions"

// lambda returns the handler of an operation of Lambda. Its errors have Secrets Manager's form, which SDKs also accept.
func (s *Sim) lambda(do func(*caller, *http.Request) (answer, *fault)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, f := s.identify(r)
		var out answer
		if f == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			out, f = do(c, r)
		}
		text, _ := json.Marshal(out) // an answer has only types that can be encoded
		respond(w, text, f)
	}
}

// listFunctions lists each function once, even if several aliases of it are registered.
// Source: https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctions.html
func (s *Sim) listFunctions(c *caller, r *http.Request) (answer, *fault) {
	if f := s.licensed(c, "lambda:ListFunctions", "*", s.conditions(c), false); f != nil {
		return nil, f
	}
	var all []string
	for arn := range s.functions {
		if p := strings.Split(arn, ":"); len(p) > 6 && p[3] == c.region && p[4] == c.account {
			all = append(all, strings.Join(p[:7], ":"))
		}
	}
	slices.Sort(all)
	var marker *string
	if m := r.URL.Query().Get("Marker"); m != "" {
		marker = &m
	}
	page, next, f := paginate(slices.Compact(all), marker, nil, 50)
	if f != nil {
		return nil, f
	}
	list := []answer{}
	for _, arn := range page {
		list = append(list, s.describeFunction(arn))
	}
	return answer{"Functions": list, "NextMarker": next}, nil
}

// getFunctionConfiguration finds a function by its name or its ARN. Functions have no policies here, so callers cannot
// read those of another account.
// Source: https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConfiguration.html
func (s *Sim) getFunctionConfiguration(c *caller, r *http.Request) (answer, *fault) {
	arn := r.PathValue("function")
	if !strings.HasPrefix(arn, "arn:") {
		arn = "arn:aws:lambda:" + c.region + ":" + c.account + ":function:" + arn
	}
	if q := r.URL.Query().Get("Qualifier"); q != "" {
		arn += ":" + q
	}
	const action = "lambda:GetFunctionConfiguration"
	if !strings.Contains(arn, ":"+c.account+":function:") {
		return nil, c.unallowed(action, arn, "resource")
	}
	if f := s.licensed(c, action, arn, s.conditions(c), false); f != nil {
		return nil, f
	}
	if s.functions[arn] == nil {
		return nil, &fault{"ResourceNotFoundException", "Function not found: " + arn}
	}
	return s.describeFunction(arn), nil
}

func (s *Sim) describeFunction(arn string) answer {
	out := answer{"FunctionArn": arn, "FunctionName": strings.Split(arn, ":")[6]}
	f, ok := s.functions[arn].(Configured)
	if !ok {
		return out
	}
	config := f.Configuration()
	out["Runtime"], out["Handler"], out["Description"] = config.Runtime, config.Handler, config.Description
	out["Timeout"] = int(config.Timeout.Seconds())
	if len(config.Environment) > 0 {
		out["Environment"] = answer{"Variables": config.Environment}
	}
	if len(config.Subnets) > 0 {
		out["VpcConfig"] = answer{"SubnetIds": config.Subnets, "SecurityGroupIds": config.SecurityGroups}
	}
	return out
}
