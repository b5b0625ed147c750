// Package sigv4 verifies AWS signatures of version 4, for the simulator and the fakes of AWS's services.
package sigv4

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

// Signature is the content of a request's Authorization header.
type Signature struct {
	Key, Region, Service string
	names, sum           string
}

var form = regexp.MustCompile(
	`^AWS4-HMAC-SHA256 Credential=([^/,\s]+)/\d{8}/([^/,\s]+)/([^/,\s]+)/aws4_request,` +
		`\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})$`)

// Read returns a request's signature; ok is false if it has none in the format that AWS's clients send.
func Read(r *http.Request) (_ Signature, ok bool) {
	m := form.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return Signature{}, false
	}
	return Signature{Key: m[1], Region: m[2], Service: m[3], names: m[4], sum: m[5]}, true
}

// Time returns when a request was signed. The error is not nil if its header X-Amz-Date has no time.
func Time(r *http.Request) (time.Time, error) {
	return time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
}

// Fits computes the signature again with a secret key and session token, and reports whether it is the same.
func (s Signature) Fits(r *http.Request, body []byte, secret, token string) bool {
	when, err := Time(r)
	if err != nil {
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
	credentials := aws.Credentials{AccessKeyID: s.Key, SecretAccessKey: secret, SessionToken: token}
	err = v4.NewSigner().SignHTTP(context.Background(), credentials, again, hex.EncodeToString(sum[:]),
		s.Service, s.Region, when)
	return err == nil && strings.HasSuffix(again.Header.Get("Authorization"), "Signature="+s.sum)
}
