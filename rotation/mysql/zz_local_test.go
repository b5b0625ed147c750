//go:build mysqlserver

package mysql_test

import (
	"crypto/tls"
	"database/sql"
	"os"
	"sync"
	"testing"

	driver "github.com/go-sql-driver/mysql"

	"example.com/rotator/internal/testserver"
)

func init() {
	systems["mysql"] = localMySQL
}

var localCA = sync.OnceValue(func() *testserver.CA {
	ca, err := testserver.NewCA()
	if err != nil {
		panic(err)
	}
	c, err := ca.Issue()
	if err != nil {
		panic(err)
	}
	os.WriteFile("/tmp/w/mysql/tls/my-ca.crt", ca.PEM, 0o644)
	os.WriteFile("/tmp/w/mysql/tls/my.crt", c.CertPEM, 0o644)
	os.WriteFile("/tmp/w/mysql/tls/my.key", c.KeyPEM, 0o644)
	cfg := driver.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd = "tcp", "127.0.0.1:23307", "admin", "admin-pw-1"
	cfg.TLS = &tls.Config{InsecureSkipVerify: true}
	con, _ := driver.NewConnector(cfg)
	db := sql.OpenDB(con)
	defer db.Close()
	for _, s := range []string{"SET GLOBAL ssl_ca='/tmp/w/mysql/tls/my-ca.crt'", "SET GLOBAL ssl_cert='/tmp/w/mysql/tls/my.crt'", "SET GLOBAL ssl_key='/tmp/w/mysql/tls/my.key'", "ALTER INSTANCE RELOAD TLS"} {
		if _, err := db.Exec(s); err != nil {
			panic(err)
		}
	}
	return ca
})

func localMySQL(t testing.TB, o testserver.MySQLOptions) *testserver.MySQLServer {
	d := "/tmp/w/mysql/my/"
	return &testserver.MySQLServer{Server: testserver.Server{Host: "localhost", Port: 23307, User: "admin", Password: "admin-pw-1", CA: localCA(), LogFile: d + "../my.log"}, GeneralLog: d + "general.log", SlowLog: d + "data/vm-slow.log"}
}
