package sim

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// TestHistoryIsServed: a program reads which step failed and why, and no value.
func TestHistoryIsServed(t *testing.T) {
	b := newBench(t, Options{MaxAttempts: 1})
	if _, err := b.client.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("shop/db"), SecretString: aws.String("hunter22"), ClientRequestToken: aws.String(id(1))}); err != nil {
		t.Fatal(err)
	}
	if text, _ := b.fetchPage("history/shop/db"); strings.TrimSpace(text) != "[]" {
		t.Errorf("before the first rotation: %s", text)
	}
	b.RegisterFunction(lambda, b.function(func(r request) error {
		if r.Step == "testSecret" {
			return errors.New("hunter22 was refused")
		}
		return nil
	}))
	if _, err := b.client.RotateSecret(ctx, &sm.RotateSecretInput{SecretId: aws.String("shop/db"), RotationLambdaARN: aws.String(lambda), ClientRequestToken: aws.String(id(2))}); err != nil {
		t.Fatal(err)
	}
	_ = b.WaitRotation(ctx, "shop/db")
	text, header := b.fetchPage("history/shop/db")
	var history []Progress
	if err := json.Unmarshal([]byte(text), &history); err != nil || header.Get("Content-Type") != "application/json" {
		t.Fatalf("%v: %s", err, text)
	}
	failed := 0
	for _, h := range history {
		if h.Step == "testSecret" && h.Version == id(2) && h.Attempt == 1 && strings.HasSuffix(h.Message, " was refused") {
			failed++
		}
	}
	if failed != 1 || strings.Contains(text, "hunter22") {
		t.Errorf("%s", text)
	}
	resp, err := http.Get(b.url + "/history/nothing")
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a secret that does not exist: %s", resp.Status)
	}
}
