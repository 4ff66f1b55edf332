#!/usr/bin/env bash
# What core threads cost and bring: CPU time per delivery with 1, 2, 4 and 8 of them, which must not grow with their
# number, and rate and CPU time of echoes and stored messages with 1 thread against 2.
#
# Usage: perf/scaling.sh [rounds] [seconds]
#
# Nothing is pinned, and the generator shares the processors; more threads than processors show what threads cost, not
# what they bring. Light flavor.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh
rounds=${1:-3}
seconds=${2:-3}
unpin

build
for round in $(seq "$rounds"); do
    for cores in 1 2 4 8; do
        HAPPIER_ENV="HAPPIER_CORES=$cores" start_server
        measure "$server_pid" presence --url "http://$server_address" --seconds "$seconds" --accounts 300 --receivers 3 --rate 4000
        record "$cores" delivery server_cpu_us_per_delivery
        if ((cores <= 2)); then
            for load in "echo --connections 400" "messages --connections 64"; do
                # shellcheck disable=SC2086
                measure "$server_pid" $load --url "http://$server_address" --seconds "$seconds"
                record "$cores" "${load%% *}" server_cpu_us_per_operation operation_per_second operation_latency_p99_us
            done
        fi
        stop_server
    done
    echo "round $round of $rounds done" >&2
done

{
    heading "Core threads" "$rounds interleaved rounds of $seconds s; medians"
    one=$(median 1 delivery server_cpu_us_per_delivery)
    echo "| core threads | CPU µs per delivery (300 accounts × 3, 4,000/s) | against 1 thread |"
    echo "|---:|---:|---:|"
    for cores in 1 2 4 8; do
        cost=$(median "$cores" delivery server_cpu_us_per_delivery)
        echo "| $cores | $cost | $(ratio "$cost" "$one") |"
        figure "delivery_${cores}_threads_ratio_to_1" "$(ratio "$cost" "$one")"
    done
    echo
    echo "| load, closed loop | CPU µs each, 1 thread | 2 threads | ratio | per second, 1 thread | 2 threads | ratio |"
    echo "|---|---:|---:|---:|---:|---:|---:|"
    for load in echo messages; do
        a=$(median 1 $load server_cpu_us_per_operation) b=$(median 2 $load server_cpu_us_per_operation)
        c=$(median 1 $load operation_per_second) d=$(median 2 $load operation_per_second)
        echo "| $load | $a | $b | $(ratio "$b" "$a") | $c | $d | $(ratio "$d" "$c") |"
        figure "${load}_2_threads_cpu_ratio_to_1" "$(ratio "$b" "$a")"
        figure "${load}_2_threads_rate_ratio_to_1" "$(ratio "$d" "$c")"
    done
    echo
    echo "With $(nproc) processors for server and generator together the rate of 2 threads is what the generator leaves them."
} | publish scaling
