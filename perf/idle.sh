#!/usr/bin/env bash
# User-space memory per idle, authenticated connection.
#
# Usage: perf/idle.sh [connections] [seconds] [rounds]
#
# One fresh server of the light flavor per run, as memory that a process once had hides what connections take. More than
# 19,900 connections need HAPPIER_BIN started by hand in several processes, since a process may open 20,000 files here.
# The server asks for small pages by itself; with huge ones memory would grow in steps of 2 MiB, about 100 bytes for each
# of 18,000 connections.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh
connections=${1:-18000}
seconds=${2:-20}
rounds=${3:-3}

build
: >"$work/values"
for round in $(seq "$rounds"); do
    start_server
    keep idle
    measure "$server_pid" idle --url "http://$server_address" --connections "$connections" --seconds "$seconds"
    record idle server after_anonymous_bytes_per_connection after_pss_bytes_per_connection \
        connected_anonymous_bytes_per_connection server_anonymous_before_bytes server_cpu_us_per_connection_second \
        connect_seconds
    stop_server
    echo "round $round of $rounds done" >&2
done

{
    heading "Memory per idle connection" "$connections connections held for $seconds s, $rounds fresh servers; medians"
    echo "| figure | value |"
    echo "|---|---:|"
    for figure in after_anonymous_bytes_per_connection after_pss_bytes_per_connection \
        connected_anonymous_bytes_per_connection server_anonymous_before_bytes server_cpu_us_per_connection_second \
        connect_seconds; do
        echo "| ${figure//_/ } | $(median idle server "$figure") |"
    done
    figure idle_connection_bytes "$(median idle server after_anonymous_bytes_per_connection)"
} | publish idle
