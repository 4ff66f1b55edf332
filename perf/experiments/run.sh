#!/usr/bin/env bash
# Measures the ways in which a core can wait for its sockets, interleaved, and prints a table of medians.
#
# Usage: perf/experiments/run.sh [rounds] [seconds] [way …]      way: "task-ready-plain defer"
# Server on core 0, generator on core 1. CPU time is the server's, user and system, from the kernel's accounting.
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-3}
seconds=${2:-1.5}
out=$(mktemp -d)
pid=
trap '[[ -z $pid ]] || kill "$pid" 2>/dev/null; rm -rf "$out"' EXIT

cargo build --quiet --release -p happier-loadtest
cargo build --quiet --release --manifest-path perf/experiments/Cargo.toml
generator=target/release/happier-loadtest
servers=perf/experiments/target/release/runtime-experiments

ways=(
    "ring-parked none" "ring-parked defer" "ring-multishot defer" "ring-ready-plain defer" "epoll-slab"
    "bulk none" "bulk defer" "bulk-sends defer"
    "task-parked none" "task-parked defer" "task-parked-plain defer" "task-ready defer"
    "task-ready-plain none" "task-ready-plain coop" "task-ready-plain defer" "task-switch defer" "task-epoll"
)
(($# > 2)) && ways=("${@:3}")
cases=(
    "echo 100|echo --connections 100"
    "echo 1,000|echo --connections 1000"
    "echo 5,000/s over 100|echo --connections 100 --rate 5000"
    "echo 5,000/s over 10,000|echo --connections 10000 --rate 5000"
)

start() { # start WAY...: sets pid and address
    : >"$out/address"
    taskset -c 0 "$servers" "$@" >"$out/address" &
    pid=$!
    for _ in $(seq 50); do
        address=$(sed -n 's/^listening on //p' "$out/address")
        [[ -n $address ]] && return
        sleep 0.05
    done
    echo "no address from $*" >&2
    exit 1
}

stop() {
    kill "$pid"
    wait "$pid" 2>/dev/null || true
    pid=
}

measure() { # measure FIGURE ARGUMENTS...: prints the figure
    local figure=$1
    shift
    taskset -c 1 timeout 60 "$generator" "$@" --raw --url "http://$address" --pid "$pid" --seconds "$seconds" \
        --warmup 0.5 >"$out/report" || { cat "$out/report" >&2; return 1; }
    awk -v figure="$figure" '$1 == figure { print $2 }' "$out/report"
}

for round in $(seq "$rounds"); do
    for way in "${ways[@]}"; do
        # shellcheck disable=SC2086
        start $way
        for case in "${cases[@]}"; do
            # shellcheck disable=SC2086
            value=$(measure server_cpu_us_per_operation ${case#*|})
            printf '%s\t%s\t%s\n' "$way" "${case%%|*}" "$value" >>"$out/values"
        done
        stop
        # Memory of connections is only seen in a process that has had none before.
        # shellcheck disable=SC2086
        start $way
        value=$(measure after_anonymous_bytes_per_connection idle --connections 18000)
        printf '%s\t%s\t%s\n' "$way" "bytes idle" "$value" >>"$out/values"
        stop
    done
    echo "round $round of $rounds done" >&2
done

sort -t "$(printf '\t')" -k1,1 -k2,2 -k3,3g "$out/values" | awk -F '\t' -v ways="$(IFS='|'; echo "${ways[*]}")" '
    { key = $1 FS $2; count[key]++; value[key, count[key]] = $3 }
    END {
        columns = split("echo 100|echo 1,000|echo 5,000/s over 100|echo 5,000/s over 10,000|bytes idle", column, "|")
        line = "| way | flags"; rule = "|---|---"
        for (c = 1; c <= columns; c++) { line = line " | " column[c]; rule = rule "|---:" }
        print line " |"; print rule "|"
        rows = split(ways, way, "|")
        for (r = 1; r <= rows; r++) {
            split(way[r], part, " ")
            line = "| " part[1] " | " (part[2] == "" ? "–" : part[2])
            for (c = 1; c <= columns; c++) {
                key = way[r] FS column[c]
                line = line " | " value[key, int((count[key] + 1) / 2)]
            }
            print line " |"
        }
    }'
