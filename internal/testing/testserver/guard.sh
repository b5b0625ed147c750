# usage: sh -c guard.sh guard DIR SIGNAL COMMAND... Runs COMMAND with its output in DIR/server.log
# until file descriptor 3 is closed, a pipe whose other end only the starting process holds: by
# Stop, or by the kernel when that process ends for any reason. Then COMMAND gets SIGNAL, ten
# seconds later KILL, and DIR is removed. If COMMAND ends on its own, a line on standard output
# reports it, and DIR stays with its log.
dir=$1 signal=$2
shift 2
cd "$dir" || exit 1
"$@" 3<&- </dev/null >>"$dir/server.log" 2>&1 &
server=$!
{
	read -r _
	kill -s "$signal" "$server"
	sleep 10
	kill -s KILL "$server"
} <&3 >/dev/null 2>&1 &
# If the starting process was killed, nobody reads standard output.
trap '' PIPE
wait "$server"
echo "exited $?" 2>/dev/null
read -r _ <&3
cd /
# Halt creates the file keep: the server will be resumed in DIR.
[ -e "$dir/keep" ] || rm -rf "$dir" 2>/dev/null
# The guard leads a separate process group: this ends the timer above, any remaining children of the
# server, and the guard itself.
kill -s KILL 0
