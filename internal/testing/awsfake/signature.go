package awsfake

import (
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"example.com/rotator/internal/sigv4"
)

// newCredentials returns a key that a fake accepts.
func newCredentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: "AKIAFAKE" + letters(12), SecretAccessKey: letters(40)}
}

// signedWith returns a request's signature; ok is false if it was not created with the credentials.
func signedWith(c aws.Credentials, r *http.Request, body []byte) (s sigv4.Signature, ok bool) {
	s, ok = sigv4.Read(r)
	return s, ok && s.Key == c.AccessKeyID && madeWith(s, r, body, c.SecretAccessKey, time.Now())
}

// madeWith checks that a signature was created with the secret key, within 15 minutes. It accepts the real clock and
// the fake's, because the SDK adjusts its clock to the server's.
func madeWith(s sigv4.Signature, r *http.Request, body []byte, secret string, now time.Time) bool {
	when, err := sigv4.Time(r)
	return err == nil && min(time.Since(when).Abs(), now.Sub(when).Abs()) <= 15*time.Minute &&
		s.Fits(r, body, secret, r.Header.Get("X-Amz-Security-Token"))
}
