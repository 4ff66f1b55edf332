#!/usr/bin/env bash
# Puts a load on a server of its own and writes a page to look at: target/report.html (and .json).
#
# Usage: perf/report.sh [scenario [options of happier-loadtest]]      default: mixed
#
# The server is of the light flavor in an empty directory, or of the full flavor if DATABASE_URL names a (disposable)
# database. It may use all cores; HAPPIER_ENV adds settings, HAPPIER_BIN names another binary.
set -euo pipefail
cd "$(dirname "$0")/.."
. perf/lib.sh
(($# > 0)) || set -- mixed
unpin

build
HAPPIER_ENV="HAPPIER_CORES=$(nproc) ${HAPPIER_ENV:-}"
start_server
status=0
"$generator" "$@" --url "http://$server_address" --pid "$server_pid" --budgets perf/budgets.json \
    --json target/report.json --html target/report.html || status=$?
echo "see target/report.html"
exit "$status"
