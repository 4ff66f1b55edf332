# Sourced by scripts/test and .ci/run: runs parts, counts what they say, ends with `N passed, N failed`.

passed=0
failed=0
broken=()
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# check NAME COMMAND…: counts as one.
check() {
  local name=$1
  shift
  printf '\n== %s\n' "$name"
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    broken+=("$name")
  fi
}

# suite NAME COMMAND…: counts what it says, as `N passed, N failed` in its last line, or else as cargo does, line by line.
suite() {
  local name=$1 log=$logs/part status counts
  shift
  printf '\n== %s\n' "$name"
  "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  counts=$(tail -n 1 "$log" | sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p')
  if [ -z "$counts" ]; then
    counts=$(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed;.*/\1 \2/p' "$log" |
      awk '{ p += $1; f += $2 } END { print p + 0, f + 0 }')
  fi
  local p=${counts% *} f=${counts#* }
  # A runner that fails without a failed test, or that ran nothing, has failed itself.
  if [ "$status" -ne 0 ] && [ "$f" -eq 0 ] || [ $((p + f)) -eq 0 ]; then f=$((f + 1)); fi
  passed=$((passed + p))
  failed=$((failed + f))
  if [ "$f" -gt 0 ]; then broken+=("$name: $f failed"); fi
}

# The last words, and the exit code.
summary() {
  printf '\n'
  local name
  for name in "${broken[@]}"; do printf 'FAILED  %s\n' "$name"; done
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ]
}
