# Keeps one PostgreSQL server for the process at the other end of stdin, and leaves nothing when that end closes,
# however it closes: that process may be killed, and the pipe still tells. Commands on stdin, one a line: "halt"
# stops the server and says so on stderr, in order with the server's own log; "start" starts it again. End of file
# stops it for good, by the signal FINAL: a data directory that stays is closed cleanly (INT), one that goes needs no
# checkpoint (QUIT).
# Environment: INITDB, POSTGRES, DATA, PASSWORD_FILE, FINAL, REMOVE (the directory to delete at the end).
# Arguments: those of the server.
trap '' HUP INT TERM QUIT PIPE
pid=

up() {
    "$POSTGRES" -D "$DATA" "$@" </dev/null >&2 &
    pid=$!
}

down() {
    if [ -n "$pid" ]; then
        kill "-$1" "$pid" 2>/dev/null
        wait "$pid"
        pid=
    fi
}

if [ -e "$DATA/PG_VERSION" ] ||
    "$INITDB" -D "$DATA" -U postgres -A scram-sha-256 --pwfile="$PASSWORD_FILE" \
        -E UTF8 --locale=C --no-sync </dev/null >&2; then
    rm -f "$PASSWORD_FILE"
    up "$@"
    while read -r word; do
        case $word in
        start) up "$@" ;;
        halt) down INT; echo "supervisor: halted" >&2 ;;
        esac
    done
    down "$FINAL"
fi
rm -rf "$REMOVE"
