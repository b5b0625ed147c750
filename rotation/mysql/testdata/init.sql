CREATE USER IF NOT EXISTS {{.S.User}}@'%' IDENTIFIED BY '{{.S.Password}}'{{if not (or .S.NoTLS .O.AllowPlaintext)}} REQUIRE SSL{{end}};
GRANT ALL ON *.* TO {{.S.User}}@'%' WITH GRANT OPTION;
