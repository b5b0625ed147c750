package awsfake

import (
	"encoding/json"
	"io"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"

	"example.com/rotator/sim/iampolicy"
)

// Timestream is a fake of GetDbInstance of Timestream for InfluxDB. It checks signatures and is
// safe for concurrent use.
// Source: https://docs.aws.amazon.com/ts-influxdb/latest/ts-influxdb-api/API_GetDbInstance.html
type Timestream struct {
	credentials aws.Credentials

	mu        sync.Mutex
	instances map[string]Instance
	allow     *iampolicy.Policy // of the caller; nil allows everything
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
	return &Timestream{instances: map[string]Instance{}, credentials: newCredentials()}
}

// Credentials returns the credentials that the fake accepts.
func (f *Timestream) Credentials() aws.Credentials { return f.credentials }

// Put adds or replaces an instance.
func (f *Timestream) Put(id string, i Instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.instances[id] = i
}

// PutPolicy sets the caller's only identity policy. Without one it may do everything.
func (f *Timestream) PutPolicy(document string) error {
	p, err := iampolicy.Parse(document)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.allow = p
	return err
}

// Handler answers calls.
func (f *Timestream) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client is gone
		}
		status, answer := f.answer(r, body)
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer) // as above
	})
}

func (f *Timestream) answer(r *http.Request, body []byte) (int, map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault := func(code, message string) (int, map[string]any) {
		return http.StatusBadRequest,
			map[string]any{"__type": "com.amazonaws.timestreaminfluxdb#" + code, "message": message}
	}
	if s, ok := signedWith(f.credentials, r, body); !ok || s.service != "timestream-influxdb" {
		return fault("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	if r.Header.Get("X-Amz-Target") != "AmazonTimestreamInfluxDB.GetDbInstance" {
		return fault("UnknownOperationException", "")
	}
	var in struct {
		Identifier string `json:"identifier"`
	}
	if err := json.Unmarshal(body, &in); err != nil || len(in.Identifier) < 3 {
		return fault("ValidationException", "identifier is not valid")
	}
	resource := "arn:aws:timestream-influxdb:us-east-1:123456789012:db-instance/" + in.Identifier
	if f.allow != nil && !f.allow.Permits("timestream-influxdb:GetDbInstance", resource, nil) {
		return fault("AccessDeniedException",
			"User is not authorized to perform: timestream-influxdb:GetDbInstance on resource: "+resource)
	}
	i, ok := f.instances[in.Identifier]
	if !ok {
		return fault("ResourceNotFoundException", "DbInstance with id "+in.Identifier+" not found")
	}
	out := map[string]any{"id": in.Identifier, "name": in.Identifier, "arn": resource,
		"status": "CREATING", "vpcSubnetIds": []string{}, "influxAuthParametersSecretArn": i.SecretARN}
	if i.Endpoint != "" {
		out["status"], out["endpoint"], out["port"] = "AVAILABLE", i.Endpoint, i.Port
	}
	return http.StatusOK, out
}
