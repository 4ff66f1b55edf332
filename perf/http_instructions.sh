#!/usr/bin/env bash
# Instructions of the whole server for each HTTP request, counted by callgrind: a number that other load on the machine
# does not change. One core, SQLite, epoll (valgrind knows no io_uring), one kept connection.
#
#   perf/http_instructions.sh [PATH…]       with COUNT requests each (default 2000)
#
# The profiles stay in target/callgrind: callgrind_annotate FILE.
set -euo pipefail
cd "$(dirname "$0")/.."

binary=${HAPPIER_BIN:-target/release/happier-server}
count=${COUNT:-2000}
paths=("$@")
((${#paths[@]})) || paths=(/ /v1/features /health /v1/account/profile /v1/sessions "/v2/changes?limit=50")
work=$(mktemp -d)
out=target/callgrind
mkdir -p "$out"
rm -f "$out"/requests.*
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

env PORT=0 HAPPIER_BIND=127.0.0.1 HAPPIER_CORES=1 HAPPIER_IO_DRIVER=epoll HAPPY_SERVER_LIGHT_DATA_DIR="$work" \
    METRICS_ENABLED=false HAPPIER_RATE_LIMITS=off \
    valgrind --tool=callgrind --instr-atstart=no --callgrind-out-file="$out/requests" -q "$binary" light 2>"$work/log" &
server=$!
for _ in $(seq 600); do
    url=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$work/log")
    [[ -n $url ]] && break
    sleep 0.1
done
[[ -n $url ]] || { cat "$work/log" >&2; exit 1; }
token=$(node perf/http_requests.mjs "$url" 0 login)
# A process that is measured comes to rest between the requests, so that what is counted belongs to them.
callgrind_control -i on "$server" &>/dev/null
echo "| path | instructions per request |"
echo "|---|---|"
number=0
for path in "${paths[@]}"; do
    number=$((number + 1))
    node perf/http_requests.mjs "$url" 300 "$path" "$token"
    callgrind_control -z "$server" &>/dev/null
    node perf/http_requests.mjs "$url" "$count" "$path" "$token"
    callgrind_control -d "path$number" "$server" &>"$work/dump"

    total=$(awk '/^(totals|summary):/ { print $2; exit }' "$out/requests.$number")
    echo "| \`$path\` | $((total / count)) |"
done
