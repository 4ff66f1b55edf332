#!/usr/bin/env bash
# Holds connections with heartbeats: none may be lost, and memory stays flat. As many processes side by side as descriptors
# and processors allow, each with a generator of its own.
#
# Usage: perf/hold.sh [seconds] [connections per process] [processes]
#
# A process may open 20,000 files on the machines this is made for; `ulimit -n` says what yours allows.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh
seconds=${1:-600}
connections=${2:-18000}
processes=${3:-2}
unpin

allowed=$(ulimit -n)
if [[ $allowed != unlimited ]] && ((allowed < connections + 200)); then
    ulimit -n "$((connections + 200))" 2>/dev/null ||
        { echo "$connections connections need as many files; ulimit -n is $allowed" >&2; exit 1; }
fi
build
generators=()
pids=()
for number in $(seq "$processes"); do
    start_server "hold-$number"
    pids+=("$server_pid")
    report=$work/hold-$number.json
    [[ -z ${CAMPAIGN:-} ]] || report=$CAMPAIGN/hold-$number.json
    timeout "$((seconds + 300))" "$generator" idle --url "http://$server_address" --pid "$server_pid" --quiet \
        --connections "$connections" --seconds "$seconds" --seed "$number" --json "$report" >"$work/hold-$number" &
    generators+=($!)
    started+=($!)
done
broken=0
for number in $(seq "$processes"); do
    wait "${generators[number - 1]}" || { broken=1; cat "$work/hold-$number" >&2; }
done

value() { awk -v figure="$2" '$1 == figure { print $2 }' "$work/hold-$1"; }
{
    heading "Held connections" "$processes processes with $connections connections each for $seconds s"
    echo "| process | open at the end | lost | heartbeats answered | user-space bytes each, connected | after | server CPU % |"
    echo "|---:|---:|---:|---:|---:|---:|---:|"
    lost=0
    for number in $(seq "$processes"); do
        open=$(value "$number" connections_open_at_the_end)
        lost=$((lost + connections - ${open:-0}))
        echo "| $number | ${open:-0} | $((connections - ${open:-0})) | $(value "$number" pings_answered) |" \
            "$(value "$number" connected_anonymous_bytes_per_connection) |" \
            "$(value "$number" after_anonymous_bytes_per_connection) | $(value "$number" server_cpu_percent) |"
    done
    figure hold_connections_lost "$lost"
    figure hold_seconds "$seconds"
} | publish hold
exit "$broken"
