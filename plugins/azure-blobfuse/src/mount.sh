# Becomes blobfuse2, in the foreground: its end is the end of the mount.
#   $1 program  $2 mount point  $3 workspace  $4 user whom the files belong to, or nothing
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
program=$1 mount=$2 workspace=$3 user=$4

fail() {
    echo "mount: $1" >&2
    exit 1
}

[ -e /dev/fuse ] || fail 'no /dev/fuse'
(: <>/dev/fuse) 2>/dev/null || fail '/dev/fuse cannot be opened'
command -v fusermount3 >/dev/null || command -v umount >/dev/null || fail 'no fusermount3'
program=$(command -v "$program") || fail 'no blobfuse2'
owner=
if [ -n "$user" ]; then
    owner=$(id -u -- "$user") && owner=uid=$owner,gid=$(id -g -- "$user") || fail 'no such user'
fi

cd "$workspace" || fail 'no workspace'
umask 077
mkdir -p cache || fail 'no cache'
# What is newer than this was written through this mount.
: >mounted || fail 'no space for the cache'

# It prints the addresses that it cannot reach, with the token in them, and two
# lines that say nothing. One that is killed has no last words of its own.
rm -f said
mkfifo said || fail 'no space for the cache'
{
    sed -u 's/sig=[^&" ]*/sig=…/g; /initializePlugins/d; /invalid max threads/d; w words'
    [ -s words ] || echo 'mount: blobfuse2 ended'
} <said >&2 &

# A clean environment: variables would win over the configuration.
exec env -i PATH="$PATH" HOME="$workspace" LC_ALL=C "$program" mount "$mount" \
    --config-file="$workspace/config.yaml" --foreground --disable-version-check ${owner:+-o "$owner"} >said 2>&1
