#!/usr/bin/env bash
# Stored messages: the server of the full flavor against pgbench with the same statement and as many connections,
# interleaved; and the ways of the statement against each other (function, data-modifying CTE, sixteen in a call).
#
# Usage: [DATABASE_URL=postgresql://…] perf/messages.sh [rounds] [seconds]
#
# Without DATABASE_URL a throw-away Postgres is started; one that is named must be disposable. The server runs HAPPIER_CORES cores (default 1) with CONNECTIONS connections in all
# (default 4); nothing is pinned, because Postgres, the server and the generator share the processors anyway. The result
# goes to perf/results/messages-DATE-COMMIT.md and to the terminal.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh
rounds=${1:-3}
seconds=${2:-5}
connections=${CONNECTIONS:-4}
# What the reference server stores a second with 20 accounts, each with a sender (design measurements).
reference_per_second=110
unpin

build
start_postgres
base_url=$DATABASE_URL
DATABASE_URL="$base_url?connection_limit=$connections"
HAPPIER_ENV="HAPPIER_DB_CONNECTIONS_PER_CORE=$connections ${HAPPIER_ENV:-}"
start_server
psql -q "$base_url" -f perf/pgbench/setup.sql

bench() { # NAME FILE MESSAGES_PER_CALL
    local tps
    tps=$(pgbench -n -M prepared -c "$connections" -j 1 -T "$seconds" -f "perf/pgbench/$2.sql" "$base_url" 2>/dev/null |
        sed -n 's/^tps = \([0-9.]*\).*/\1/p')
    awk -v name="$1" -v tps="$tps" -v each="$3" -v OFS='\t' \
        'BEGIN { print name, "pgbench", "messages_per_second", tps * each }' >>"$work/values"
}

for round in $(seq "$rounds"); do
    bench function function 1
    for sockets in 16 64 256; do
        keep messages
        measure "$server_pid" messages --url "http://$server_address" --seconds "$seconds" --connections "$sockets" --sessions "$sockets"
        record "$sockets sockets" server operation_per_second server_cpu_us_per_operation operation_latency_p50_us operation_latency_p99_us
    done
    keep messages-hot
    # Fails when one is refused, lost or repeated.
    measure "$server_pid" messages --url "http://$server_address" --seconds "$seconds" --hot
    record "hot" server operation_per_second server_cpu_us_per_operation operation_latency_p50_us operation_latency_p99_us \
        messages_acknowledged messages_refused seq_missing
    bench cte cte 1
    bench batch batch 16
    echo "round $round of $rounds done" >&2
done

{
    heading "Stored messages" "$rounds interleaved rounds of $seconds s, $connections connections to Postgres; medians"
    echo "| pgbench, $connections connections | messages/s |"
    echo "|---|---:|"
    echo "| function, one message a call | $(median function pgbench messages_per_second) |"
    echo "| data-modifying CTE, one message | $(median cte pgbench messages_per_second) |"
    echo "| function, sixteen messages a call | $(median batch pgbench messages_per_second) |"
    echo
    echo "| server | messages/s | of pgbench with the same statement | server CPU µs each | p50 µs | p99 µs |"
    echo "|---|---:|---:|---:|---:|---:|"
    one=$(median function pgbench messages_per_second)
    for case in "16 sockets" "64 sockets" "256 sockets" hot; do
        rate=$(median "$case" server operation_per_second)
        echo "| $case | $rate | $(ratio "$rate" "$one") | $(median "$case" server server_cpu_us_per_operation)" \
            "| $(median "$case" server operation_latency_p50_us) | $(median "$case" server operation_latency_p99_us) |"
    done
    echo
    echo "20 sockets on one session: $(median hot server messages_acknowledged) messages acknowledged a round," \
        "$(median hot server messages_refused) refused, $(median hot server seq_missing) lost."
    rate=$(median "64 sockets" server operation_per_second)
    figure messages_ratio_to_pgbench "$(ratio "$rate" "$one")"
    # What it can store at most, as the reference's figure is.
    most=$(for case in "16 sockets" "64 sockets" "256 sockets"; do median "$case" server operation_per_second; done | sort -g | tail -1)
    figure messages_ratio_to_reference "$(ratio "$most" "$reference_per_second")"
    echo "At most $most messages a second, $(ratio "$most" "$reference_per_second") × the reference server's $reference_per_second."
    figure hot_session_messages_refused_or_lost \
        $(($(median hot server messages_refused) + $(median hot server seq_missing)))
} | publish messages
