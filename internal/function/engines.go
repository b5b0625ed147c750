package function

import (
	"example.com/rotator/rotation/awscache"
	"example.com/rotator/rotation/directory"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/generic"
	"example.com/rotator/rotation/http"
	"example.com/rotator/rotation/iam"
	"example.com/rotator/rotation/influxdb"
	"example.com/rotator/rotation/influxdb2"
	"example.com/rotator/rotation/ldap"
	"example.com/rotator/rotation/mongodb"
	"example.com/rotator/rotation/mysql"
	"example.com/rotator/rotation/postgres"
	"example.com/rotator/rotation/rabbitmq"
	"example.com/rotator/rotation/redis"
	"example.com/rotator/rotation/redshift"
	"example.com/rotator/rotation/sqlserver"
)

// engines returns all engines that the function serves. The error has the cause InvalidConfiguration.
func engines(tls engine.TLSPolicy, c *clients, getenv func(string) string) ([]engine.Engine, error) {
	nodes, err := redis.ParseNodes(getenv("REDIS_TRUSTED_NODES"))
	if err != nil {
		return nil, err
	}
	byRole, err := engine.ParseBool("IAM_BY_ROLE", getenv("IAM_BY_ROLE"), false)
	if err != nil {
		return nil, err
	}
	list := []engine.Engine{
		postgres.New(tls),
		mysql.New(tls),
		redis.New(tls, nodes),
		rabbitmq.New(tls),
		ldap.New(tls),
		mongodb.New(tls),
		influxdb.New(tls),
		influxdb2.NewUsers(tls, c.settings),
		influxdb2.NewTokens(tls, c.settings),
		redshift.New(tls),
		sqlserver.New(tls),
		oracleEngine(tls),
		db2,
		generic.New(),
		iam.New(c.settings, byRole),
	}
	caches, err := awscache.ReadOptions(getenv)
	if err != nil {
		return nil, err
	}
	list = append(list, awscache.NewElastiCache(tls, c.settings, caches), awscache.NewMemoryDB(tls, c.settings, caches))
	fields, err := directory.ReadFields(getenv)
	if err != nil {
		return nil, err
	}
	list = append(list, directory.New(c.settings, fields))
	apis, err := http.Load(tls, getenv("HTTP_RECIPES"))
	for _, e := range apis {
		list = append(list, e)
	}
	return list, err
}
