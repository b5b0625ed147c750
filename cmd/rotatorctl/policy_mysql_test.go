//go:build mysql

package main

import (
	"testing"

	"example.com/rotator/internal/testing/testserver"
)

func TestGrantsOfMySQL(t *testing.T) {
	grantsOfMySQL(t, "mysql", testserver.SharedMySQL(t, testserver.MySQLOptions{}), 3, 3, 1)
}
