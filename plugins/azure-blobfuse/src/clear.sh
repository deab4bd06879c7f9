# Takes away what a mount has left that died, and keeps what may not have
# reached the storage.
#   $1 mount point  $2 workspace
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
mount=$1 workspace=$2

# One that hangs. First, and so: one that ends in order empties its cache.
for pid in $(grep -lF -- "--config-file=$workspace/config.yaml" /proc/[0-9]*/cmdline 2>/dev/null | cut -d / -f 3); do
    [ "$pid" = "$$" ] || kill -KILL "$pid" 2>/dev/null
done
if command -v fusermount3 >/dev/null; then
    while fusermount3 -u -z -- "$mount" 2>/dev/null; do :; done
else
    while umount -l -- "$mount" 2>/dev/null; do :; done
fi

cd "$workspace" || exit 1
rm -f config.yaml
[ -d cache ] || exit 0
# Copies of what is in the storage carry its times, which are older.
find cache -type f ! -newer mounted -exec rm -f -- {} +
kept=$(cd cache && find . -type f | head -n 20)
if [ -n "$kept" ]; then
    echo "clear: written shortly before the mount broke and kept in $workspace/cache, in case a program had not closed it:" \
        "$(printf '%s\n' "$kept" | sed 's|^\./||' | tr '\n' ' ')" >&2
    exit 1
fi
rm -rf cache
