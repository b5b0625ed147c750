package mysql

import "testing"

// What `openssl passwd -5` says; the servers' own salts, of 20 bytes, are tried on
// the servers.
func TestSHACrypt(t *testing.T) {
	for _, c := range []struct {
		password, salt string
		rounds         int
		want           string
	}{
		{"Hello world!", "saltstring", 5000, "5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"},
		{"Hello world!", "saltstringsaltst", 10000, "3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA"},
		{"This is just a test", "toolongsaltstrin", 5000, "Un/5jzAHMgOGZ5.mWJpuVolil07guHPvOW8mGRcvxa5"},
	} {
		if got := crypt(c.password, c.salt, c.rounds); got != c.want {
			t.Errorf("%s, %d rounds: got %s, want %s", c.salt, c.rounds, got, c.want)
		}
	}
}

func TestAVerifierThatIsNoneAcceptsNothing(t *testing.T) {
	for _, v := range []verifier{{}, {native, ""}, {ed25519, ""}, {"caching_sha2_password", "$A$005$short"}, {"caching_sha2_password", "$A$zzz$01234567890123456789"}, {"sha256_password", ""}, {"unix_socket", "invalid"}} {
		if v.accepts("") || v.accepts("invalid") {
			t.Errorf("%+v accepts a password", v)
		}
	}
}
