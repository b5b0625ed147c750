package engine

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

// regions are RDS's commercial regions.
// Source: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Concepts.RegionsAndAvailabilityZones.html
var regions = strings.Fields(`
	af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2
	ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7
	ca-central-1 ca-west-1 eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2 eu-west-1 eu-west-2
	eu-west-3 il-central-1 me-central-1 me-south-1 mx-central-1 sa-east-1 us-east-1 us-east-2 us-west-1
	us-west-2`)

// TestBundleCoversEveryRegion: each region has an RSA and an ECC root that is valid for years.
func TestBundleCoversEveryRegion(t *testing.T) {
	have := map[string]bool{}
	for rest := rdsBundle; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if cert.NotAfter.After(time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)) {
			have[strings.TrimPrefix(cert.Subject.CommonName, "Amazon RDS ")] = true
		}
	}
	for _, region := range regions {
		for _, kind := range []string{" Root CA RSA2048 G1", " Root CA ECC384 G1"} {
			if !have[region+kind] {
				t.Errorf("the bundle has no %s%s", region, kind)
			}
		}
	}
}
