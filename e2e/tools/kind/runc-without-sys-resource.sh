#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# runc on a host whose root lacks CAP_SYS_RESOURCE: drop that capability, negative
# OOM scores and rlimits from what runc is asked to apply, then run the real runc.
bundle='' process='' verb='' prev=''
for x in "$@"; do
  case "$prev" in --bundle | -b) bundle=$x ;; --process | -p) process=$x ;; esac
  case "$x" in
  --bundle=*) bundle=${x#--bundle=} ;;
  --process=*) process=${x#--process=} ;;
  create | run | exec) [ -n "$verb" ] || verb=$x ;;
  esac
  prev=$x
done
drop='(.capabilities // {}) |= with_entries(.value |= map(select(. != "CAP_SYS_RESOURCE")))
  | if (.oomScoreAdj // 0) < 0 then .oomScoreAdj = 0 else . end | del(.rlimits)'
if [ "$verb" = exec ] && [ -f "$process" ]; then
  new=$(jq "$drop" "$process") && printf %s "$new" >"$process"
elif [ -n "$verb" ] && [ -f "$bundle/config.json" ]; then
  new=$(jq ".process |= ($drop)" "$bundle/config.json") && printf %s "$new" >"$bundle/config.json"
fi
exec /usr/sbin/runc "$@"
