//go:build !next

package testserver

const next = false
