#!/bin/bash
# A Docker engine of the tests' own, in namespaces and control groups of its own:
#
#     engine.sh ROOT RUN [OPTION…] < COMMANDS
#
# ROOT has the unpacked Debian packages. RUN is an empty folder on a short path; it gets `docker.sock`, `tls/` (ca.pem, and
# client.pem with client-key.pem), `net` (addresses: this machine's, the engine's, the containers') and `log/`. The engine
# also listens at its address on port 2376, for clients with that certificate. In its network, at 127.0.0.1:5000, is a
# registry, empty at first. Options are dockerd's.
#
# Prints `started` when the engine answers. Each line of COMMANDS is answered by one: `stop` kills the engine and nothing
# else, `start` starts it again, `disk SIZE` bounds all that it keeps. Everything ends, and nothing is left, when COMMANDS
# ends. Needs root, and control groups of version 1 or 2.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$1 run=$(cd "$2" && pwd)
shift 2
umask 022 # a stricter one would close the root folders of containers to all but root
mkdir -p "$run"/{log,tls,state}
pause() { read -rt 0.02 <> <(:) || true; }

# Control groups below those of the caller, which bound this too.
groups=()
clean() {
    # The processes of a namespace that was killed go one after the other.
    for group in "${groups[@]}"; do
        for _ in {1..500}; do
            find "$group" -depth -type d -exec rmdir {} + 2> /dev/null || true
            [ -d "$group" ] || break
            pause
        done
    done
}
trap clean EXIT
while IFS=: read -r _ controllers path; do
    case $controllers in
        '') dir=/sys/fs/cgroup/unified; [ -d $dir ] || dir=/sys/fs/cgroup ;;
        name=*) dir=/sys/fs/cgroup/${controllers#name=} ;;
        *) dir=/sys/fs/cgroup/$controllers ;;
    esac
    [ -d "$dir" ] || continue
    group=$dir${path%/}/docker-test-$$
    mkdir "$group"
    groups+=("$group")
    if [ "$controllers" = cpuset ]; then # a new one of version 1 is empty, and admits nobody
        for file in cpuset.cpus cpuset.mems; do cat "${group%/*}/$file" > "$group/$file"; done
    fi
done < /proc/self/cgroup

exec 3<&0 < /dev/null
(
    for group in "${groups[@]}"; do echo $BASHPID > "$group/cgroup.procs"; done
    # The network comes first: the link to it is made by the number of this process. Then its first process, with whose end
    # all in there ends.
    exec unshare --net --mount --propagation private --ipc --uts --cgroup bash -c \
        'until ip link show eth0 > /dev/null 2>&1; do read -rt 0.02 <> <(:) || true; done
         exec unshare --pid --fork --kill-child --mount-proc "$@"' - "$here/inside.sh" "$root" "$run" "$@" <&3
) &
inside=$!
exec 3<&-
until [ "$(readlink /proc/$inside/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do
    [ -d /proc/$inside ] || exit 1
    pause
done

# The first number that nobody has is ours. The link ends with its other end.
for number in $(shuf -i 1-254) none; do
    ip link add "dockertest$number" type veth peer name eth1 netns $inside 2> /dev/null && break
done
[ "$number" != none ] || { echo 'engine.sh: no link to its network could be made' >&2; exit 1; }
ip address add "10.213.$number.1/30" dev "dockertest$number"
ip link set "dockertest$number" up
ip route add "10.214.$number.0/24" via "10.213.$number.2"
echo "10.213.$number.1 10.213.$number.2 10.214.$number.1/24" > "$run/net"
nsenter --net=/proc/$inside/ns/net ip link set eth1 name eth0
wait $inside || true
