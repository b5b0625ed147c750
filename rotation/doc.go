// Package rotation rotates secrets of AWS Secrets Manager. It holds what all
// rotations have in common: the event, the secret's value, the four steps and
// the ladder of credentials, deadlines, errors and the contract of an engine. It
// knows no engine; those stand in the packages beside it, one for each kind of
// credential.
//
// # Engines
//
// Programs that want a kind of credential of their own implement Engine, pass
// the suite of package enginetest, and give the engine to New. The optional
// abilities of an engine are the interfaces DryRunner, Retirer and Minter.
//
// # How a rotation stays safe
//
// Progress is kept in staging labels and at the target, never in the process.
// AWSPENDING is written before the target is changed, and AWSCURRENT moves only
// after a login with the pending value. Whatever credential the target accepts
// is found by asking it, in the order current, pending, previous, older
// versions; only the answer "refused" leads from one to the next.
//
// # Errors
//
// Handle returns an *Error. Its Cause is a name to act and to alarm on; its text
// is free of the secret's values.
package rotation
