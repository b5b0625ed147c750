package mysql

import (
	"strings"
	"testing"
)

// The statements come from real servers.
func TestDescriptionsOfAccounts(t *testing.T) {
	const hourly = "MAX_QUERIES_PER_HOUR 0 MAX_UPDATES_PER_HOUR 0 MAX_CONNECTIONS_PER_HOUR 0"
	const passwords = " PASSWORD HISTORY DEFAULT PASSWORD REUSE INTERVAL DEFAULT PASSWORD REQUIRE CURRENT DEFAULT"
	for name, c := range map[string]struct {
		facts     facts
		statement string
		want      account
	}{
		"MySQL": {ofMySQL,
			"CREATE USER `a`@`%` IDENTIFIED WITH 'caching_sha2_password' AS '$A$005$it''s REQUIRE X509' DEFAULT ROLE " +
				"`r`@`%`,`s, t`@`%` REQUIRE SUBJECT '/CN=x' ISSUER '/CN=y' WITH MAX_USER_CONNECTIONS 3 PASSWORD " +
				"EXPIRE INTERVAL 9 DAY ACCOUNT LOCK PASSWORD HISTORY 3 PASSWORD REUSE INTERVAL DEFAULT PASSWORD " +
				"REQUIRE CURRENT OPTIONAL FAILED_LOGIN_ATTEMPTS 2 PASSWORD_LOCK_TIME UNBOUNDED ATTRIBUTE '{\"a\": " +
				"\"it's\"}'",
			account{plugin: "caching_sha2_password", roles: "`r`@`%`,`s, t`@`%`",
				attributes: "REQUIRE SUBJECT '/CN=x' ISSUER '/CN=y' WITH MAX_USER_CONNECTIONS 3 " + hourly +
					" PASSWORD EXPIRE INTERVAL 9 DAY ACCOUNT LOCK PASSWORD HISTORY 3 PASSWORD REUSE INTERVAL " +
					"DEFAULT PASSWORD REQUIRE CURRENT OPTIONAL FAILED_LOGIN_ATTEMPTS 2 PASSWORD_LOCK_TIME UNBOUNDED"}},
		"IAM": {ofMySQL,
			"CREATE USER `a`@`%` IDENTIFIED WITH 'AWSAuthenticationPlugin' AS 'RDS' REQUIRE SSL PASSWORD EXPIRE " +
				"DEFAULT ACCOUNT UNLOCK" + passwords,
			account{attributes: "REQUIRE SSL WITH " + hourly + " MAX_USER_CONNECTIONS 0 PASSWORD EXPIRE DEFAULT " +
				"ACCOUNT UNLOCK" + passwords + " FAILED_LOGIN_ATTEMPTS 0 PASSWORD_LOCK_TIME 0"}},
		"MariaDB": {ofMariaDB, "CREATE USER `a`@`%` IDENTIFIED VIA unix_socket OR ed25519 USING 'x OR y' OR " +
			"mysql_native_password USING '*00' REQUIRE ISSUER 'b' SUBJECT 'a' WITH MAX_STATEMENT_TIME 1.500000 " +
			"ACCOUNT LOCK PASSWORD EXPIRE NEVER",
			account{plugin: native, attributes: "REQUIRE ISSUER 'b' SUBJECT 'a' WITH MAX_STATEMENT_TIME 1.500000 " +
				hourly + " MAX_USER_CONNECTIONS 0 ACCOUNT LOCK PASSWORD EXPIRE NEVER"}},
		"an expired password": {ofMySQL, "CREATE USER `a`@`%` IDENTIFIED WITH 'sha256_password' AS '00' REQUIRE NONE " +
			"PASSWORD EXPIRE ACCOUNT UNLOCK" + passwords,
			account{plugin: "sha256_password", attributes: "REQUIRE NONE WITH " + hourly + " MAX_USER_CONNECTIONS 0 " +
				"PASSWORD EXPIRE DEFAULT ACCOUNT UNLOCK" + passwords + " FAILED_LOGIN_ATTEMPTS 0 PASSWORD_LOCK_TIME 0"}},
		"an expired password of MariaDB": {ofMariaDB, "CREATE USER `a`@`%` IDENTIFIED BY PASSWORD '*00' PASSWORD EXPIRE",
			account{plugin: native, attributes: "REQUIRE NONE WITH " + hourly + " MAX_USER_CONNECTIONS 0 " +
				"MAX_STATEMENT_TIME 0 PASSWORD EXPIRE DEFAULT ACCOUNT UNLOCK"}},
		"MariaDB without clauses": {ofMariaDB, "CREATE USER `a`@`%` IDENTIFIED BY PASSWORD '*00'",
			account{plugin: native, attributes: "REQUIRE NONE WITH " + hourly + " MAX_USER_CONNECTIONS 0 " +
				"MAX_STATEMENT_TIME 0 PASSWORD EXPIRE DEFAULT ACCOUNT UNLOCK"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got account
			err := got.parse(c.statement, c.facts.defaults)
			if got.plugin != c.want.plugin || got.roles != c.want.roles || got.attributes != c.want.attributes {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if iam := name == "IAM"; iam != (err != nil) ||
				iam && !strings.Contains(err.Error(), "AWSAuthenticationPlugin") {
				t.Errorf("%v", err)
			}
		})
	}
}

// A clause that a later server adds must not hide another one.
func TestUnknownClauseIsRefused(t *testing.T) {
	for _, statement := range []string{
		"CREATE USER `a`@`%` IDENTIFIED BY PASSWORD '*00' REQUIRE SSL NEW 1 ACCOUNT LOCK",
		"CREATE USER `a`@`%` IDENTIFIED BY PASSWORD '*00' REQUIRE SSL WITH MAX_NEWS 'x'",
		"CREATE USER `a`@`%` IDENTIFIED BY PASSWORD '*00' REQUIRE SSL PASSWORD EXPIRE NEVER PASSWORD '*00'",
		"CREATE USER `a`@`%` IDENTIFIED BY PASSWORD '*00' ACCOUNT LOCK NEW 'x'",
		"CREATE USER `a`@`%` IDENTIFIED BY PASSWORD '*00' WITH MAX_USER_CONNECTIONS 1 NEW",
	} {
		if err := new(account).parse(statement, ofMariaDB.defaults); err == nil ||
			strings.Contains(err.Error(), "*00") {
			t.Errorf("%s: %v", statement, err)
		}
	}
}
