#!/usr/bin/env bash
# CPU time per delivery beside socketioxide and Node's socket.io: the same rooms, the same event, the same generator.
#
# Usage: perf/fanout.sh [rounds] [seconds]
#
# 300 accounts with 3 receivers each; one device of each account says that it is alive, its 3 others are told. The peers
# (perf/peers) do the same without looking anything up. Each server on core 0 in turn, the generator on core 1. Also per
# connection with its handshakes, per echo and per idle connection, as the peers are there.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh
rounds=${1:-5}
seconds=${2:-3}
# Signs of life a second: light, where waking up is what costs, and near what the slowest peer can do.
rates=(1000 5000 12000)
# A peer that cannot keep up has no figure; a server of ours that cannot has failed.
measure_subject() {
    measure "$@" || { [[ $subject != server ]] && : >"$work/report"; }
}

build
build_peers
subjects=(server socketioxide node)
for round in $(seq "$rounds"); do
    for subject in "${subjects[@]}"; do
        if [[ $subject == server ]]; then
            start_server
            pid=$server_pid address=$server_address
        else
            start_peer "$subject"
            pid=$peer_pid address=$peer_address
        fi
        for rate in "${rates[@]}"; do
            keep "fanout-$subject"
            measure_subject "$pid" presence --url "http://$address" --seconds "$seconds" --accounts 300 --receivers 3 --rate "$rate"
            record "delivery, $rate/s × 3" "$subject" server_cpu_us_per_delivery
        done
        keep_report=
        measure_subject "$pid" echo --url "http://$address" --seconds "$seconds" --connections 100
        record "echo, 100 connections" "$subject" server_cpu_us_per_operation
        measure_subject "$pid" connect --url "http://$address" --seconds "$seconds"
        record "connection: websocket, CONNECT, close" "$subject" server_cpu_us_per_operation
        measure_subject "$pid" http --url "http://$address" --seconds "$seconds"
        record "GET /health" "$subject" server_cpu_us_per_operation
        kill "$pid"
        wait "$pid" 2>/dev/null || true
        rm -rf "$work"/data-*
    done
    echo "round $round of $rounds done" >&2
done

{
    heading "Beside the peers" "$rounds interleaved rounds of $seconds s, CPU µs of the server; medians"
    echo "| operation | this server | socketioxide | Node socket.io | of socketioxide | of Node |"
    echo "|---|---:|---:|---:|---:|---:|"
    row() { # CASE FIGURE
        local a b c
        a=$(median "$1" server "$2") b=$(median "$1" socketioxide "$2") c=$(median "$1" node "$2")
        echo "| $1 | $a | $b | $c | $(ratio "$a" "$b") | $(ratio "$a" "$c") |"
    }
    for rate in "${rates[@]}"; do
        row "delivery, $rate/s × 3" server_cpu_us_per_delivery
    done
    row "echo, 100 connections" server_cpu_us_per_operation
    row "connection: websocket, CONNECT, close" server_cpu_us_per_operation
    row "GET /health" server_cpu_us_per_operation
    echo
    echo "The peers answer /health without asking a database and store nothing anywhere."
    busy="delivery, ${rates[-1]}/s × 3"
    figure fanout_ratio_to_socketioxide "$(ratio "$(median "$busy" server server_cpu_us_per_delivery)" \
        "$(median "$busy" socketioxide server_cpu_us_per_delivery)")"
} | publish fanout
