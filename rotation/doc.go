// Package rotation rotates secrets of AWS Secrets Manager. It handles the event, the four steps, the ladder of
// credentials, deadlines and log redaction, and is independent of any engine. Package engine is the contract that
// engines implement; the engines are the packages next to it.
//
// # How a rotation stays safe
//
// Progress is kept in staging labels and at the target, never in the process. AWSPENDING is written before the target
// is changed, a target that accepts one credential at a time is changed only in finishSecret, and AWSCURRENT moves only
// after a login with the pending value. To find the credential that the target accepts, this package tries them in the
// order current, pending, previous, older versions. Only a refused login leads to the next one.
package rotation
