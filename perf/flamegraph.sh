#!/usr/bin/env bash
# Where a running server spends its time.
#
# Usage: perf/flamegraph.sh PID [seconds] [output folder]
#
# Records call stacks of the process (build it with --profile profiling for inlined frames), then writes
#   stacks.folded   one line per stack and its samples
#   flamegraph.svg  if inferno-flamegraph is installed (cargo install inferno)
#   top.txt         functions by their own share, and by share including what they call
set -euo pipefail
pid=${1:?usage: perf/flamegraph.sh PID [seconds] [output folder]}
seconds=${2:-10}
output=${3:-perf/results/flamegraph-$(date -u +%Y%m%dT%H%M%S)}
mkdir -p "$output"
data=$(mktemp)
trap 'rm -f "$data"' EXIT

# Frame pointers are not there in release builds; DWARF stacks cost the recorder, not the server.
perf record --quiet --freq 999 --call-graph dwarf,16384 --pid "$pid" --output "$data" -- sleep "$seconds"
perf report --input "$data" --no-children --stdio --percent-limit 0.5 --call-graph none >"$output/top.txt" 2>/dev/null
perf report --input "$data" --children --stdio --percent-limit 1 --call-graph none >>"$output/top.txt" 2>/dev/null
perf script --input "$data" --fields comm,ip,sym 2>/dev/null | awk '
    /^[^[:space:]]/ { comm = $1; next }
    NF >= 2 { $1 = ""; sub(/^ /, ""); sub(/\+0x[0-9a-f]+$/, ""); gsub(/;/, ":"); stack = $0 (stack == "" ? "" : ";" stack); next }
    stack != "" { count[comm ";" stack]++; stack = "" }
    END { if (stack != "") count[comm ";" stack]++; for (s in count) print s, count[s] }
' | sort >"$output/stacks.folded"
if command -v inferno-flamegraph >/dev/null; then
    inferno-flamegraph <"$output/stacks.folded" >"$output/flamegraph.svg"
fi
head -40 "$output/top.txt"
echo "written to $output"
