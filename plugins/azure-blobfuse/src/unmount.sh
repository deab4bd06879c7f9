# Ends what uses the mount, sees that everything closed is in the storage, and
# unmounts.
#   $1 mount point  $2 workspace  $3 user whom the files belong to, or nothing
mount=$1 workspace=$2 user=${3-}

# The names in lines of the log between $1 and $2. A name may hold such a line
# itself, so what is found is only a guess.
logged() {
    cat "$workspace"/blobfuse2.log* 2>/dev/null | sed -n "s/^.*$1\(.*\)$2.*\$/\1/p" | sort -u
}

# Has a file uploaded again whose program closed it in vain: its first byte is
# written once more. An empty one gets a byte for a moment; whether it is empty is
# what the copy says, for the mount may tell of the storage. As the user: a link
# in the mount leads to where he likes.
store='
    if [ "$2" = empty ]; then
        printf x | dd of="$1" conv=notrunc,fsync && truncate -s 0 -- "$1"
    else
        [ -s "$1" ] && dd if="$1" of="$1" bs=1 count=1 conv=notrunc,fsync
    fi
'
store() {
    if [ -s "cache/$1" ]; then what=full; else what=empty; fi
    if [ -n "$user" ]; then
        setpriv --reuid="$(id -u -- "$user")" --regid="$(id -g -- "$user")" --clear-groups sh -c "$store" store "$mount/$1" "$what"
    else
        sh -c "$store" store "$mount/$1" "$what"
    fi
}

detach() {
    if command -v fusermount3 >/dev/null; then fusermount3 -u -- "$mount"; else umount -- "$mount"; fi
}

failures() {
    logged 'FileCache::FlushFile : ' ' upload failed \['
}

# Whether the lines of $1 have the line $2.
has() {
    case "
$1
" in *"
$2
"*) return 0 ;; esac
    return 1
}

# Whoever unmounts empties the cache, and nobody is told what was not stored. So
# a failed upload is tried once more before, and kept if it fails again. Those
# that were `tried` are left out.
kept= lost= tried= tries=200
save() {
    failed=$(failures)
    while IFS= read -r name; do
        ! has "$tried" "$name" || continue
        # No name leads out of the mount and the cache.
        case /$name/ in *//* | */./* | */../*) continue ;; esac
        [ -f "cache/$name" ] || continue
        if [ "$tries" -gt 0 ]; then
            within "$tries" store "$name"
            case $? in
            0) continue ;;
            # One that hangs would let all others hang too.
            124) tries=0 ;;
            esac
        fi
        if mkdir -p "unsent/$(dirname -- "$name")" && mv -- "cache/$name" "unsent/$name"; then
            kept="$kept $name"
        else
            lost="$lost $name"
        fi
    done <<END
$failed
END
    tried=$failed
}

cd "$workspace" || exit 1
umask 077
end TERM 20 || end KILL 400
# What the kernel still has of maps; everything else went with its close.
within 100 sync -f "$mount"
save

busy=100
until said=$(detach 2>&1); do
    case $said in
    # Where nobody may unmount, nothing is mounted.
    *'not found'* | *'not mounted'* | *'nvalid argument'* | *'not permitted'*) break ;;
    esac
    [ "$busy" -gt 0 ] || { echo "unmount: it stays busy: $said" >&2; exit 1; }
    busy=$((busy - 1))
    sleep 0.1
    # An upload of whoever it was that kept it busy may have failed.
    end KILL "$busy"
    [ -z "$found" ] || tried=
    save
done
# The last moment before the end has no second try.
while IFS= read -r name; do
    [ -z "$name" ] || has "$tried" "$name" || lost="$lost $name"
done <<END
$(failures)
END

# A file that found no room in the cache was stored as far as it went.
cut=$(logged 'FileCache::WriteFile : failed to write ' ' \[no space left on device\]' | tr '\n' ' ')
[ -z "$kept" ] || echo "unmount: not in the storage, but kept in $workspace/unsent until the sandbox ends:$kept" >&2
[ -z "$lost" ] || echo "unmount: not in the storage and lost:$lost" >&2
[ -z "$cut" ] || echo "unmount: cut off in the storage, because the sandbox's disk was full: $cut" >&2
[ -z "$kept$lost$cut" ]
