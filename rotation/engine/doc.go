// Package engine is the contract between package rotation, the machine that rotates secrets, and an
// engine, which knows one kind of credential and the system that checks it.
//
// An engine answers four questions: what is the next value (Next), make it valid (Set), does it open the target
// (Verify), and what kind of credential is it (Kind). Everything else belongs to the machine: the steps, the labels,
// which version of the secret to act as, retries, deadlines, and keeping values out of logs. The optional abilities are
// the interfaces DryRunner, Adopter, Retirer, Minter and Needer.
//
// The package also defines what engines share: Value is a secret's value, Target the login in it,
// TLSPolicy how to connect, PasswordPolicy how to generate passwords, and Error what went wrong,
// with a Cause to act and alarm on. It imports neither the AWS SDK nor the machine. The suite of
// package enginetest tests every engine; docs/own-engine.md has a complete example.
package engine
