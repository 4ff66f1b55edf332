#!/usr/bin/env bash
# What it is worth that a websocket moves to the home core of its account: CPU time per delivery and per connection with
# 1, 2, 4 and 8 core threads, against a build in which sockets stay where they were accepted, interleaved.
#
# Usage: perf/moving.sh [rounds] [seconds]
#
# Nothing is pinned: the threads are the subject. The result goes to perf/results/moving-DATE-COMMIT.md.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh
rounds=${1:-3}
seconds=${2:-4}
unpin

build
moves=${HAPPIER_BIN:-target/release/happier-server}
# The second build: the same commit with one line less.
stays=target/stays/release/happier-server
git worktree add --quiet --detach "$work/stays"
trap 'git worktree remove --force "$work/stays" 2>/dev/null || true; cleanup' EXIT
sed -i 's/^\(    fn may_move(&self, key: Key, admission: &Admission) -> bool {\)$/\1\n        return false;/' "$work/stays/src/realtime/sessions.rs"
grep -q -A1 'fn may_move' "$work/stays/src/realtime/sessions.rs"
cargo build --quiet --release --manifest-path "$work/stays/Cargo.toml" --target-dir target/stays -p happier-server 2>/dev/null

for round in $(seq "$rounds"); do
    for cores in 1 2 4 8; do
        for variant in moves stays; do
            HAPPIER_BIN=${!variant} HAPPIER_ENV="HAPPIER_CORES=$cores" start_server
            measure "$server_pid" presence --url "http://$server_address" --seconds "$seconds" --accounts 300 --receivers 3 --rate 4000
            record "$cores" "$variant" server_cpu_us_per_delivery delivery_latency_p50_us delivery_latency_p99_us
            measure "$server_pid" connect --url "http://$server_address" --seconds "$seconds"
            record "$cores" "$variant" server_cpu_us_per_operation
            stop_server
        done
    done
    echo "round $round of $rounds done" >&2
done

{
    heading "Moving a websocket to its account's home core" "$rounds interleaved rounds of $seconds s, 300 accounts × 3 receivers; medians"
    echo "| core threads | delivery µs, moves | stays | ratio | p99 µs, moves | stays | connection µs, moves | stays | ratio |"
    echo "|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    for cores in 1 2 4 8; do
        a=$(median "$cores" moves server_cpu_us_per_delivery) b=$(median "$cores" stays server_cpu_us_per_delivery)
        c=$(median "$cores" moves server_cpu_us_per_operation) d=$(median "$cores" stays server_cpu_us_per_operation)
        echo "| $cores | $a | $b | $(ratio "$a" "$b") | $(median "$cores" moves delivery_latency_p99_us)" \
            "| $(median "$cores" stays delivery_latency_p99_us) | $c | $d | $(ratio "$c" "$d") |"
    done
} | publish moving
