# Runs rclone, in the foreground: its end is the end of the mount. Afterwards
# stores what rclone had no time for.
#   $1 program  $2 mount point  $3 workspace  $4 user whom the files belong to, or nothing
#   $5 what is mounted  $6 the mount's id  $7… flags
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
program=$1 mount=$2 workspace=$3 user=$4 what=$5 id=$6
shift 6

fail() {
    echo "mount: $1" >&2
    exit 1
}

[ -e /dev/fuse ] || fail 'no /dev/fuse'
# Kept open: a sandbox that is wound down waits for who has it, and so for what
# is stored below.
{ exec 9<>/dev/fuse; } 2>/dev/null || fail '/dev/fuse cannot be opened'
command -v fusermount3 >/dev/null || command -v fusermount >/dev/null || fail 'no fusermount3'
program=$(command -v "$program") || fail 'no rclone'
owner=
if [ -n "$user" ]; then
    owner=$(id -u -- "$user") && owner="--uid=$owner --gid=$(id -g -- "$user")" || fail 'no such user'
fi

cd "$workspace" || fail 'no workspace'
umask 077
# What an earlier program of this mount had not stored when it died.
kept=$(dirname -- "$workspace")/unsent-$id
if [ -d "$kept" ]; then mv -- "$kept" cache; else mkdir -p cache; fi || fail 'no cache'
# Of a file that was made or emptied it notes the length only some time after the
# close, and would take one without a length for empty, or for the old file with
# new ends. All that such a file holds was written to it.
find cache/vfsMeta -type f -exec grep -qF '"Dirty": true' {} \; -exec grep -q '^.\{1,2\}"Size": 0,$' {} \; -print 2>/dev/null |
    while IFS= read -r meta; do
        size=$(stat -c %s -- "cache/vfs/${meta#cache/vfsMeta/}") && [ "$size" -gt 0 ] || continue
        sed -i "s/\"Size\": 0,/\"Size\": $size,/; s/\"Rs\": \(null\|\[\]\)/\"Rs\": [{\"Pos\": 0, \"Size\": $size}]/" "$meta"
    done
: >rclone.log || fail 'no space for the cache'
rm -f ended
: >running

# A clean environment: variables would win over the configuration. The last one
# is a flag that older versions do not have: without it a file that was closed is
# held open for some seconds, and what another session wrote is not seen.
clean() {
    env -i PATH="$PATH" HOME="$workspace" LC_ALL=C AWS_CONFIG_FILE="$workspace/aws" \
        AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true RCLONE_VFS_HANDLE_CACHING=0 "$@"
}

# TERM is for rclone, which the host may end; the rest is still stored.
trap 'kill "$child" 2>/dev/null' TERM
# shellcheck disable=SC2086
clean "$program" mount "$what" "$mount" --config="$workspace/rclone.conf" --cache-dir="$workspace/cache" \
    --log-file="$workspace/rclone.log" $owner "$@" >said 2>&1 9>&- &
child=$!
while :; do
    wait "$child"
    status=$?
    kill -0 "$child" 2>/dev/null || break
done

# Names of files that are not stored, each with its data whole. A file of which
# a part was never fetched is left out: stored like that, it would have holes.
folder=${what#*:}
unsent() {
    find "cache/vfsMeta" -type f -exec grep -qF '"Dirty": true' {} \; -print 2>/dev/null | while IFS= read -r meta; do
        whole=$(tr -d ' \t\n' <"$meta" | sed -n 's/.*"Size":\([0-9]*\),"Rs":\[{"Pos":0,"Size":\1}\].*/yes/p; s/.*"Size":0,"Rs":\(null\|\[\]\).*/yes/p')
        name=${meta#cache/vfsMeta/storage/"$folder"}
        if [ -n "$whole" ] && [ -f "cache/vfs/storage/$folder$name" ]; then echo "$name"; else echo "$name" >>broken; fi
    done
}

rm -f broken
unsent >unsent
# One that was killed is mounted again, and goes on by itself.
if [ "$status" = 0 ] && [ -s unsent ]; then
    if clean "$program" copy "cache/vfs/storage/$folder" "$what" --config="$workspace/rclone.conf" \
        --files-from-raw=unsent --no-traverse --no-check-dest --retries=1 --low-level-retries=2 --contimeout=5s \
        --timeout=10s --transfers=8 --log-file="$workspace/rclone.log" >>said 2>&1 9>&-; then
        : >unsent
    fi
fi
[ ! -e broken ] || cat broken >>unsent
mv -- unsent ended
# Its last words.
grep -h ' \(ERROR\|CRITICAL\|FATAL\|NOTICE\) *: ' rclone.log | tail -n 3 >&2
tail -n 3 said >&2
[ -s rclone.log ] || [ -s said ] || echo 'mount: rclone ended' >&2
exit "$status"
