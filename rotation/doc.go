// Package rotation rotates secrets of AWS Secrets Manager: the event, the four steps, the ladder of
// credentials, deadlines, and what reaches the log. It knows no engine. The contract of an engine
// is package engine, and the engines are the packages next to it.
//
// # How a rotation stays safe
//
// Progress is kept in staging labels and at the target, never in the process. AWSPENDING is written
// before the target is changed, a target that accepts one credential at a time is changed only in
// finishSecret, and AWSCURRENT moves only after a login with the pending value. Whatever credential
// the target accepts is found by asking it, in the order current, pending, previous, older
// versions; only the answer "refused" leads from one to the next.
package rotation
