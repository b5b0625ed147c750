#!/bin/sh
# usage: scripts/with-docker.sh COMMAND [ARGUMENT...]
#
# Runs a command with a Docker engine: the running one or, as root on Linux, a new one that is
# stopped afterwards. If several commands need a new one, they run one after another.
set -eu
PATH=$PATH:/usr/sbin:/sbin
exec 9<"$0"
! command -v flock >/dev/null 2>&1 || flock 9
! docker info >/dev/null 2>&1 9<&- || exec "$@" 9<&-

fail() {
	printf 'with-docker: %s\n' "$*" >&2
	exit 1
}
[ "$(id -u)" = 0 ] || fail "no Docker engine is running: start one, for example with: sudo systemctl start docker"
command -v dockerd >/dev/null 2>&1 || fail "no Docker engine is installed: run scripts/deps.sh sam"

log=$(mktemp)
dockerd >"$log" 2>&1 9<&- &
engine=$!
stop() {
	kill "$engine" 2>/dev/null || true
	wait "$engine" || true
	rm -f "$log"
}
trap stop EXIT
trap 'exit 130' INT TERM
left=60
until docker info >/dev/null 2>&1; do
	left=$((left - 1))
	if [ "$left" = 0 ] || ! kill -0 "$engine" 2>/dev/null; then
		tail -n 5 "$log" >&2
		fail "cannot start a Docker engine on this machine"
	fi
	sleep 0.5
done
"$@" 9<&-
