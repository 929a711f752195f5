# Runs "$1" by bash in a session of its own and kills all of it when the client goes away.
#
# bash -s reads this script from standard input, byte by byte, and what follows it there are frames: a
# line with a length in bytes, then so many bytes; length 0 ends the command's input. End of file means
# that the client is gone, or wants the command ended. (So input that was cut off is never taken for
# input that came to its end.) The script does not come as an argument, for sudo writes all arguments
# to the server's log: there, an admin finds the command, and nothing else of ours. It is one compound
# command, which bash reads to its end before it runs any of it.
#
# Standard output begins with the mark: it tells the client that this runs at all, as the user it
# asked for.
{
mark='hallmark: guard runs'
printf '%s\n' "$mark"
exec 3<&0 4>&2 </dev/null 2>/dev/null
coproc GUARD {
	exec 4>&-
	while IFS= read -r -u 3 n; do
		if [ "$n" = 0 ]; then
			exec >/dev/null
		elif ! head -c "$n" <&3; then # nobody reads it any more
			exec >/dev/null
			cat <&3
		fi
	done
	read -r leader || exit 0
	trap '' TERM HUP
	for signal in TERM KILL; do
		kill -"$signal" -- "-$leader"
		for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
			kill -0 -- "-$leader" || exit 0
			sleep 0.1
		done
	done
}
guard=$GUARD_PID
# Opened anew, for a duplicate of bash's own descriptors would not outlive an exec.
exec 5<"/dev/fd/${GUARD[0]}" 6>"/dev/fd/${GUARD[1]}"
setsid bash -c 'echo "$$" >&6; exec 6>&-; echo "$2 $$"; exec bash -c "$1"' bash "$1" "$mark" <&5 2>&4 3<&- 4>&- 5<&-
status=$?
kill "$guard"
wait "$guard"
exit "$status"
}
