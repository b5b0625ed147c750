// Package sigv4 reads AWS signatures of version 4, for the simulator and the fakes of AWS's services.
package sigv4

import (
	"net/http"
	"regexp"
)

// Signature says who signed a request, and for what.
type Signature struct{ Key, Region, Service string }

var form = regexp.MustCompile(
	`^AWS4-HMAC-SHA256 Credential=([^/,\s]+)/\d{8}/([^/,\s]+)/([^/,\s]+)/aws4_request,` +
		`\s*SignedHeaders=[^,\s]+,\s*Signature=[0-9a-f]{64}$`)

// Read returns a request's signature; ok is false if it has none in the format that AWS's clients send.
func Read(r *http.Request) (_ Signature, ok bool) {
	m := form.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return Signature{}, false
	}
	return Signature{Key: m[1], Region: m[2], Service: m[3]}, true
}
