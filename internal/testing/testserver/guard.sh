# usage: sh -c guard.sh guard DIR SIGNAL COMMAND...
# Runs COMMAND with its output in DIR/server.log until file descriptor 3, a pipe
# whose other end only the starting process holds, is closed: by Stop, or by the
# kernel when that process ends in whatever way. Then COMMAND gets SIGNAL, ten
# seconds later KILL, and DIR is removed. When COMMAND ends by itself a line on
# standard output says so, and DIR stays for its log to be read.
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
# Nobody reads standard output any more when the starting process was killed.
trap '' PIPE
wait "$server"
echo "exited $?" 2>/dev/null
read -r _ <&3
cd /
# Halt leaves the file keep: the server will be resumed in DIR.
[ -e "$dir/keep" ] || rm -rf "$dir" 2>/dev/null
# The guard leads a process group of its own: this ends the timer above and
# whatever children the server has left, and the guard itself.
kill -s KILL 0
