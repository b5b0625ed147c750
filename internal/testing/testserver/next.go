//go:build next

package testserver

// With the tag, tests of Redis, MariaDB, OpenLDAP, RabbitMQ and PostgreSQL run against the
// servers of Debian's next release.
const next = true
