#!/bin/bash
# s3_up.sh [DIR] [PORT] - start a one-node Ceph with its S3 gateway, for tests, on this machine only.
#
# Prints the settings the tests read, as NAME=value lines. What already runs in DIR is left running.
# Missing Debian packages are installed when this runs as root (or through sudo, where CI has it).
# The port of the gateway is PORT; the ports from PORT+1 to PORT+60 are used too.
set -euo pipefail

dir=$(realpath -m "${1:-${TMPDIR:-/tmp}/transit-s3}")
port=${2:-7480}
access_key=${TRANSIT_S3_ACCESS_KEY:-rigaccess}
secret_key=${TRANSIT_S3_SECRET_KEY:-rigsecretkey}
disk_bytes=$((8 * 1024 * 1024 * 1024)) # of a sparse file: it takes what is written
start_timeout_s=60
conf=$dir/ceph.conf

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Quiet unless it fails.
quietly() {
  local said
  said=$("$@" 2>&1) || { printf '%s failed:\n%s\n' "$1" "$said" >&2; return 1; }
}

install_packages() {
  if command -v radosgw ceph-mon ceph-osd >/dev/null; then return; fi
  echo "installing Ceph's packages" >&2
  quietly as_root apt-get update -qq
  quietly as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends radosgw ceph-mon ceph-osd curl
}

write_conf() {
  cat >"$conf" <<CONF
[global]
fsid = $1
mon host = v2:127.0.0.1:$((port + 1))
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
ms bind msgr1 = false
ms bind port min = $((port + 10))
ms bind port max = $((port + 60))
keyring = $dir/keyring
run dir = $dir/run
admin socket = $dir/run/\$name.asok
pid file = $dir/run/\$name.pid
log file = $dir/log/\$name.log
auth allow insecure global id reclaim = false
# One disk, one copy, few placement groups: this keeps test data, on one machine.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 2000

[mon]
mon data = $dir/mon
mon initial members = a
mon cluster log to file = false
mon data avail warn = 1
mon data avail crit = 1
# One monitor waits for nobody.
mon election timeout = 1
mon tick interval = 1
paxos propose interval = 0.05
paxos min wait = 0.01

[osd]
osd data = $dir/osd
osd objectstore = bluestore
bluestore block create = true
bluestore block size = $disk_bytes
bluestore fsck on mount = false
# Small enough for a machine that runs tests beside it.
bluestore cache autotune = false
bluestore cache size = 268435456
osd memory target = 939524096
osd crush initial weight = 1

[client]
rgw frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw dns name = localhost
rgw run sync thread = false
rgw dynamic resharding = false
rgw enable usage log = false
rgw enable ops log = false
CONF
}

make_cluster() {
  local fsid all=(--cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *')
  fsid=$(cat /proc/sys/kernel/random/uuid)
  write_conf "$fsid"
  quietly ceph-authtool --create-keyring "$dir/keyring" --gen-key -n mon. --cap mon 'allow *'
  quietly ceph-authtool "$dir/keyring" --gen-key -n client.admin "${all[@]}"
  quietly ceph-authtool "$dir/keyring" --gen-key -n osd.0 \
    --cap mon 'allow profile osd' --cap osd 'allow *'
  quietly monmaptool --create --fsid "$fsid" --enable-all-features \
    --addv a "[v2:127.0.0.1:$((port + 1))]" "$dir/monmap"
  quietly ceph-mon -c "$conf" --mkfs -i a --monmap "$dir/monmap" --keyring "$dir/keyring"
}

make_disk() {
  local uuid
  uuid=$(cat /proc/sys/kernel/random/uuid)
  quietly ceph -c "$conf" osd new "$uuid"
  quietly ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$uuid"
}

running() {
  local file=$dir/run/$1.pid
  [ -s "$file" ] && kill -0 "$(cat "$file")" 2>/dev/null
}

# The daemons go to the background by themselves once they have begun.
start() {
  local name=$1
  shift
  running "$name" || "$@" -c "$conf" >/dev/null 2>"$dir/log/$name.start" </dev/null ||
    { cat "$dir/log/$name.start" >&2; return 1; }
}

wait_for_gateway() {
  local tries=$((start_timeout_s * 10))
  until curl -s -o /dev/null --max-time 2 "http://127.0.0.1:$port/"; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || { echo "no answer on port $port; see $dir/log" >&2; return 1; }
    sleep 0.1
  done
}

make_user() {
  quietly radosgw-admin -c "$conf" user create --uid=tests --display-name=tests \
    --access-key="$access_key" --secret-key="$secret_key"
  touch "$dir/ready"
}

install_packages
mkdir -p "$dir"/{mon,osd,run,log}
[ -e "$dir/keyring" ] && [ -e "$dir/monmap" ] || make_cluster
start mon.a ceph-mon -i a
[ -e "$dir/osd/type" ] || make_disk
start osd.0 ceph-osd -i 0
start rgw radosgw -n client.admin --pid-file "$dir/run/rgw.pid" --log-file "$dir/log/rgw.log"
wait_for_gateway
[ -e "$dir/ready" ] || make_user

echo "TRANSIT_S3_ENDPOINT=http://127.0.0.1:$port"
echo "AWS_ACCESS_KEY_ID=$access_key"
echo "AWS_SECRET_ACCESS_KEY=$secret_key"
