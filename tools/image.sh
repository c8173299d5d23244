#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make podlv's image from Debian packages, as an OCI archive, without a container engine
# and without a registry:
#
#   image.sh ARCHITECTURE OUT.tar [NAME]   architecture: amd64 or arm64
#
# The packages of image-packages.txt and all that they depend on are fetched by apt, whose
# lists, cache and idea of what is installed are in a folder of this run: nothing of this
# machine's changes, and any architecture will do. It needs apt's own keys and sources,
# dpkg-deb, readelf and go. PODLV_VERSION is the program's, in place of what git says.
set -euo pipefail
architecture=$1 out=$(realpath -m "$2")
version=${PODLV_VERSION:-$(git -C "$(dirname "$0")" describe --tags --always --dirty 2>/dev/null || echo unknown)}
name=${3:-ghcr.io/podlv/podlv:$version}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/apt/{lists/partial,cache/archives/partial} "$work/files" "$(dirname "$out")"
: >"$work/apt/status"
mapfile -t packages < <(sed 's/#.*//; s/ *$//' tools/image-packages.txt | grep .)

apt() {
  apt-get -qq -o APT::Architecture="$architecture" -o APT::Architectures="$architecture" \
    -o APT::Sandbox::User=root -o APT::Install-Recommends=no -o Debug::NoLocking=1 \
    -o Dir::State="$work/apt" -o Dir::State::status="$work/apt/status" -o Dir::State::lists="$work/apt/lists" \
    -o Dir::Cache="$work/apt/cache" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
    -o APT::Update::Post-Invoke::= -o DPkg::Post-Invoke::= "$@"
}
apt update
apt install --yes --download-only "${packages[@]}"

# Debian's folders of programs and libraries are in /usr; packages still name the others.
mkdir -p "$work"/files/usr/{bin,sbin,lib,lib64}
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$work/files/$folder"; done
mkdir -p "$work/files/var/lib/dpkg/status.d"
for package in "$work"/apt/cache/archives/*.deb; do
  # What only xfs_scrub needs, which podlv does not run (Python, Unicode), with Python's own
  # needs; and what only the installation of packages needs.
  if [[ $(dpkg-deb -f "$package" Package) =~ ^(python3|libpython3|libicu|libsqlite3|libdb5|libnsl2|libtirpc|libkrb5|libgssapi|libk5crypto|libkeyutils|libffi|media-types|readline-common|debconf|dpkg$|tar$|lsb-base|sysvinit-utils) ]]; then
    continue
  fi
  # Device nodes there are none in packages, and owners are root's. Documentation is left
  # out, but for licences.
  dpkg-deb --fsys-tarfile "$package" | tar -x -C "$work/files" --keep-directory-symlink --no-same-owner \
    --exclude='./usr/share/man' --exclude='./usr/share/locale' --exclude='./usr/share/info' --exclude='./usr/share/lintian' \
    --exclude='./usr/share/bash-completion' --exclude='./usr/share/doc/*/changelog*' --exclude='./usr/share/doc/*/NEWS*' --exclude='./usr/share/doc/*/examples'
  # What a scanner of images reads.
  dpkg-deb -f "$package" >"$work/files/var/lib/dpkg/status.d/$(dpkg-deb -f "$package" Package)"
done
rm -f "$work"/files/usr/sbin/xfs_scrub*
# Each program finds its libraries.
for file in "$work"/files/usr/{bin,sbin}/* "$work"/files/usr/lib/*-linux-gnu/*.so*; do
  if [ -f "$file" ] && [ ! -L "$file" ]; then
    for library in $(readelf -d "$file" 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
      compgen -G "$work/files/usr/lib/*-linux-gnu/$library" >/dev/null || compgen -G "$work/files/usr/lib*/$library" >/dev/null ||
        { echo "image.sh: ${file#"$work/files"} needs $library, which is not there" >&2; exit 1; }
    done
  fi
done
mkdir -p "$work"/files/{usr/local/bin,tmp,run,proc,sys,dev,csi}
chmod 1777 "$work/files/tmp"
ln -sf /proc/self/mounts "$work/files/etc/mtab"
CGO_ENABLED=0 GOOS=linux GOARCH=$architecture go build -trimpath -ldflags "-s -w -X main.version=$version" -o "$work/files/usr/local/bin/podlv" ./cmd/podlv

go run ./e2e/image/pack -root "$work/files" -name "$name" -architecture "$architecture" -o "$out" /usr/local/bin/podlv
echo "$out: $name, $architecture, $(ls "$work/files/var/lib/dpkg/status.d" | wc -l) packages, $(du -m "$out" | cut -f1) MB"
