package awsfake

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// signature is the content of a request's Authorization header.
type signature struct {
	key, region, service string
	names, sum           string
}

var authorizationForm = regexp.MustCompile(
	`^AWS4-HMAC-SHA256 Credential=([^/,\s]+)/\d{8}/([^/,\s]+)/([^/,\s]+)/aws4_request,` +
		`\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})$`)

// readSignature returns a request's signature; ok is false if it has none in the format that AWS's clients send.
func readSignature(r *http.Request) (_ signature, ok bool) {
	m := authorizationForm.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return signature{}, false
	}
	return signature{key: m[1], region: m[2], service: m[3], names: m[4], sum: m[5]}, true
}

// newCredentials returns a key that a fake accepts.
func newCredentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: "AKIAFAKE" + letters(12), SecretAccessKey: letters(40)}
}

// signedWith returns a request's signature; ok is false if it was not created with the credentials.
func signedWith(c aws.Credentials, r *http.Request, body []byte) (s signature, ok bool) {
	s, ok = readSignature(r)
	return s, ok && s.key == c.AccessKeyID && s.madeWith(r, body, c.SecretAccessKey, time.Now())
}

// madeWith computes the signature again to check that it was created with the secret key, within 15 minutes. It accepts
// the real clock and the fake's, because the SDK adjusts its clock to the server's.
func (s signature) madeWith(r *http.Request, body []byte, secret string, now time.Time) bool {
	when, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || min(time.Since(when).Abs(), now.Sub(when).Abs()) > 15*time.Minute {
		return false
	}
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return false
	}
	for _, name := range strings.Split(s.names, ";") {
		if v := r.Header.Values(name); v != nil {
			again.Header[http.CanonicalHeaderKey(name)] = v
		}
	}
	if !strings.Contains(s.names, "content-length") {
		again.ContentLength = -1
	}
	sum := sha256.Sum256(body)
	credentials := aws.Credentials{AccessKeyID: s.key, SecretAccessKey: secret,
		SessionToken: r.Header.Get("X-Amz-Security-Token")}
	err = v4.NewSigner().SignHTTP(context.Background(), credentials, again, hex.EncodeToString(sum[:]),
		s.service, s.region, when)
	return err == nil && strings.HasSuffix(again.Header.Get("Authorization"), "Signature="+s.sum)
}
