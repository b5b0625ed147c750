package mysql

// The servers' error numbers. From 1900 on, the servers use the same numbers for different errors.
// Source: https://dev.mysql.com/doc/mysql-errors/9.4/en/server-error-reference.html
// and https://mariadb.com/kb/en/mariadb-error-code-reference/
const (
	databaseDenied      = 1044
	accessDenied        = 1045
	unknownDatabase     = 1049
	unknownColumn       = 1054
	duplicateEntry      = 1062 // also for a password in the history
	syntaxError         = 1064
	hostDenied          = 1130
	noSuchGrant         = 1141
	tableDenied         = 1142
	columnDenied        = 1143
	noSuchTable         = 1146
	noSuchTableGrant    = 1147
	brokenMerge         = 1168
	lockWaitTimeout     = 1205
	privilegeMissing    = 1227
	optionForbids       = 1290
	noSuchRoutine       = 1305
	brokenView          = 1356
	routineDenied       = 1370
	notAHash            = 1372
	userOperationFailed = 1396
	noSuchRoutineGrant  = 1403
	grantCreatesNoUser  = 1410
	noSuchDefiner       = 1449
	noPasswordLogin     = 1698
	passwordPolicy      = 1819
	passwordExpired     = 1820
	readOnlyMode        = 1836
	expiredAtLogin      = 1862

	mysqlTLSRequired  = 3159
	mysqlHistory      = 3638
	mysqlNotFirst     = 3891 // REPLACE does not have the primary password
	mysqlMustSayFirst = 3892 // REPLACE is missing
	mysqlRestricted   = 4060 // a partial revoke forbids it
	mariadbRoleDenied = 1959
	mariadbTimeout    = 1969
)
