#!/usr/bin/env bash
# Counts the instructions of the codecs under callgrind and compares them with perf/instructions/baseline.txt.
#
# Usage: perf/instructions.sh [--update]
#
# Fails when a case needs more than TOLERANCE_PERCENT more than its baseline, or when cases and baseline do not name the
# same things. Instructions do not depend on the load of the machine. What could make them depend on the machine is taken
# away: the C library's copying loops for newer processors are switched off. They do depend on the compiler, whose version
# stands in the baseline; a new one needs a new baseline, and so does a case that became cheaper (a note says so), or else
# it could become as dear as it was without anybody noticing.
#
# After a change that is meant to cost: perf/instructions.sh --update, and commit the baseline with the reason.
set -euo pipefail
cd "$(dirname "$0")/.."
tolerance_percent=${TOLERANCE_PERCENT:-2}
baseline=perf/instructions/baseline.txt
target=${CARGO_TARGET_DIR:-target}/instructions
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! command -v valgrind >/dev/null; then
    echo "valgrind is not installed: scripts/prerequisites installs it (Debian: apt-get install valgrind)" >&2
    exit 2
fi
# Flags of the environment would change the code that is counted.
env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS cargo build --quiet --release --locked \
    --manifest-path perf/instructions/Cargo.toml --target-dir "$target"
GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM,-SSE4_1,-SSE4_2,-SSSE3,-Fast_Unaligned_Copy,-Prefer_ERMS,-AVX_Fast_Unaligned_Load \
    valgrind --quiet --tool=callgrind --callgrind-out-file="$work/out" "$target/release/instructions" 2>"$work/log" ||
    { cat "$work/log" >&2; exit 2; }

# The cost of each case with all it calls, for one time of the hundred that the program does it.
callgrind_annotate --auto=no --inclusive=yes --threshold=100 "$work/out" |
    sed -nE 's/^ *([0-9,]+) .*[: ]([a-z_:]+::)?case_([a-z0-9_]+)(::h[0-9a-f]+)?( .*)?$/\3 \1/p' |
    tr -d ',' | awk '{ if (!($1 in most) || $2 > most[$1]) most[$1] = $2 } END { for (name in most) printf "%s %d\n", name, most[name] / 100 }' |
    LC_ALL=C sort >"$work/counts"
sed -n 's/^case_//p' "$work/log" | LC_ALL=C sort >"$work/cases"
if ! [[ -s $work/cases ]] || ! cut -d' ' -f1 "$work/counts" | cmp -s "$work/cases"; then
    echo "callgrind did not name every case that ran:" >&2
    cut -d' ' -f1 "$work/counts" | diff "$work/cases" - >&2 || true
    exit 2
fi

compiler=$(cd perf/instructions && rustc --version)
machine=$(uname -m)
if [[ ${1:-} == --update ]]; then
    {
        echo "# Instructions of one go through each case; perf/instructions.sh compares and updates."
        echo "# $compiler, $machine"
        cat "$work/counts"
    } >"$baseline"
    echo "written to $baseline"
    exit
fi

if ! grep -qxF "# $compiler, $machine" "$baseline"; then
    echo "the baseline is of another compiler or machine:" >&2
    sed -n 's/^# \(rustc .*\)/  baseline: \1/p' "$baseline" >&2
    echo "  here:     $compiler, $machine" >&2
    if [[ $machine != "$(sed -n 's/^# rustc .*, //p' "$baseline")" ]]; then
        echo "counts of two machine types cannot be compared; nothing is judged here" >&2
        exit 0
    fi
    echo "after changing rust-toolchain.toml run perf/instructions.sh --update on the commit before your change" >&2
fi
grep -v '^#' "$baseline" | awk -v tolerance="$tolerance_percent" '
    NR == FNR { before[$1] = $2; next }
    { now[$1] = $2; order[++cases] = $1 }
    END {
        printf "%-34s %12s %12s %8s\n", "instructions of", "baseline", "now", "change"
        for (c = 1; c <= cases; c++) {
            name = order[c]
            if (!(name in before)) { printf "%-34s %12s %12d %8s  NEW: not in the baseline\n", name, "–", now[name], ""; failed++; continue }
            change = (now[name] / before[name] - 1) * 100
            verdict = ""
            if (change > tolerance) { verdict = "  REGRESSION"; failed++ }
            if (change < -tolerance) { verdict = "  cheaper: update the baseline"; cheaper++ }
            printf "%-34s %12d %12d %+7.1f%%%s\n", name, before[name], now[name], change, verdict
        }
        for (name in before) if (!(name in now)) { printf "%-34s %12d %12s %8s  GONE: only in the baseline\n", name, before[name], "–", ""; failed++ }
        if (failed) {
            printf "%d of %d cases are not as in the baseline (tolerance %s %%).\n", failed, cases, tolerance
            print "If the cost is meant: perf/instructions.sh --update, and say why in the commit."
            exit 1
        }
    }' - "$work/counts"
