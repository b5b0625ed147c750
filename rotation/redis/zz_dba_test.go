//go:build repro

package redis

import (
	"testing"

	"example.com/rotator/internal/testing/testserver"
)

// security.md: with RECOVER_BY_SUPERUSER "an administrator never is" reset.
func TestZRecoverAdministrator(t *testing.T) {
	a := newAccount(newFixture(t, testserver.Redis, testserver.RedisOptions{}))
	admin := a.user("+@all", "~*", "&*")
	other := a.user("+@all", "~*", "&*") // another administrator
	superuser := a.secret(a.value(admin, "first-"+admin))
	a.env["RECOVER_BY_SUPERUSER"] = "true"
	crafted := a.secret(a.value(other, "a-guess").With("masterarn", superuser))
	pw, err := a.rotate(crafted)
	t.Log("rotate:", err)
	if err == nil {
		a.wantPasswords(other, pw)
		t.Log("the other administrator's password is the attacker's now; its own is refused")
	}
}
