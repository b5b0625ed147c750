// Package testserver starts real servers on 127.0.0.1 for tests and the demo, with TLS from a throw-away CA. It has
// PostgreSQL, Redis and, on a separate loopback address, Samba. A server that only one engine uses is in the engine's
// tests, which start it with Server.Start. For fault tests, there are a host that accepts connections and never answers,
// and a proxy that can cut connections.
//
// StartX(ctx, options) returns a running server; call its Stop to end it. X(t, options) does the same for a test and
// stops the server at the test's end: see During. SharedX(t, options) starts one server for the whole test binary, so
// every test must use unique names: see Shared and Unique. If a server is not installed, the error says how to install
// it; tests are never skipped.
//
// A server ends with Stop or with the process that started it, even if that process is killed: see guard.sh.
package testserver
