#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make what a release consists of, in a new folder, and look at it:
#
#   release.sh VERSION FOLDER   version: 1.2.3 or 1.2.3-rc.1, with or without a v
#
# podlv_VERSION_linux_ARCH.tar.gz  the programs
# podlv_VERSION_image_ARCH.tar     the image as an archive, for where there is no registry
# podlv_VERSION_image_ARCH.cdx.json  what is in it, Debian packages and Go modules: CycloneDX
# podlv-VERSION.tgz                the Helm chart, of that version, whose image is of that version
# podlv-VERSION.yaml               what it makes of its own values, for kubectl apply
# SHA256SUMS                       of all of these
# FOLDER.image                     the image of all architectures, for `make release-push`
# FOLDER.notes.md                  what CHANGELOG.md says of the version
set -euo pipefail
version=${1#v} folder=$(realpath -m "$2")
cd "$(dirname "$0")/.."
fail() { echo "release.sh: $*" >&2; exit 1; }
[[ $version =~ ^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?$ ]] || fail "VERSION \"$version\": want 1.2.3 or 1.2.3-rc.1"
image=ghcr.io/podlv/podlv
architectures=(amd64 arm64)
kubernetes=1.36.0 # the oldest that is supported
export CGO_ENABLED=0 GOWORK=off
rm -rf "$folder" "$folder.image" "$folder.notes.md"
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The section of the version; of a candidate, what is not released yet.
section=$version
[[ $version != *-* ]] || grep -qF "## [$version]" CHANGELOG.md || section=Unreleased
awk -v heading="## [$section]" 'index($0, "## [") == 1 { inside = index($0, heading) == 1; next } /^\[.*\]: / { next } inside' CHANGELOG.md |
  sed "/./,\$!d; s#](\([A-Za-z][A-Za-z/._-]*\(\#[a-z-]*\)\?\))#](https://github.com/podlv/podlv/blob/v$version/\1)#g" >"$folder.notes.md"
[ -s "$folder.notes.md" ] || fail "CHANGELOG.md has no section \"## [$section]\""

archives=()
for architecture in "${architectures[@]}"; do
  name=podlv_${version}_linux_$architecture
  mkdir "$work/$name"
  GOOS=linux GOARCH=$architecture go build -trimpath -ldflags "-s -w -X main.version=v$version" -o "$work/$name/" ./cmd/...
  cp LICENSE README.md CHANGELOG.md "$work/$name/"
  tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct)" -cf - "$name" | gzip -n9 >"$folder/$name.tar.gz"

  archive=$folder/podlv_${version}_image_$architecture.tar
  PODLV_VERSION=v$version tools/image.sh "$architecture" "$archive" "$image:$version"
  go run ./e2e/image/bom -name "$image" -version "$version" "$archive" >"${archive%.tar}.cdx.json"
  archives+=("$archive")
done
go run ./e2e/image/join -name "$image:$version" -o "$folder.image" "${archives[@]}"

helm=$(go tool -modfile=e2e/tools/helm/go.mod -n helm) # built once, kept by the go command
"$helm" package deploy/chart --version "$version" --app-version "$version" --destination "$folder"
{
  echo "# SPDX-License-Identifier: Apache-2.0"
  "$helm" template podlv "$folder/podlv-$version.tgz" --namespace podlv-system --kube-version "$kubernetes" --set namespace.create=true
} >"$folder/podlv-$version.yaml"
grep -qF "image: $image:$version" "$folder/podlv-$version.yaml" || fail "the chart does not take $image:$version"

(cd "$folder" && sha256sum -- * >"$work/sums" && mv "$work/sums" SHA256SUMS && sha256sum --check --quiet SHA256SUMS)
host=$(go env GOHOSTARCH)
says=$("$work/podlv_${version}_linux_$host/podlv" --version)
[[ $says == *"v$version" ]] || fail "podlv --version says \"$says\""
echo "release $version:"
(cd "$folder" && du -ah -- *)
