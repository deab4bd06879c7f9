#!/bin/bash
# The first process in the namespaces that engine.sh makes: when it ends, all in them ends.
set -euo pipefail
root=$1 run=$2
options=("${@:3}")
read -r _ address bridge < "$run/net"
pause() { read -rt 0.02 <> <(:) || true; }

# All that the engine keeps is in memory and goes with the mounts.
mount -t tmpfs -o mode=755 tmpfs "$run/state"
mkdir "$run/state/tmp"
mount -t tmpfs -o mode=755 tmpfs /run
mount -t sysfs sysfs /sys
if grep -qE '^[0-9]+:[^:]' /proc/self/cgroup; then
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    while IFS=: read -r _ controllers _; do
        name=${controllers#name=}
        [ -n "$name" ] || continue
        [ "$name" = "$controllers" ] || controllers=none,$controllers
        mkdir "/sys/fs/cgroup/$name"
        mount -t cgroup -o "$controllers" cgroup "/sys/fs/cgroup/$name"
    done < /proc/self/cgroup
else
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    # A group with processes of its own may not hand its controllers on.
    mkdir /sys/fs/cgroup/first
    while read -r process; do echo "$process" > /sys/fs/cgroup/first/cgroup.procs || true; done < /sys/fs/cgroup/cgroup.procs
    sed 's/\</+/g' /sys/fs/cgroup/cgroup.controllers > /sys/fs/cgroup/cgroup.subtree_control
fi
hostname docker-test
ip link set lo up
ip address add "$address/30" dev eth0
ip link set eth0 up

export PATH=$root/usr/sbin:$root/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=$run/state/tmp
export LD_LIBRARY_PATH=$root/usr/lib/$(uname -m)-linux-gnu:$root/lib/$(uname -m)-linux-gnu

# One authority, a certificate of the engine and one of its clients.
cd "$run/tls"
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }
leaf() { # NAME USE [EXTENSION]
    key "$1-key.pem"
    openssl req -new -key "$1-key.pem" -subj "/CN=$1" | openssl x509 -req -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 \
        -out "$1.pem" -extfile <(printf '%s\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature \
        "extendedKeyUsage=$2" "${@:3}")
}
{
    key ca-key.pem
    openssl req -x509 -key ca-key.pem -days 2 -subj /CN=docker-test -addext keyUsage=critical,keyCertSign -out ca.pem
    leaf server serverAuth "subjectAltName=IP:$address"
    leaf client clientAuth
} 2> "$run/log/openssl"
cd /

cat > /run/registry.yml <<YAML
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $run/state/registry}}
http: {addr: "127.0.0.1:5000"}
YAML
docker-registry serve /run/registry.yml > "$run/log/registry" 2>&1 &
cat > /run/containerd.toml <<TOML
version = 2
root = "$run/state/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "/run/containerd/containerd.sock"
TOML
containerd --config /run/containerd.toml > "$run/log/containerd" 2>&1 &

engine=
start() {
    rm -f "$run/docker.sock"
    dockerd --host "unix://$run/docker.sock" --host "tcp://$address:2376" --tlsverify \
        --tlscacert "$run/tls/ca.pem" --tlscert "$run/tls/server.pem" --tlskey "$run/tls/server-key.pem" \
        --containerd /run/containerd/containerd.sock --data-root "$run/state/lib" --exec-root /run/docker \
        --pidfile /run/docker.pid --storage-driver overlay2 --exec-opt native.cgroupdriver=cgroupfs --oom-score-adjust 0 \
        --bip "$bridge" --iptables=false --ip6tables=false --ip-masq=false "${options[@]}" >> "$run/log/dockerd" 2>&1 &
    engine=$!
    until curl -sf --unix-socket "$run/docker.sock" http://localhost/_ping > /dev/null; do
        kill -0 $engine 2> /dev/null || { tail -n 3 "$run/log/dockerd" >&2; return 1; }
        pause
    done
}
start
echo started
while read -r command argument; do
    case $command in
        stop) kill -KILL $engine; wait $engine 2> /dev/null || true ;;
        start) start ;;
        disk) mount -o "remount,size=$argument" "$run/state" ;;
    esac
    echo "$command"
done
