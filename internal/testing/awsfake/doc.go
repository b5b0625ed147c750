// Package awsfake has small fakes of the AWS services by which engines change
// credentials, for tests over the wire with the real SDK. They are fakes: they do
// what AWS's documentation says of the few calls that the engines make, and no
// more was compared with AWS itself.
package awsfake
