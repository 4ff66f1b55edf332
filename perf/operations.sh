#!/usr/bin/env bash
# CPU time and latency of what has no budget of its own: connections, calls, signs of life, HTTP, messages over HTTP.
#
# Usage: perf/operations.sh [rounds] [seconds]
#
# Light flavor, or full with DATABASE_URL. Server on core 0, generator on core 1.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh
rounds=${1:-3}
seconds=${2:-3}

build
start_server
cases=(
    "connection: websocket, CONNECT, close|connect"
    "call from device to device|rpc"
    "sign of life told to 3 devices|presence --rate 3000"
    "GET /health|http"
    "GET /v1/account/profile|http --authenticated --path /v1/account/profile"
    "GET /v2/changes|http --authenticated --path /v2/changes?after=0&limit=50"
    "stored message|messages"
    "stored message told to 3 devices|fanout"
    "the same, sent over HTTP|fanout --door http"
)
for round in $(seq "$rounds"); do
    for case in "${cases[@]}"; do
        keep "operations-$(tr -c 'a-z\n' - <<<"${case#*|}" | tr -s -)"
        # shellcheck disable=SC2086
        measure "$server_pid" ${case#*|} --url "http://$server_address" --seconds "$seconds"
        record "${case%%|*}" server server_cpu_us_per_operation server_cpu_us_per_delivery operation_per_second \
            operation_latency_p50_us operation_latency_p99_us
    done
    echo "round $round of $rounds done" >&2
done

{
    heading "Operations" "$rounds rounds of $seconds s; medians"
    echo "| operation | CPU µs each | CPU µs per delivery | per second | p50 µs | p99 µs |"
    echo "|---|---:|---:|---:|---:|---:|"
    for case in "${cases[@]}"; do
        name=${case%%|*}
        echo "| $name | $(median "$name" server server_cpu_us_per_operation) |" \
            "$(median "$name" server server_cpu_us_per_delivery) | $(median "$name" server operation_per_second) |" \
            "$(median "$name" server operation_latency_p50_us) | $(median "$name" server operation_latency_p99_us) |"
    done
} | publish operations
