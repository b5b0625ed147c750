package testserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"time"
)

// CA is a throw-away certificate authority. A client that trusts one refuses servers with another's certificate.
type CA struct {
	// PEM is the CA's certificate.
	PEM  []byte
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Certificate is a server's certificate and its private key (PKCS #8), both PEM.
type Certificate struct {
	CertPEM, KeyPEM []byte
}

// NewCA creates a CA that is valid for a day.
func NewCA() (*CA, error) {
	ca := &CA{}
	cert, key, err := ca.issue(&x509.Certificate{
		Subject:               pkix.Name{CommonName: "throw-away test CA"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	})
	if err != nil {
		return nil, err
	}
	ca.cert, ca.key, ca.PEM = cert, key, encode("CERTIFICATE", cert.Raw)
	return ca, nil
}

// Issue issues a server certificate for the given names and addresses, by default localhost and 127.0.0.1. Use another
// name to get a server that verification must refuse.
func (ca *CA) Issue(hosts ...string) (*Certificate, error) {
	if len(hosts) == 0 {
		hosts = []string{"localhost", "127.0.0.1"}
	}
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: hosts[0]},
		KeyUsage: x509.KeyUsageDigitalSignature,
		// The nodes of a Redis cluster are each other's clients.
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	cert, key, err := ca.issue(template)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return &Certificate{CertPEM: encode("CERTIFICATE", cert.Raw), KeyPEM: encode("PRIVATE KEY", der)}, err
}

// issue creates a key and its certificate, which the key itself signs if the CA has none yet.
func (ca *CA) issue(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate a key for %s: %w", template.Subject, err)
	}
	// An hour ago, in case the clocks of the machine and a container differ.
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(24 * time.Hour)
	parent, signer := ca.cert, ca.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, nil, fmt.Errorf("sign a certificate for %s: %w", template.Subject, err)
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// ClientTLS returns a client configuration that trusts only this CA and expects serverName ("localhost" for every
// server in this package).
func (ca *CA) ClientTLS(serverName string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return &tls.Config{RootCAs: pool, ServerName: serverName, MinVersion: tls.VersionTLS12}
}
