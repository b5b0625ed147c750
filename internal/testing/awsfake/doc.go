// Package awsfake provides small fakes of the AWS services that engines use to change credentials,
// for tests over HTTP with the real SDK. They implement the few calls that the engines make, as AWS
// documents them, and were not compared with AWS itself.
package awsfake
