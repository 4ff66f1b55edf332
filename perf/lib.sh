# Shared by the scripts of this folder: starting and ending what is measured, and medians. Sourced, not run.
# Ends only what it has started.

generator=target/release/happier-loadtest
server_core=${SERVER_CORE:-0}
generator_core=${GENERATOR_CORE:-1}
work=$(mktemp -d)
started=()
keep_report=
postgres_folder=

cleanup() {
    for pid in "${started[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    if [[ -n $postgres_folder ]]; then
        as_postgres "$postgres_programs/pg_ctl" -D "$postgres_folder/data" -m immediate stop >/dev/null 2>&1 || true
        rm -rf "$postgres_folder"
    fi
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Server and generator may run on every processor.
unpin() {
    server_core=0-$(($(nproc) - 1))
    generator_core=$server_core
}

# Builds what is measured, unless HAPPIER_BIN names a binary. A campaign builds once.
build() {
    [[ -z ${CAMPAIGN:-} ]] || return 0
    cargo build --quiet --release -p happier-loadtest
    if [[ -z ${HAPPIER_BIN:-} ]]; then
        cargo build --quiet --release -p happier-server
    fi
}

# Sets floor_pid and floor_address.
start_floor() {
    : >"$work/floor"
    taskset -c "$server_core" "$generator" floor --port 0 >"$work/floor" &
    floor_pid=$!
    started+=("$floor_pid")
    for _ in $(seq 100); do
        floor_address=$(sed -n 's/^listening on //p' "$work/floor")
        [[ -n $floor_address ]] && return
        sleep 0.05
    done
    echo "the floor did not start" >&2
    return 1
}

# start_server [NAME]: sets server_pid and server_address (empty for a worker). A server of the light flavor with an empty
# data directory, or of the full flavor if DATABASE_URL is set. One core; HAPPIER_ENV overrides.
start_server() {
    local binary=${HAPPIER_BIN:-target/release/happier-server} flavor=light name=${1:-server}
    [[ -n ${DATABASE_URL:-} ]] && flavor=full
    mkdir -p "$work/data-$name"
    : >"$work/$name.log"
    # shellcheck disable=SC2086
    env PORT=0 HAPPIER_BIND=127.0.0.1 HAPPIER_CORES=1 HAPPY_SERVER_LIGHT_DATA_DIR="$work/data-$name" \
        HANDY_MASTER_SECRET=load-test-secret METRICS_ENABLED=false HAPPIER_RATE_LIMITS=off ${HAPPIER_ENV:-} \
        taskset -c "$server_core" "$binary" "$flavor" 2>"$work/$name.log" >&2 &
    server_pid=$!
    started+=("$server_pid")
    for _ in $(seq 200); do
        if grep -q 'ready after' "$work/$name.log"; then
            server_address=$(sed -n 's/.*listening on http:\/\/\([0-9.:]*\).*/\1/p' "$work/$name.log" | head -1)
            return
        fi
        kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.05
    done
    echo "the server did not start:" >&2
    tail -20 "$work/$name.log" >&2
    return 1
}

# stop_server [PID…]: the last one that was started, or these.
stop_server() {
    local pid
    for pid in "${@:-$server_pid}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"/data-*
}

# start_peer socketioxide|node: sets peer_pid and peer_address. One thread, on the server's core.
start_peer() {
    local command
    case $1 in
        socketioxide) command=(perf/peers/socketioxide/target/release/peer-socketioxide) ;;
        node) command=(node perf/peers/node/main.mjs) ;;
    esac
    : >"$work/peer-$1"
    taskset -c "$server_core" "${command[@]}" >"$work/peer-$1" &
    peer_pid=$!
    started+=("$peer_pid")
    for _ in $(seq 200); do
        peer_address=$(sed -n 's/^listening on //p' "$work/peer-$1")
        [[ -n $peer_address ]] && return
        kill -0 "$peer_pid" 2>/dev/null || break
        sleep 0.05
    done
    echo "the peer $1 did not start" >&2
    return 1
}

build_peers() {
    cargo build --quiet --release --locked --manifest-path perf/peers/socketioxide/Cargo.toml
    [[ -d perf/peers/node/node_modules ]] || (cd perf/peers/node && npm ci --no-audit --no-fund >/dev/null)
}

