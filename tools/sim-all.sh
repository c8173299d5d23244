#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every scenario that ships but the two largest, one after the other; beside them
# churn, which takes five minutes and a part of one processor. The one that compares times
# comes last, by itself. What each said is in out/SCENARIO.log; of one that failed it is
# shown.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p out
failed=()

# verdict NAME STATUS SECONDS
verdict() {
  if [ "$2" -eq 0 ]; then
    printf '%5d s  ok      %s\n' "$3" "$1"
  else
    printf '%5d s  FAILED  %s (exit status %d)\n' "$3" "$1" "$2"
    cat "out/$1.log"
    failed+=("$1")
  fi
}

# scenario NAME
scenario() {
  local start=$SECONDS status=0
  bin/podlv-sim run "$1" >"out/$1.log" 2>&1 || status=$?
  verdict "$1" "$status" $((SECONDS - start))
}

bin/podlv-sim run churn >out/churn.log 2>&1 &
churn=$!
trap 'kill -INT "$churn" 2>/dev/null || true; wait "$churn" 2>/dev/null || true' EXIT

for name in $(bin/podlv-sim list | awk '{ print $1 }' | grep -vx -e churn -e hostpath-1000-inline -e hostpath-10000 -e large-1000); do
  scenario "$name"
done
status=0
wait "$churn" || status=$?
trap - EXIT
verdict churn "$status" "$SECONDS"
scenario hostpath-1000-inline
printf '%5d s  together\n' "$SECONDS"
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[*]}"
  exit 1
fi
