package engine

import (
	"crypto/tls"
	"crypto/x509"
	_ "embed" // for RDS's CA bundle
	"sync"
)

// TLSPolicy says how engines encrypt their connections. A secret and its tags cannot change it.
type TLSPolicy struct {
	// ExtraCAs are CA certificates in PEM, trusted in addition to the system's and RDS's.
	ExtraCAs []byte
	// AllowPlaintext allows an unencrypted connection if the server offers no TLS and the secret does not say "ssl":
	// true. It never allows a certificate that cannot be verified.
	AllowPlaintext bool
	// Handshake, if set, is called with the state of every verified connection.
	Handshake func(tls.ConnectionState)
}

// rdsBundle holds the CAs of RDS and Aurora in all regions.
// Source: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html
//
//go:embed rds-ca-bundle.pem
var rdsBundle []byte

// roots parses the bundle when a connection first needs it, to keep cold starts fast.
var roots = sync.OnceValue(func() *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM(rdsBundle)
	return pool
})

// Check returns an error with the cause InvalidConfiguration if ExtraCAs holds no certificate that can be read.
func (p TLSPolicy) Check() error {
	if len(p.ExtraCAs) > 0 && !x509.NewCertPool().AppendCertsFromPEM(p.ExtraCAs) {
		return Errorf(InvalidConfiguration, "set CA_BUNDLE to PEM certificates",
			"the CA bundle contains no certificate")
	}
	return nil
}

// Config returns the configuration of a verified connection to host.
func (p TLSPolicy) Config(host string) *tls.Config {
	pool := roots()
	if len(p.ExtraCAs) > 0 {
		pool = pool.Clone()
		pool.AppendCertsFromPEM(p.ExtraCAs)
	}
	config := &tls.Config{RootCAs: pool, ServerName: host, MinVersion: tls.VersionTLS12}
	if p.Handshake != nil {
		config.VerifyConnection = func(s tls.ConnectionState) error {
			p.Handshake(s)
			return nil
		}
	}
	return config
}

// Attempts returns the configurations to try in order; nil means plain text. Make the second attempt only if the server
// answered that it does not support TLS.
func (p TLSPolicy) Attempts(t Target) []*tls.Config {
	switch {
	case t.TLS == TLSOff:
		return []*tls.Config{nil}
	case t.TLS == TLSDefault && p.AllowPlaintext:
		return []*tls.Config{p.Config(t.CertificateName()), nil}
	}
	return []*tls.Config{p.Config(t.CertificateName())}
}
