# Proves as the mount's user that files can be written, read and removed.
#   $1 mount point  $2 the mount's id  $3 write, remove or look
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
id=$2 file=$1/.sandbox-broker-$2

fail() {
    echo "probe: $1" >&2
    exit 1
}

case $3 in
look)
    said=$(stat -c %F -- "$file" 2>&1)
    case $said in
    *'No such file'* | 'regular'*) ;;
    *) fail "cannot read: $said" ;;
    esac
    ;;
write)
    # A shell does not see that a close failed; this does.
    said=$(printf %s "$id" | dd of="$file" conv=fsync status=none 2>&1) || fail "cannot write: $said"
    said=$(cat -- "$file" 2>&1)
    [ "$said" = "$id" ] || fail "cannot read what was written: $said"
    ;;
remove)
    said=$(rm -- "$file" 2>&1) || fail "cannot remove: $said"
    ;;
esac
