#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Values that the chart must refuse, deploy/testdata/refused/*.yaml: helm must end with an
# error that has every line that follows "# says: " in the file, and render nothing.
set -euo pipefail
cd "$(dirname "$0")"
export CGO_ENABLED=0 GOWORK=off
helm=$(go tool -modfile=../e2e/tools/helm/go.mod -n helm)
failed=0 count=0
for values in testdata/refused/*.yaml; do
  count=$((count + 1))
  if said=$("$helm" template podlv chart --namespace podlv-system --kube-version 1.36.0 --values "$values" 2>&1); then
    echo "$values: is not refused" >&2
    failed=1
    continue
  fi
  while IFS= read -r want; do
    if ! grep -qF -- "$want" <<<"$said"; then
      printf '%s: does not say\n  %s\nbut\n%s\n' "$values" "$want" "$said" >&2
      failed=1
    fi
  done < <(sed -n 's/^# says: //p' "$values" | grep .)
  grep -q '^# says: ' "$values" || { echo "$values: expects nothing" >&2; failed=1; }
done
echo "refuse.sh: $count files of values are refused"
exit "$failed"
