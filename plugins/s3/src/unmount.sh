# Ends what uses the mount, sees that everything closed is in the storage, and
# unmounts.
#   $1 mount point  $2 workspace
mount=$1 workspace=$2

detach() {
    if command -v fusermount3 >/dev/null; then fusermount3 -u -- "$mount"; else umount -- "$mount"; fi
}

# The names in the lines by which rclone says that it could not store a file.
failing() {
    sed -n 's/^.\{20\}ERROR : \(.*\): vfs cache: failed to upload try.*/\1/p' rclone.log 2>/dev/null | sort -u
}

# How many files are not stored yet, without those that fail.
pending() {
    failing >failing
    find cache/vfsMeta -type f -exec grep -qF '"Dirty": true' {} \; -print 2>/dev/null |
        grep -vFf failing - | wc -l
}

cd "$workspace" || exit 1
umask 077
end TERM 20 || end KILL 400
# What the kernel still has of maps; everything else went with its close.
within 100 sync -f "$mount"

# rclone stores what was closed, many files at a time. Those that fail are tried
# once more at the end.
wait=300
while [ "$(pending)" -gt 0 ] && [ "$wait" -gt 0 ]; do
    wait=$((wait - 1))
    sleep 0.1
done

busy=100
until said=$(detach 2>&1); do
    case $said in
    # Where nobody may unmount, nothing is mounted.
    *'not found'* | *'not mounted'* | *'nvalid argument'* | *'not permitted'*) break ;;
    esac
    [ "$busy" -gt 0 ] || { echo "unmount: it stays busy: $said" >&2; exit 1; }
    busy=$((busy - 1))
    sleep 0.1
    end KILL "$busy"
done

# The script that ran rclone, if it came so far, stores the rest, and writes down
# what it could not.
[ -e running ] || exit 0
wait=400
while [ ! -e ended ] && [ "$wait" -gt 0 ]; do
    wait=$((wait - 1))
    sleep 0.1
done
[ -e ended ] || { echo "unmount: rclone does not end" >&2; exit 1; }
[ -s ended ] || exit 0
echo "unmount: not in the storage, but kept in $workspace/cache until the sandbox ends: $(tr '\n' ' ' <ended)" >&2
exit 1
