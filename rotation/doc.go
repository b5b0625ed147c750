// Package rotation rotates secrets of AWS Secrets Manager. It handles the event, the four steps,
// the ladder of credentials, deadlines, and what reaches the log, and knows no particular engine.
// Package engine is the contract that engines implement; the engines are the packages next to it.
//
// # How a rotation stays safe
//
// Progress is kept in staging labels and at the target, never in the process. AWSPENDING is written before the target
// is changed, a target that accepts one credential at a time is changed only in finishSecret, and AWSCURRENT moves only
// after a login with the pending value. To find the credential that the target accepts, the machine tries them in the
// order current, pending, previous, older versions. Only the answer "refused" leads from one to the next.
package rotation
