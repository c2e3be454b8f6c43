#!/bin/bash
# s3_down.sh [DIR] - stop what s3_up.sh started in DIR; what was stored stays for the next start.
set -euo pipefail

dir=$(realpath -m "${1:-${TMPDIR:-/tmp}/transit-s3}")
stop_timeout_s=20

stop() {
  local file=$dir/run/$1.pid pid tries=$((stop_timeout_s * 10))
  [ -s "$file" ] || return 0
  pid=$(cat "$file")
  kill "$pid" 2>/dev/null || true
  while kill -0 "$pid" 2>/dev/null; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || { echo "$1 (process $pid) does not stop" >&2; return 1; }
    sleep 0.1
  done
  rm -f "$file"
}

# Those that use the others first.
for name in rgw osd.0 mon.a; do stop "$name"; done
rm -f "$dir"/run/*.asok
