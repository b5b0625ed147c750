package iam_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"example.com/rotator/internal/sigv4"
	"example.com/rotator/internal/testing/awsfake"
)

// madeWith checks that a signature was created with the secret key, within 15 minutes. It accepts the real clock and
// the fake's, because the SDK adjusts its clock to the server's.
func madeWith(s sigv4.Signature, c awsfake.Call, secret string, now time.Time) bool {
	when, err := time.Parse("20060102T150405Z", c.Header.Get("X-Amz-Date"))
	if err != nil || min(time.Since(when).Abs(), now.Sub(when).Abs()) > 15*time.Minute {
		return false
	}
	again, err := http.NewRequest(c.Method, "http://"+c.Host+c.URL.RequestURI(), bytes.NewReader(c.Body))
	if err != nil {
		return false
	}
	_, names, _ := strings.Cut(c.Header.Get("Authorization"), "SignedHeaders=")
	names, _, _ = strings.Cut(names, ",")
	for _, name := range strings.Split(names, ";") {
		if v := c.Header.Values(name); v != nil {
			again.Header[http.CanonicalHeaderKey(name)] = v
		}
	}
	if !strings.Contains(names, "content-length") {
		again.ContentLength = -1
	}
	sum := sha256.Sum256(c.Body)
	credentials := aws.Credentials{AccessKeyID: s.Key, SecretAccessKey: secret,
		SessionToken: c.Header.Get("X-Amz-Security-Token")}
	err = v4.NewSigner().SignHTTP(context.Background(), credentials, again, hex.EncodeToString(sum[:]), s.Service,
		s.Region, when)
	return err == nil && again.Header.Get("Authorization") == c.Header.Get("Authorization")
}
