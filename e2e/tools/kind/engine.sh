#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Run a command that needs a container engine:
#
#   engine.sh COMMAND ARGUMENTS...
#
# Where none answers a Docker engine is started, as root on Debian or Ubuntu, and installed
# first when it is not there; it is ended when the command has ended.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if docker info >/dev/null 2>&1; then exec "$@"; fi
if [ "$(id -u)" != 0 ]; then
  echo "engine.sh: no container engine answers; start one, or run this as root" >&2
  exit 1
fi
if ! command -v dockerd >/dev/null || ! command -v jq >/dev/null || ! command -v iptables >/dev/null; then
  apt-get update -q >&2
  apt-get install -y -q --no-install-recommends docker.io jq iptables >&2
fi
runtime=()
if [ $(((16#$(awk '/^CapEff/ {print $2}' /proc/self/status) >> 24) & 1)) = 0 ]; then # no CAP_SYS_RESOURCE
  install -m 755 "$here/runc-without-sys-resource.sh" /usr/local/sbin/runc-without-sys-resource
  runtime=(--add-runtime nosysres=/usr/local/sbin/runc-without-sys-resource --default-runtime nosysres)
fi
log=$(mktemp)
dockerd "${runtime[@]}" >"$log" 2>&1 </dev/null &
engine=$!
trap 'kill "$engine" 2>/dev/null || true; wait "$engine" || true; rm -f "$log"' EXIT
for _ in $(seq 60); do
  if docker info >/dev/null 2>&1; then
    code=0
    "$@" || code=$?
    exit "$code"
  fi
  sleep 0.5
done
echo "engine.sh: dockerd did not start:" >&2
tail -5 "$log" >&2
exit 1
