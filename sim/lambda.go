package sim

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
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

// lambda serves GetFunctionConfiguration and ListFunctions, which describe the functions that rotate secrets.
// Source: https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConfiguration.html,
// https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctions.html
func (s *Sim) lambda(w http.ResponseWriter, r *http.Request) {
	out, f := s.askLambda(r)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-RequestId", uuid.NewString())
	if f != nil {
		status := http.StatusForbidden
		switch f.Code {
		case "ResourceNotFoundException", "UnknownOperationException":
			status = http.StatusNotFound
		case "TooManyRequestsException":
			status = http.StatusTooManyRequests
		}
		w.Header().Set("X-Amzn-ErrorType", f.Code)
		w.WriteHeader(status)
		out = answer{"message": f.Message}
	}
	_ = json.NewEncoder(w).Encode(out) // fails only if the client is gone
}

func (s *Sim) askLambda(r *http.Request) (answer, *fault) {
	c, f := s.identify(r, nil, "lambda") // these operations have no body
	if f != nil {
		return nil, f
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spend(c, "lambda") != nil {
		return nil, &fault{"TooManyRequestsException", "Rate Exceeded."}
	}
	name := strings.Trim(strings.TrimPrefix(r.URL.Path, functionsPath), "/")
	name, one := strings.CutSuffix(name, "/configuration")
	switch {
	case r.Method == http.MethodGet && name == "":
		return s.listFunctions(c, r.URL.Query())
	case r.Method == http.MethodGet && one:
		return s.getFunctionConfiguration(c, name, r.URL.Query().Get("Qualifier"))
	}
	return nil, &fault{"UnknownOperationException", ""}
}

// listFunctions lists each function once, even if several aliases of it are registered.
func (s *Sim) listFunctions(c *caller, q url.Values) (answer, *fault) {
	if f := s.licensed(c, "lambda:ListFunctions", "*", nil); f != nil {
		return nil, f
	}
	var all []string
	for arn := range s.functions {
		if p := strings.Split(arn, ":"); len(p) > 6 && p[3] == c.region && p[4] == c.account {
			all = append(all, strings.Join(p[:7], ":"))
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	most := 50
	if n, err := strconv.Atoi(q.Get("MaxItems")); err == nil && n > 0 {
		most = min(most, n)
	}
	page, next, f := paginate(all, q.Get("Marker"), nil, most)
	if f != nil {
		return nil, f
	}
	list := []answer{}
	for _, arn := range page {
		list = append(list, s.describeFunction(arn))
	}
	return answer{"Functions": list, "NextMarker": next}, nil
}

// getFunctionConfiguration finds a function by its name, its partial ARN or its ARN. Functions have no policies here,
// so callers cannot read those of another account.
func (s *Sim) getFunctionConfiguration(c *caller, name, qualifier string) (answer, *fault) {
	account, region := c.account, c.region
	p := strings.Split(name, ":")
	switch {
	case len(p) > 6 && p[0] == "arn":
		account, region, p = p[4], p[3], p[6:]
	case len(p) > 2 && p[1] == "function":
		account, p = p[0], p[2:]
	}
	if qualifier != "" {
		p = append(p[:1], qualifier)
	}
	arn := "arn:aws:lambda:" + region + ":" + account + ":function:" + strings.Join(p, ":")
	const action = "lambda:GetFunctionConfiguration"
	if account != c.account {
		return nil, c.unallowed(action, arn, "resource")
	}
	if f := s.licensed(c, action, arn, nil); f != nil {
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
