#!/bin/sh
# Kill the leader of a running cluster while records are sent, and say whether any was lost.
#
# Usage: infra/demo_failover.sh [-b HOST:PORT,...] [--compose | --kill COMMAND] [--count N] [--yes]
#
#   -b LIST         brokers (default: YAK_BOOTSTRAP_SERVERS, or the cluster of this folder)
#   --compose       the brokers are services of infra/compose.yaml
#   --kill COMMAND  shell command that kills the broker NODE; NODE is replaced by its id
#                   (default: yak cluster kill NODE)
#   --count N       records to send, about 25 a second (default: 250)
#   --yes           do not ask
#
# It asks before it kills. Exit codes: 0 every record is there once and in order, 1 not so, or no
# new leader, 2 wrong usage, 3 nothing was killed.
set -u

here=$(cd "$(dirname "$0")/.." && pwd)
yak=$here/yak
[ -x "$yak" ] && [ "${YAK_PROGRAM:-}" = "" ] || yak=${YAK_PROGRAM:-yak}
servers=${YAK_BOOTSTRAP_SERVERS:-}
kill_command="'$yak' cluster kill NODE"
start_again="yak cluster restart NODE"
count=250
agreed=no
wait_s=60

usage() {
    echo "demo_failover.sh: $1; see the first lines of $0" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
    -b | --bootstrap-servers | --kill | --count) [ $# -ge 2 ] || usage "$1 needs a value" ;;
    esac
    case $1 in
    -b | --bootstrap-servers) servers=$2 && shift ;;
    --compose)
        kill_command="${COMPOSE:-docker compose} -f '$here/infra/compose.yaml' kill NODE"
        start_again="docker compose -f infra/compose.yaml start NODE"
        servers=${servers:-127.0.0.1:8080,127.0.0.1:8081,127.0.0.1:8082}
        ;;
    --kill)
        kill_command=$2
        start_again="start NODE as before"
        shift
        ;;
    --count) count=$2 && shift ;;
    --yes) agreed=yes ;;
    -h | --help) sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//;p;}' "$0" && exit 0 ;;
    *) usage "unknown option $1" ;;
    esac
    shift
done
case $count in '' | *[!0-9]* | 0) usage "--count must be a number from 1, got '$count'" ;; esac
[ "$agreed" = yes ] || [ -t 0 ] || usage "no terminal to ask on; give --yes"

at() { # run a yak command for the brokers
    if [ -n "$servers" ]; then "$yak" "$@" -b "$servers"; else "$yak" "$@"; fi
}
leader() { # print the id of the leader that is ready, if there is one
    at cluster status --json 2>/dev/null | sed -n 's/.*"leader": *"\([^"]*\)".*/\1/p'
}
now_ms() { date +%s%3N; }

folder=$(mktemp -d) || exit 1
sender=
end() {
    [ -z "$sender" ] || kill "$sender" 2>/dev/null
    rm -rf "$folder"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

old=$(leader)
if [ -z "$old" ]; then
    at cluster status >&2
    echo "demo_failover.sh: no leader; start the cluster, or name its brokers with -b" >&2
    exit 1
fi
command=$(printf '%s\n' "$kill_command" | sed "s/NODE/$old/g")
at cluster status
echo "the leader is $old; this kills it: $command"
if [ "$agreed" != yes ]; then
    printf 'kill %s? [y/N] ' "$old"
    read -r answer || answer=
    case $answer in
    y | Y | yes) ;;
    *)
        echo "nothing was killed"
        exit 3
        ;;
    esac
fi

tag=failover-$(date +%s)-$$
seq -f "$tag-%.0f" "$count" >"$folder/sent"
while read -r line; do
    printf '%s\n' "$line"
    sleep 0.04
done <"$folder/sent" | at produce >"$folder/output" 2>&1 &
sender=$!
sleep 2
killed_ms=$(now_ms)
if ! sh -c "$command"; then
    echo "verdict: unknown: cannot kill $old"
    exit 1
fi
echo "killed $old"
new=$old
while [ "$new" = "$old" ] || [ -z "$new" ]; do
    if [ $(($(now_ms) - killed_ms)) -gt $((wait_s * 1000)) ]; then
        at cluster status >&2
        echo "verdict: no new leader within $wait_s s"
        exit 1
    fi
    sleep 0.1
    new=$(leader)
done
echo "$new leads after $(($(now_ms) - killed_ms)) ms"
wait "$sender"
code=$?
sender=
cat "$folder/output"
at consume --from-beginning -e 2>"$folder/error" | grep "^$tag-" >"$folder/read"
at cluster status
echo "start $old again: $(printf '%s\n' "$start_again" | sed "s/NODE/$old/g")"
if cmp -s "$folder/sent" "$folder/read"; then
    if [ "$code" != 0 ]; then
        echo "verdict: all $count records are there, but not all were confirmed"
        exit 1
    fi
    echo "verdict: nothing is lost: $count records confirmed, $count read, in order, each once"
    exit 0
fi
cat "$folder/error" >&2
echo "verdict: sent $count, read $(wc -l <"$folder/read"); exit code of yak produce: $code"
if [ "$code" = 0 ]; then
    echo "confirmed records are missing, repeated or in another order"
fi
exit 1
