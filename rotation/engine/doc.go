// Package engine defines the contract between package rotation, the machine that rotates secrets, and an engine, which
// handles one kind of credential and the system that checks it.
//
// An engine has four methods: Next generates the next value, Set makes it valid, Verify checks whether a value opens
// the target, and Kind describes the credential. The machine does everything else: the steps, the labels, which version
// of the secret to act as, retries, deadlines, and keeping values out of logs. Optional interfaces are DryRunner,
// Adopter, Minter, Needer and OptionChecker.
//
// The package also defines the types that engines share: Value is a secret's value, Target is the login in it,
// TLSPolicy says how to connect, PasswordPolicy how to generate passwords, and Error what went wrong, with a Cause to
// act and alarm on. It imports neither the AWS SDK nor the machine. The suite of package enginetest tests every engine;
// docs/own-engine.md has a complete example.
package engine
