#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Push the image and the chart that release.sh has made to a registry:
#
#   release-push.sh FOLDER REGISTRY [plain]   registry: ghcr.io/podlv; plain: HTTP, for tests
#
# The image becomes REGISTRY/podlv:VERSION, the chart REGISTRY/charts/podlv:VERSION. Who may
# push is what ~/.docker/config.json says (docker login, crane auth login). The last line is
# the image's digest; FOLDER.digest gets it, too.
set -euo pipefail
folder=$(realpath "$1") registry=$2
cd "$(dirname "$0")/.."
export CGO_ENABLED=0 GOWORK=off
charts=("$folder"/podlv-*.tgz)
[ ${#charts[@]} -eq 1 ] && [ -e "${charts[0]}" ] || { echo "release-push.sh: $folder is not of release.sh: make release" >&2; exit 1; }
version=$(basename "${charts[0]}" .tgz)
version=${version#podlv-}
crane_flags=() helm_flags=()
if [ "${3:-}" = plain ]; then crane_flags=(--insecure) helm_flags=(--plain-http); fi

crane=$(go tool -modfile=tools/release/go.mod -n crane)
helm=$(go tool -modfile=e2e/tools/helm/go.mod -n helm)
reference=$("$crane" "${crane_flags[@]}" push "$folder.image" "$registry/podlv:$version")
"$crane" "${crane_flags[@]}" validate --remote "$registry/podlv:$version" >&2
"$helm" push "${charts[0]}" "oci://$registry/charts" "${helm_flags[@]}"
echo "${reference##*@}" | tee "$folder.digest"
