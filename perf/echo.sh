#!/usr/bin/env bash
# CPU time per echo of a server against the floor, interleaved: floor, server, floor, server, …
#
# Usage: perf/echo.sh [rounds] [seconds]
#
# Starts the floor and a server of the light flavor in an empty directory, both pinned to core 0, and the generator on
# core 1. HAPPIER_BIN names another binary; HAPPIER_ENV adds settings ("NAME=value NAME=value"). The result goes to
# perf/results/echo-DATE-COMMIT.md and to the terminal.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh
rounds=${1:-5}
seconds=${2:-3}

build
start_floor
start_server

cases=(
    "100 connections, closed loop|--connections 100"
    "1,000 connections, closed loop|--connections 1000"
    "5,000/s over 100 connections|--connections 100 --rate 5000"
)
for round in $(seq "$rounds"); do
    for case in "${cases[@]}"; do
        # shellcheck disable=SC2086
        keep_report=
        measure "$floor_pid" echo --raw --url "http://$floor_address" --seconds "$seconds" ${case#*|}
        record "${case%%|*}" floor server_cpu_us_per_operation operation_latency_p99_us operation_per_second
        # shellcheck disable=SC2086
        keep "echo"
        measure "$server_pid" echo --url "http://$server_address" --seconds "$seconds" ${case#*|}
        record "${case%%|*}" server server_cpu_us_per_operation operation_latency_p99_us operation_per_second
    done
    echo "round $round of $rounds done" >&2
done

{
    heading "Echo against the floor" "$rounds interleaved rounds of $seconds s; medians"
    echo "| case | floor µs | server µs | ratio | floor p99 µs | server p99 µs | floor /s | server /s |"
    echo "|---|---:|---:|---:|---:|---:|---:|---:|"
    for case in "${cases[@]}"; do
        name=${case%%|*}
        floor=$(median "$name" floor server_cpu_us_per_operation)
        server=$(median "$name" server server_cpu_us_per_operation)
        case $name in
            "100 conn"*) figure echo_100_ratio_to_floor "$(ratio "$server" "$floor")" ;;
            "1,000 conn"*) figure echo_1000_ratio_to_floor "$(ratio "$server" "$floor")" ;;
        esac
        echo "| $name | $floor | $server | $(ratio "$server" "$floor")" \
            "| $(median "$name" floor operation_latency_p99_us) | $(median "$name" server operation_latency_p99_us)" \
            "| $(median "$name" floor operation_per_second) | $(median "$name" server operation_per_second) |"
    done
} | publish echo
