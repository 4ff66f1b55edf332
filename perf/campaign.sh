#!/usr/bin/env bash
# Measures every row of perf/BUDGETS.md and says which are met.
#
# Usage: perf/campaign.sh [quick|full]      quick: about 8 minutes, for a look; full: about 35, for results that are kept
#
# Runs the scripts of this folder one after the other; run it beside nothing else. Writes their tables and
# campaign-DATE-COMMIT.md (verdicts) and .json (figures) to perf/results, and target/campaign.html to look at. DATABASE_URL
# may name a disposable Postgres; otherwise a throw-away one is started. A part that fails is named and fails the campaign;
# the others run all the same. Exit code 1 if a part failed or a budget was missed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. perf/lib.sh
mode=${1:-quick}
case $mode in
    quick) echo_=(2 2) idle=(18000 10 1) fanout=(2 2) messages=(1 3) operations=(1 2) scaling=(1 2) replicas=(1 3) start=(10) hold=(30) mixed_seconds=15 ;;
    full) echo_=(5 3) idle=(18000 20 3) fanout=(5 3) messages=(3 5) operations=(3 3) scaling=(3 3) replicas=(3 5) start=(20) hold=(600) mixed_seconds=60 ;;
    *) echo "usage: perf/campaign.sh [quick|full]" >&2; exit 2 ;;
esac

unset CAMPAIGN
build || exit 1
build_peers || exit 1
start_postgres || exit 1
database_url=$DATABASE_URL
unset DATABASE_URL
rm -rf target/campaign
mkdir -p target/campaign
CAMPAIGN=$PWD/target/campaign
export CAMPAIGN
began=$SECONDS
broken=()

part() { # NAME COMMAND…
    local name=$1 part_began=$SECONDS
    shift
    printf '\n== %s\n' "$name" >&2
    "$@" || broken+=("$name")
    echo "($name took $((SECONDS - part_began)) s)" >&2
}

part instructions perf/instructions.sh
part echo perf/echo.sh "${echo_[@]}"
part idle perf/idle.sh "${idle[@]}"
part fanout perf/fanout.sh "${fanout[@]}"
part operations perf/operations.sh "${operations[@]}"
part scaling perf/scaling.sh "${scaling[@]}"
part start env DATABASE_URL="$database_url" perf/start.sh "${start[@]}"
part messages env DATABASE_URL="$database_url" perf/messages.sh "${messages[@]}"
part replicas env DATABASE_URL="$database_url" perf/replicas.sh "${replicas[@]}"
mixed() {
    unpin
    DATABASE_URL=$database_url HAPPIER_ENV="HAPPIER_CORES=$(nproc)" start_server || return
    keep mixed
    local status=0
    measure "$server_pid" mixed --url "http://$server_address" --connections 4000 --seconds "$mixed_seconds" || status=1
    cat "$work/report"
    stop_server
    return "$status"
}
part mixed mixed
part hold perf/hold.sh "${hold[@]}"

# The figures as a report of their own, which the budgets judge.
{
    printf '{\n  "scenario": "campaign",\n  "circumstances": {"date": "%s", "commit": "%s", "kernel": "%s", "processors": "%s × %s"},\n' \
        "$(date -u '+%Y-%m-%d %H:%M UTC')" "$(git rev-parse --short HEAD)" "$(uname -r)" "$(nproc)" \
        "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"
    printf '  "settings": {"mode": "%s", "minutes": "%s"},\n  "figures": {' "$mode" "$(((SECONDS - began) / 60))"
    awk -F '\t' '{ value[$1] = $2; if (!($1 in seen)) { seen[$1]; order[++count] = $1 } }
        END { for (n = 1; n <= count; n++) printf "%s\n    \"%s\": %s", (n > 1 ? "," : ""), order[n], value[order[n]] }' "$CAMPAIGN/figures"
    printf '\n  },\n  "failures": {'
    for name in "${broken[@]}"; do printf '%s"the part %s failed": 1' "$([[ $name == "${broken[0]}" ]] || echo ', ')" "$name"; done
    printf '}\n}\n'
} >"$CAMPAIGN/campaign"
result=perf/results/campaign-$(date -u +%Y-%m-%d)-$(git rev-parse --short HEAD)
cp "$CAMPAIGN/campaign" "$result.json"
others=()
for name in mixed echo idle fanout-server messages messages-hot replicas-fanout replicas-presence hold-1 hold-2; do
    [[ ! -f $CAMPAIGN/$name.json ]] || others+=("$CAMPAIGN/$name.json")
done
status=0
verdicts=$("$generator" report "$CAMPAIGN/campaign" "${others[@]}" --html target/campaign.html \
    --title "Happier Server: campaign ($mode)" --budgets perf/budgets.json) || status=1
{
    heading "Campaign, $mode" "$(((SECONDS - began) / 60)) minutes; figures in the JSON file of the same name"
    echo '```'
    echo "$verdicts"
    echo '```'
    echo
    for name in "${broken[@]}"; do echo "**The part $name failed.**"; done
} | tee "$result.md"
# A budget of which nothing was measured is not met.
unmeasured=$(sed -nE 's/.*"scenario": "campaign", "figure": "([a-z0-9_]+)".*/\1/p' perf/budgets.json |
    while read -r figure; do grep -q "^$figure	" "$CAMPAIGN/figures" || echo "$figure"; done)
if [[ -n $unmeasured ]]; then
    printf 'Not measured: %s\n' "$(tr '\n' ' ' <<<"$unmeasured")" | tee -a "$result.md"
    status=1
fi
echo "see target/campaign.html" >&2
exit "$status"
