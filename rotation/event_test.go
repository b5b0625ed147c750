package rotation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

const (
	testARN   = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:app/db-AbCdEf"
	testToken = "550e8400-e29b-41d4-a716-446655440000"
)

func TestEventsAreReadAsSecretsManagerSendsThem(t *testing.T) {
	for spelling, want := range map[string]rotation.Step{
		"createSecret": rotation.CreateSecret, "create_secret": rotation.CreateSecret,
		"setSecret": rotation.SetSecret, "set_secret": rotation.SetSecret,
		"testSecret": rotation.TestSecret, "test_secret": rotation.TestSecret,
		"finishSecret": rotation.FinishSecret, "finish_secret": rotation.FinishSecret,
	} {
		var e rotation.Event
		err := json.Unmarshal([]byte(`{"Step":"`+spelling+`","SecretId":"`+testARN+`","ClientRequestToken":"`+testToken+
			`","RotationToken":"e8b1f3f2-2a0c-4c9e-8c55-4a6f7d3c1b90","Extra":{"x":1}}`), &e)
		if err != nil || e.Step != want || e.SecretID != testARN || e.ClientRequestToken != testToken ||
			len(e.RotationToken.Reveal()) == 0 {
			t.Errorf("%s: %+v, %v", spelling, e, err)
		}
	}
}

func TestBadEventsAreRefused(t *testing.T) {
	for name, tc := range map[string]struct{ event, want string }{
		"not an object": {`[]`, "not a JSON object"},
		"null step": {`{"Step":null,"SecretId":"` + testARN + `","ClientRequestToken":"` + testToken + `"}`,
			"Step"},
		"unknown step": {`{"Step":"deleteSecret","SecretId":"` + testARN + `","ClientRequestToken":"` +
			testToken + `"}`, "Step"},
		"step in capitals": {`{"Step":"CREATESECRET","SecretId":"` + testARN + `","ClientRequestToken":"` +
			testToken + `"}`, "Step"},
		"name, not ARN": {`{"Step":"setSecret","SecretId":"app/db","ClientRequestToken":"` + testToken + `"}`,
			"SecretId"},
		"ARN of another": {`{"Step":"setSecret","SecretId":"arn:aws:iam::111122223333:role/x","ClientRequestToken":"` +
			testToken + `"}`, "SecretId"},
		"short token": {`{"Step":"setSecret","SecretId":"` + testARN + `","ClientRequestToken":"abc"}`,
			"ClientRequestToken"},
		"bad rotationtoken": {`{"Step":"setSecret","SecretId":"` + testARN + `","ClientRequestToken":"` + testToken +
			`","RotationToken":"s3cr3t"}`, "RotationToken"},
		"token a number": {`{"Step":"setSecret","SecretId":"` + testARN + `","ClientRequestToken":"` + testToken +
			`","RotationToken":77777777}`, "text members"},
		"all missing": {`{}`, "ClientRequestToken"},
	} {
		var e rotation.Event
		err := json.Unmarshal([]byte(tc.event), &e)
		if !errors.Is(err, engine.InvalidEvent) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), "77777777") {
			t.Errorf("%s: the error shows the rotation token: %v", name, err)
		}
		if e != (rotation.Event{}) {
			t.Errorf("%s: a refused event was filled in", name)
		}
	}
	var e rotation.Event
	if err := json.Unmarshal([]byte(`{}`), &e); !strings.Contains(err.Error(), "Step") ||
		!strings.Contains(err.Error(), "SecretId") {
		t.Errorf("not every fault is named: %v", err)
	}
}

func FuzzEvent(f *testing.F) {
	f.Add([]byte(`{"Step":"createSecret","SecretId":"` + testARN + `","ClientRequestToken":"` + testToken + `"}`))
	f.Add([]byte(`{"Step":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var e rotation.Event
		if err := json.Unmarshal(data, &e); err == nil && string(data) != "null" &&
			(e.Step == "" || e.SecretID == "" || len(e.ClientRequestToken) < 32) {
			t.Fatalf("an event that no step can act on was accepted: %+v", e)
		}
	})
}

func TestNothingPrintsAValueOrAToken(t *testing.T) {
	const hidden = "hunter2-hunter2"
	var log strings.Builder
	for _, x := range []any{
		engine.StringValue(`{"password":"` + hidden + `"}`), engine.BinaryValue([]byte(hidden)),
		engine.StringValue(hidden),
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T %[1]p"} {
			if s := fmt.Sprintf(verb, x); strings.Contains(s, hidden) ||
				strings.Contains(s, fmt.Sprintf("%x", hidden)) {
				t.Errorf("%s prints %T: %s", verb, x, s)
			}
		}
		if s := fmt.Sprintf("%v %+v", struct{ V any }{x}, []any{&x}); strings.Contains(s, hidden) {
			t.Errorf("printed inside another: %s", s)
		}
		j, err := json.Marshal(map[string]any{"v": x})
		if err != nil || strings.Contains(string(j), hidden) {
			t.Errorf("marshaled %T: %s, %v", x, j, err)
		}
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", x, "w", []any{x})
	}
	if strings.Contains(log.String(), hidden) {
		t.Errorf("logged: %s", log.String())
	}
}
