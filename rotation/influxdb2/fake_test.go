package influxdb2

import (
	"net/http"

	"example.com/rotator/internal/testing/awsfake"
)

// fakeTimestream is a fake of GetDbInstance in Timestream for InfluxDB.
// Source: https://docs.aws.amazon.com/ts-influxdb/latest/ts-influxdb-api/API_GetDbInstance.html
type fakeTimestream struct {
	awsfake.Service
	instances map[string]fakeInstance
}

// fakeInstance is an instance of the fake.
type fakeInstance struct {
	// Endpoint is "" while the instance is being created.
	Endpoint string
	Port     int
	// SecretARN is the secret that the service created for the instance.
	SecretARN string
}

// newFake returns a fake without instances.
func newFake() *fakeTimestream {
	return &fakeTimestream{Service: awsfake.NewService(), instances: map[string]fakeInstance{}}
}

// Put adds or replaces an instance.
func (f *fakeTimestream) Put(id string, i fakeInstance) {
	f.Lock()
	defer f.Unlock()
	f.instances[id] = i
}

// Handler serves calls.
func (f *fakeTimestream) Handler() http.Handler {
	return awsfake.JSONHandler(&f.Service, "timestream-influxdb", f.serve)
}

func (f *fakeTimestream) serve(action string, in struct{ Identifier string }) (any, *awsfake.Fault) {
	if action != "GetDbInstance" {
		return nil, &awsfake.Fault{Code: "UnknownOperationException"}
	}
	if len(in.Identifier) < 3 {
		return nil, &awsfake.Fault{Code: "ValidationException", Message: "identifier is not valid"}
	}
	resource := "arn:aws:timestream-influxdb:" + awsfake.Region + ":" + awsfake.Account + ":db-instance/" + in.Identifier
	if fault := f.Denied("timestream-influxdb:GetDbInstance", resource, nil); fault != nil {
		return nil, fault
	}
	i, ok := f.instances[in.Identifier]
	if !ok {
		return nil, &awsfake.Fault{Code: "ResourceNotFoundException",
			Message: "DbInstance with id " + in.Identifier + " not found"}
	}
	out := map[string]any{"id": in.Identifier, "name": in.Identifier, "arn": resource,
		"status": "CREATING", "vpcSubnetIds": []string{}, "influxAuthParametersSecretArn": i.SecretARN}
	if i.Endpoint != "" {
		out["status"], out["endpoint"], out["port"] = "AVAILABLE", i.Endpoint, i.Port
	}
	return out, nil
}
