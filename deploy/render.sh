#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Lint the chart and render it: deploy/manifests/podlv.yaml, for kubectl apply, with the
# values that the chart has by itself; and a deploy/testdata/NAME.yaml for each
# deploy/testdata/NAME-values.yaml. `go generate ./deploy` runs it.
set -euo pipefail
cd "$(dirname "$0")"
export CGO_ENABLED=0 GOWORK=off
helm=$(go tool -modfile=../e2e/tools/helm/go.mod -n helm) # built once, kept by the go command
kubernetes=1.36.0 # the oldest that is supported

render() { # FILE ARGUMENTS...
  local file=$1
  shift
  "$helm" lint --quiet --strict --namespace podlv-system --kube-version "$kubernetes" chart "$@" >&2
  {
    echo "# SPDX-License-Identifier: Apache-2.0"
    echo "# Made from deploy/chart by go generate. DO NOT EDIT."
    "$helm" template podlv chart --namespace podlv-system --kube-version "$kubernetes" "$@" | sed 's/[[:space:]]*$//'
  } >"$file"
}

render manifests/podlv.yaml --set namespace.create=true
for values in testdata/*-values.yaml; do
  render "${values%-values.yaml}.yaml" --values "$values"
done
