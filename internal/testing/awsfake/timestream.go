package awsfake

import "net/http"

// Timestream is a fake of GetDbInstance in Timestream for InfluxDB.
// Source: https://docs.aws.amazon.com/ts-influxdb/latest/ts-influxdb-api/API_GetDbInstance.html
type Timestream struct {
	Service
	instances map[string]Instance
}

// Instance is an instance of the fake.
type Instance struct {
	// Endpoint is "" while the instance is being created.
	Endpoint string
	Port     int
	// SecretARN is the secret that the service created for the instance.
	SecretARN string
}

// NewTimestream returns a fake without instances.
func NewTimestream() *Timestream {
	return &Timestream{Service: NewService(), instances: map[string]Instance{}}
}

// Put adds or replaces an instance.
func (f *Timestream) Put(id string, i Instance) {
	f.Lock()
	defer f.Unlock()
	f.instances[id] = i
}

// Handler serves calls.
func (f *Timestream) Handler() http.Handler {
	return JSONHandler(&f.Service, "timestream-influxdb", f.serve)
}

func (f *Timestream) serve(action string, in struct{ Identifier string }) (any, *Fault) {
	if action != "GetDbInstance" {
		return nil, &Fault{Code: "UnknownOperationException"}
	}
	if len(in.Identifier) < 3 {
		return nil, &Fault{Code: "ValidationException", Message: "identifier is not valid"}
	}
	resource := "arn:aws:timestream-influxdb:" + Region + ":" + Account + ":db-instance/" + in.Identifier
	if fault := f.Denied("timestream-influxdb:GetDbInstance", resource, nil); fault != nil {
		return nil, fault
	}
	i, ok := f.instances[in.Identifier]
	if !ok {
		return nil, &Fault{Code: "ResourceNotFoundException",
			Message: "DbInstance with id " + in.Identifier + " not found"}
	}
	out := map[string]any{"id": in.Identifier, "name": in.Identifier, "arn": resource,
		"status": "CREATING", "vpcSubnetIds": []string{}, "influxAuthParametersSecretArn": i.SecretARN}
	if i.Endpoint != "" {
		out["status"], out["endpoint"], out["port"] = "AVAILABLE", i.Endpoint, i.Port
	}
	return out, nil
}
