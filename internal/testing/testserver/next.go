//go:build next

package testserver

// next makes tests of Redis, MariaDB, OpenLDAP, RabbitMQ and PostgreSQL use the servers of Debian's next release.
const next = true
