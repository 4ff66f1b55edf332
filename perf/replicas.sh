#!/usr/bin/env bash
# What a delivery costs when it crosses replicas: all senders on one `api` process and all receivers on another, with a
# worker and a Redis between them, beside the same load on one process that has no Redis. Stored messages and ephemerals.
#
# Usage: [DATABASE_URL=postgresql://…] perf/replicas.sh [rounds] [seconds]
#
# 300 accounts with 3 receivers each, at the same rate on both (FANOUT_RATE and PRESENCE_RATE, operations a second).
# Without DATABASE_URL a throw-away Postgres is started; one that is named must be disposable. Every process of ours runs
# one core thread; nothing is pinned, and they share the processors with Postgres, Redis and the generator. The result goes
# to perf/results/replicas-DATE-COMMIT.md and to the terminal.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh
rounds=${1:-3}
seconds=${2:-3}
connections=${CONNECTIONS:-4}
# Operations a second: what one core of a small machine does in both arrangements, so that the rate is never the difference.
fanout_rate=${FANOUT_RATE:-500}
presence_rate=${PRESENCE_RATE:-2000}
unpin

build
start_postgres
start_redis
DATABASE_URL="$DATABASE_URL?connection_limit=$connections"
own_env="HAPPIER_DB_CONNECTIONS_PER_CORE=$connections ${HAPPIER_ENV:-}"
cluster_env="$own_env HAPPY_SOCKET_REDIS_ADAPTER=1 REDIS_URL=redis://$redis_address"

# load NAME RATE SUBJECT PID ARGUMENTS…: one window. Fails when a delivery is missing, repeated or out of order.
load() {
    local name=$1 rate=$2 subject=$3 pid=$4
    shift 4
    measure "$pid" "$name" --seconds "$seconds" --accounts 300 --receivers 3 --rate "$rate" "$@"
    record "$name" "$subject" server_cpu_us_per_delivery server_{1,2,3}_cpu_us_per_delivery redis_cpu_us_per_delivery \
        redis_input_bytes_per_delivery redis_output_bytes_per_delivery redis_commands_per_delivery delivery_per_second \
        delivery_latency_p50_us delivery_latency_p99_us
}

for round in $(seq "$rounds"); do
    HAPPIER_ENV="$own_env SERVER_ROLE=all" start_server one
    load fanout "$fanout_rate" one "$server_pid" --url "http://$server_address"
    load presence "$presence_rate" one "$server_pid" --url "http://$server_address"
    stop_server

    HAPPIER_ENV="$cluster_env SERVER_ROLE=worker" start_server worker
    worker_pid=$server_pid
    HAPPIER_ENV="$cluster_env SERVER_ROLE=api" start_server sending
    sending_pid=$server_pid sending_address=$server_address
    HAPPIER_ENV="$cluster_env SERVER_ROLE=api" start_server receiving
    receiving_pid=$server_pid receiving_address=$server_address
    # `measure` names the worker last: it is the third of the report.
    replicas=(--url "http://$sending_address" --url "http://$receiving_address" --split
        --pid "$sending_pid" --pid "$receiving_pid" --redis "$redis_address")
    keep replicas-fanout
    load fanout "$fanout_rate" replicas "$worker_pid" "${replicas[@]}"
    keep replicas-presence
    load presence "$presence_rate" replicas "$worker_pid" "${replicas[@]}"
    keep_report=
    stop_server "$sending_pid" "$receiving_pid" "$worker_pid"
    echo "round $round of $rounds done" >&2
done

sum() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a + b }'
}

{
    heading "Deliveries across replicas" "$rounds interleaved rounds of $seconds s; medians"
    echo "300 accounts × 3 receivers; stored messages of 256 bytes at $fanout_rate/s, signs of life at $presence_rate/s. CPU µs per delivery:"
    echo
    echo "| load | one process, no Redis | senders' replica | receivers' replica | worker | Redis | all of them | of one process |"
    echo "|---|---:|---:|---:|---:|---:|---:|---:|"
    for load in fanout presence; do
        one=$(median $load one server_cpu_us_per_delivery)
        redis=$(median $load replicas redis_cpu_us_per_delivery)
        all=$(sum "$(median $load replicas server_cpu_us_per_delivery)" "$redis")
        echo "| $load | $one | $(median $load replicas server_1_cpu_us_per_delivery)" \
            "| $(median $load replicas server_2_cpu_us_per_delivery) | $(median $load replicas server_3_cpu_us_per_delivery)" \
            "| $redis | $all | $(ratio "$all" "$one") |"
        figure "replicas_${load}_cpu_ratio_to_one_process" "$(ratio "$all" "$one")"
    done
    echo
    echo "| load | deliveries/s | Redis takes, bytes per delivery | Redis sends | commands | p50 µs, one process | replicas | p99 µs, one process | replicas |"
    echo "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for load in fanout presence; do
        echo "| $load | $(median $load replicas delivery_per_second) | $(median $load replicas redis_input_bytes_per_delivery)" \
            "| $(median $load replicas redis_output_bytes_per_delivery) | $(median $load replicas redis_commands_per_delivery)" \
            "| $(median $load one delivery_latency_p50_us) | $(median $load replicas delivery_latency_p50_us)" \
            "| $(median $load one delivery_latency_p99_us) | $(median $load replicas delivery_latency_p99_us) |"
        figure "replicas_${load}_redis_input_bytes_per_delivery" "$(median $load replicas redis_input_bytes_per_delivery)"
        figure "replicas_${load}_redis_output_bytes_per_delivery" "$(median $load replicas redis_output_bytes_per_delivery)"
    done
    echo
    echo "One entry of the stream serves the 3 receivers of an account. With \`presence\` Redis carries two things: the entry" \
        "for the receivers, and the sign of life on its way to the worker's rows."
} | publish replicas
