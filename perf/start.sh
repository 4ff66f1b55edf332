#!/usr/bin/env bash
# Start to ready, and memory of the idle process, in both flavors.
#
# Usage: [DATABASE_URL=postgresql://…] perf/start.sh [starts]
#
# Ready is the moment at which `GET /health` has been answered with 200, seen from outside, counted from the start of the
# process. A login token can be checked when its key has been derived, which is the moment at which a request with a token
# has been answered (with 401, as the token is none). The first start of each flavor makes the database and is shown apart. Memory is read two seconds after it was ready.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh
starts=${1:-12}

build
start_postgres
binary=${HAPPIER_BIN:-target/release/happier-server}

# Asks the server at $address; sets status and at, the time of the answer.
ask() { # PATH [HEADER]
    exec 4<>"/dev/tcp/${address%:*}/${address#*:}"
    printf 'GET %s HTTP/1.1\r\nHost: perf\r\n%sConnection: close\r\n\r\n' "$1" "${2:+$2$'\r\n'}" >&4
    read -r -t 20 status <&4
    at=${EPOCHREALTIME/./}
    exec 4>&-
}

# One start: prints milliseconds until ready and until tokens are checked, resident and anonymous bytes.
once() { # FLAVOR
    local began line address='' status='' said='' pid at ready
    began=${EPOCHREALTIME/./}
    exec 3< <(exec env PORT=0 HAPPIER_BIND=127.0.0.1 HAPPY_SERVER_LIGHT_DATA_DIR="$work/start" METRICS_PORT=0 \
        HANDY_MASTER_SECRET=load-test-secret DATABASE_URL="$DATABASE_URL" "$binary" "$1" 2>&1)
    pid=$!
    while read -r -t 60 line <&3; do
        said+=$line$'\n'
        address=$(expr "$line" : '.*listening on http://\([0-9.:]*\) ' || true)
        [[ -n $address ]] && break
    done
    [[ -n ${address:-} ]] || { echo "a server of the $1 flavor did not start: $said" >&2; return 1; }
    ask /health
    [[ $status == *" 200 "* ]] || { echo "GET /health answered $status" >&2; return 1; }
    ready=$at
    ask /v1/account/profile 'Authorization: Bearer none'
    [[ $status == *" 401 "* ]] || { echo "a request with a token that is none was answered $status" >&2; return 1; }
    sleep 2
    awk -v ready="$(((ready - began) / 10))" -v checked="$(((at - began) / 10))" '
        $1 == "Rss:" { resident = $2 } $1 == "Anonymous:" { anonymous = $2 }
        END { print ready / 100, checked / 100, resident * 1024, anonymous * 1024 }' "/proc/$pid/smaps_rollup"
    kill "$pid"
    # The next start needs the lock of the data directory, so this process must be gone and not only its pipe closed.
    while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
    # The kernel gives it back a moment later, which the next start would wait for.
    if [[ -e $work/start/happier.sqlite3.lock ]]; then flock "$work/start/happier.sqlite3.lock" true; fi
    exec 3<&-
}

mkdir -p "$work/start"
for flavor in light full; do
    for number in $(seq 0 "$starts"); do
        which=later
        ((number > 0)) || which=first
        read -r ready checked resident anonymous < <(once "$flavor")
        [[ -n ${anonymous:-} ]] || exit 1
        printf '%s\t%s\t%s\t%s\n' "$flavor" "$which" ready_ms "$ready" >>"$work/values"
        printf '%s\t%s\t%s\t%s\n' "$flavor" "$which" checked_ms "$checked" >>"$work/values"
        printf '%s\t%s\t%s\t%s\n' "$flavor" "$which" resident_bytes "$resident" >>"$work/values"
        printf '%s\t%s\t%s\t%s\n' "$flavor" "$which" anonymous_bytes "$anonymous" >>"$work/values"
    done
    echo "$flavor done" >&2
done

{
    heading "Start to ready, idle process" "$starts starts of each flavor; medians"
    echo "| flavor | first start, ready ms | later starts, ready ms | and tokens checked ms | resident MiB | of it anonymous MiB |"
    echo "|---|---:|---:|---:|---:|---:|"
    mib() { awk -v bytes="$1" 'BEGIN { printf "%.1f", bytes / 1048576 }'; }
    for flavor in light full; do
        later=$(median $flavor later ready_ms) resident=$(median $flavor later resident_bytes)
        echo "| $flavor | $(median $flavor first ready_ms) | $later |" \
            "$(median $flavor later checked_ms) | $(mib "$resident") |" \
            "$(mib "$(median $flavor later anonymous_bytes)") |"
        figure "start_${flavor}_ms" "$later"
        figure "idle_process_${flavor}_bytes" "$resident"
    done
} | publish start
