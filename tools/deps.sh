#!/usr/bin/env bash
# Install what building, testing and the demo need, or say what is missing.
#
#   deps.sh          as root: install; else only say what is missing (exit 1)
#   deps.sh --check  only say what is missing (exit 1), never install
#
# The Debian packages are those of packages.txt. Go must be 1.21 or newer: it
# fetches by itself the version that go.mod asks for.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

missing() {
  local package
  sed 's/#.*//' "$here/packages.txt" | while read -r package; do
    [ -n "$package" ] || continue
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || echo "$package"
  done
}

go_is_usable() {
  local version minor
  command -v go >/dev/null || return 1
  version=$(go env GOVERSION)
  version=${version#go}
  minor=${version#*.}
  minor=${minor%%[!0-9]*}
  [ "${version%%.*}" -gt 1 ] || [ "$minor" -ge 21 ]
}

if ! command -v dpkg-query >/dev/null; then
  echo "deps: this is not a Debian or Ubuntu system: install what corresponds to the packages of tools/packages.txt" >&2
  exit 1
fi

list=$(missing) # not < <(missing): its failure must end this script
mapfile -t want < <(printf '%s' "$list")
install=no
[ "$(id -u)" -ne 0 ] || [ "${1:-}" = --check ] || install=yes

if [ "$install" = yes ]; then
  go_is_usable || want+=(golang-go)
  if [ ${#want[@]} -gt 0 ]; then
    echo "deps: installing ${want[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -q -y --no-install-recommends "${want[@]}"
    list=$(missing)
    mapfile -t want < <(printf '%s' "$list")
  fi
fi

if [ ${#want[@]} -gt 0 ]; then
  echo "deps: missing Debian packages: ${want[*]}" >&2
  echo "deps: as root: apt-get install --no-install-recommends ${want[*]}" >&2
  exit 1
fi
if ! go_is_usable; then
  echo "deps: Go 1.21 or newer is needed, found: $(go env GOVERSION 2>/dev/null || echo none); see https://go.dev/doc/install" >&2
  exit 1
fi
echo "deps: everything is there ($(go env GOVERSION))"
