#!/usr/bin/env bash
# Where the server spends its time under a scenario: starts one, loads it, records call stacks, draws them.
#
# Usage: perf/flamegraph.sh [scenario [options of happier-loadtest]]      default: echo
#        PID=12345 perf/flamegraph.sh                                     a running server, without a load
#
# Needs Debian's linux-perf and `kernel.perf_event_paranoid` at 1 or below, or root. Without hardware counters (virtual
# machines) it samples by the clock. Writes to target/flamegraph: flamegraph.svg, stacks.folded, and top.txt, the functions
# by their own share and by share including what they call. Light flavor, or full with DATABASE_URL; one core thread.
# SECONDS_RECORDED (5) and FREQUENCY (499) change the recording. PROFILE=profiling builds with all debug information.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh
(($# > 0)) || set -- echo
seconds=${SECONDS_RECORDED:-5}
output=target/flamegraph
mkdir -p "$output"
command -v perf >/dev/null || { echo "perf is not installed (Debian: apt-get install linux-perf)" >&2; exit 2; }
# Rows of perf without a counter say "<not supported>".
event=cycles
if perf stat -e cycles true 2>&1 | grep -q 'not supported\|not counted'; then event=cpu-clock; fi

load=
if [[ -z ${PID:-} ]]; then
    build
    if [[ -n ${PROFILE:-} ]]; then
        cargo build --quiet --profile "$PROFILE" -p happier-server
        HAPPIER_BIN=target/$PROFILE/happier-server
    fi
    start_server
    PID=$server_pid
    # The load goes on for longer than the recording.
    taskset -c "$generator_core" "$generator" "$@" --url "http://$server_address" --seconds "$((seconds + 3))" --quiet >"$work/load" &
    load=$!
    started+=("$load")
    sleep 2.5
fi
# DWARF stacks cost the recorder, not the server; release builds have no frame pointers.
perf record --quiet --event "$event" --freq "${FREQUENCY:-499}" --call-graph dwarf,8192 --pid "$PID" \
    --output "$work/perf.data" -- sleep "$seconds" 2>"$work/record" || { cat "$work/record" >&2; exit 1; }
if [[ -n $load ]]; then
    wait "$load" || { cat "$work/load" >&2; echo "the load failed" >&2; exit 1; }
fi
# Inlined frames would take minutes to look up.
perf script --input "$work/perf.data" --no-inline --fields comm,ip,sym,dso 2>/dev/null | awk '
    function flush_stack() { if (stack != "") count[comm ";" stack]++; stack = "" }
    /^[^[:space:]]/ { flush_stack(); comm = $1; next }
    NF >= 2 {
        kernel = $NF ~ /kernel|vmlinux|\.ko/
        sub(/^[[:space:]]*[0-9a-f]+ /, ""); sub(/ \([^()]*\)$/, ""); sub(/\+0x[0-9a-f]+$/, ""); sub(/::h[0-9a-f]+$/, "")
        gsub(/;/, ":")
        stack = (kernel ? "[k] " : "") $0 (stack == "" ? "" : ";" stack)
    }
    END { flush_stack(); for (s in count) print s, count[s] }' | LC_ALL=C sort >"$output/stacks.folded"
awk '
    { samples = $NF; sub(/ [0-9]+$/, ""); depth = split($0, frame, ";"); all += samples; own[frame[depth]] += samples
      split("", seen); for (n = 2; n <= depth; n++) if (!(frame[n] in seen)) { seen[frame[n]]; total[frame[n]] += samples } }
    END {
        print "Own share of samples:"
        for (f in own) printf "%6.2f %%  %s\n", own[f] * 100 / all, f | "sort -rn | head -40"
        close("sort -rn | head -40")
        print "\nShare including what is called:"
        for (f in total) printf "%6.2f %%  %s\n", total[f] * 100 / all, f | "sort -rn | head -60"
    }' "$output/stacks.folded" >"$output/top.txt"
"$generator" flamegraph "$output/stacks.folded" --svg "$output/flamegraph.svg" \
    --title "happier-server under $* ($event, $(git rev-parse --short HEAD))"
head -30 "$output/top.txt"
echo "see $output/flamegraph.svg"