# Postgres refuses to run as root.
as_postgres() {
    if [[ $(id -u) -eq 0 ]]; then runuser -u postgres -- "$@"; else "$@"; fi
}

# Sets DATABASE_URL to a throw-away Postgres with its default settings, unless it names one already.
start_postgres() {
    [[ -n ${DATABASE_URL:-} ]] && return
    local port
    postgres_programs=$(dirname "$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -1 || command -v initdb)")
    postgres_folder=$(mktemp -d)
    [[ $(id -u) -eq 0 ]] && chown postgres "$postgres_folder"
    as_postgres "$postgres_programs/initdb" -D "$postgres_folder/data" -U happier --auth=trust >/dev/null
    for _ in 1 2 3 4 5; do
        port=$((20000 + RANDOM % 10000))
        if as_postgres "$postgres_programs/pg_ctl" -D "$postgres_folder/data" -w -l "$postgres_folder/log" \
            -o "-p $port -k $postgres_folder -c listen_addresses=127.0.0.1" start >/dev/null; then
            export DATABASE_URL=postgresql://happier@127.0.0.1:$port/postgres
            return
        fi
    done
    tail -20 "$postgres_folder/log" >&2
    return 1
}

# Sets redis_address: a private Redis that keeps nothing.
start_redis() {
    local port pid
    for _ in 1 2 3 4 5; do
        port=$((20000 + RANDOM % 10000))
        redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$work" >"$work/redis.log" 2>&1 &
        pid=$!
        started+=("$pid")
        for _ in $(seq 100); do
            if grep -q 'Ready to accept connections' "$work/redis.log"; then
                redis_address=127.0.0.1:$port
                return
            fi
            # Somebody has that port.
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.05
        done
    done
    echo "redis-server did not start (Debian package redis-server):" >&2
    tail -20 "$work/redis.log" >&2
    return 1
}

# measure PID ARGUMENTS…: runs the generator; the report is what `record` reads.
measure() {
    local pid=$1
    shift
    timeout 900 taskset -c "$generator_core" "$generator" "$@" --pid "$pid" --quiet ${keep_report:+--json "$keep_report"} \
        >"$work/report" || { cat "$work/report" >&2; return 1; }
}

# keep NAME: the next reports go into the campaign's page under this name; nothing outside a campaign.
keep() {
    keep_report=${CAMPAIGN:+$CAMPAIGN/$1.json}
}

# figure NAME VALUE: what `perf/budgets.json` judges; nothing outside a campaign.
figure() {
    [[ -z ${CAMPAIGN:-} || $2 == – ]] || printf '%s\t%s\n' "$1" "$2" >>"$CAMPAIGN/figures"
}

# record CASE SUBJECT FIGURE…: keeps figures of the last report.
record() {
    local case=$1 subject=$2 figure
    shift 2
    for figure in "$@"; do
        awk -v figure="$figure" -v OFS='\t' -v case_="$case" -v subject="$subject" \
            '$1 == figure { print case_, subject, figure, $2 }' "$work/report" >>"$work/values"
    done
}

# median CASE SUBJECT FIGURE
median() {
    awk -F '\t' -v case_="$1" -v subject="$2" -v figure="$3" \
        '$1 == case_ && $2 == subject && $3 == figure { print $4 }' "$work/values" | sort -g |
        awk '{ value[NR] = $1 } END { print NR ? value[int((NR + 1) / 2)] : "–" }'
}

ratio() {
    awk -v a="$1" -v b="$2" 'BEGIN { if (b + 0 > 0) printf "%.2f", a / b; else print "–" }'
}

heading() { # TITLE NOTE
    echo "# $1"
    echo
    echo "$(date -u +%Y-%m-%d), commit $(git rev-parse --short HEAD), $(uname -r), $(nproc) cores" \
        "($(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)). $2. Load average at the end: $(cut -d' ' -f1 /proc/loadavg)."
    echo
}

# Standard input to the terminal and to perf/results/NAME-DATE-COMMIT.md
publish() {
    mkdir -p perf/results
    tee "perf/results/$1-$(date -u +%Y-%m-%d)-$(git rev-parse --short HEAD).md"
}
