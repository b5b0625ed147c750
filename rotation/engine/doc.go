// Package engine is the contract between the machine that rotates secrets, package rotation, and
// what knows one kind of credential and the system that checks it.
//
// An engine answers four questions: what is the next value (Next), make it valid (Set), does it
// open the target (Verify), and what kind of credential is it (Kind). Everything else is the
// machine's: the steps, the labels, which version of the secret to act as, retries, deadlines, and
// that no value reaches a log. The optional abilities are the interfaces DryRunner, Retirer, Minter
// and Needer.
//
// The package also has what engines share: Value is a secret's value, Target a login in it,
// TLSPolicy how to connect, PasswordPolicy how passwords are generated, and Error what went wrong,
// with a Cause to act and alarm on. It imports neither the AWS SDK nor the machine.
// The suite of package enginetest runs for every engine; docs/own-engine.md has a complete example.
package engine
