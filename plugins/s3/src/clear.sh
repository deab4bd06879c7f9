# Takes away what a mount has left that died, and keeps what has not reached the
# storage for the next program of the mount.
#   $1 mount point  $2 workspace  $3 the mount's id
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
mount=$1 workspace=$2 id=$3

# One that hangs.
for pid in $(grep -lF -- "--config=$workspace/rclone.conf" /proc/[0-9]*/cmdline 2>/dev/null | cut -d / -f 3); do
    [ "$pid" = "$$" ] || kill -KILL "$pid" 2>/dev/null
done
if command -v fusermount3 >/dev/null; then
    while fusermount3 -u -z -- "$mount" 2>/dev/null; do :; done
else
    while umount -l -- "$mount" 2>/dev/null; do :; done
fi

cd "$workspace" || exit 1
rm -f credentials aws rclone.conf
[ -d cache ] || exit 0
if grep -rqF '"Dirty": true' cache/vfsMeta 2>/dev/null; then
    kept=$(dirname -- "$workspace")/unsent-$id
    rm -rf -- "$kept"
    mv -- cache "$kept"
else
    rm -rf cache
fi
