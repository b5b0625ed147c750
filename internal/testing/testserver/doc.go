// Package testserver starts real servers on 127.0.0.1 for tests and for the
// demo: PostgreSQL, PgBouncer, MariaDB, MySQL, Redis, Valkey, RabbitMQ, OpenLDAP, InfluxDB
// and FerretDB, with TLS from a throw-away CA; and the bad neighbours that fault
// tests need: a host that accepts and says nothing, and a proxy that can be cut.
//
// StartX(ctx, options) returns a running server, to be ended by its Stop. X(t,
// options) does the same for a test and stops the server with it; SharedX(t,
// options) starts one for the whole test binary, and every test then uses names
// of its own (see Unique). A server that is not installed is an error that says
// how to install it, never a skipped test.
//
// A server outlives neither Stop nor the process that started it, even where
// that process is killed: see guard.sh.
package testserver
