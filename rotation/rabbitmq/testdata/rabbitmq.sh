export RABBITMQ_NODENAME=rotator{{.S.Port}}@localhost
export RABBITMQ_CONF_ENV_FILE=/dev/null
export RABBITMQ_CONFIG_FILE={{.S.Dir}}/rabbitmq.conf
export RABBITMQ_ADVANCED_CONFIG_FILE={{.S.Dir}}/none
export RABBITMQ_GENERATED_CONFIG_DIR={{.S.Dir}}/generated
export RABBITMQ_SCHEMA_DIR={{.S.Dir}}/schema
export RABBITMQ_MNESIA_BASE={{.S.Dir}}/data
export RABBITMQ_LOG_BASE={{.S.Dir}}
export RABBITMQ_LOGS=-
export RABBITMQ_ENABLED_PLUGINS_FILE={{.S.Dir}}/enabled_plugins
export RABBITMQ_PID_FILE={{.S.Dir}}/pid
# The server's script execs the node instead of waiting for it, so signals reach the node. The node does not read input.
export RABBITMQ_ALLOW_INPUT=true
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-noinput
export RABBITMQ_DIST_PORT={{.O.Distribution}}
# Erlang would start its port mapper as a daemon that outlives the node. It uses a running one instead: the guard's child.
export ERL_EPMD_ADDRESS=127.0.0.1
export ERL_EPMD_PORT={{.O.Mapper}}
PATH={{release}}/usr/lib/erlang/bin:$PATH
epmd & mapper=$!
until epmd -names >/dev/null; do
	kill -0 $mapper || exit 1
	sleep 0.05
done
exec {{release}}/usr/lib/rabbitmq/bin/rabbitmq-server
