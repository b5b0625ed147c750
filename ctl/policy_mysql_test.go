//go:build mysql

package ctl

import (
	"testing"

	"example.com/rotator/internal/testing/testserver"
)

func TestGrantsOfMySQL(t *testing.T) {
	grantsOfMySQL(t, "mysql", testserver.SharedMySQL(t, testserver.MySQLOptions{}))
}
