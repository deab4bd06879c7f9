# Ends what uses the mount, sees that everything closed is in the storage, and
# unmounts.
#   $1 mount point  $2 workspace  $3 user whom the files belong to, or nothing
mount=$1 workspace=$2 user=${3-}

# Sends signal $1 to the processes of this user with a file, a directory or a
# map in the mount, and prints them. A script of its own: in a sandbox root may
# not look into other users' processes, so each user looks at his. It looks at
# every thread, because a process whose first thread has ended shows nothing.
signal='
    mount=$2 pattern=$(printf %s "$2" | sed "s/[][*?\\\\]/\\\\&/g")
    find /proc/[0-9]*/task -mindepth 2 -maxdepth 3 -type d \( -name net -o -name attr -o -name ns -o -name fdinfo \) -prune \
        -o \( -lname "$pattern" -o -lname "$pattern/*" \) -print \
        -o -name maps -exec grep -lF -- " $mount/" {} + 2>/dev/null |
        cut -d / -f 3 | sort -u | while read -r pid; do
            [ "$pid" = "$$" ] || { echo "$pid"; kill "-$1" "$pid"; }
        done 2>/dev/null
'

holders() {
    sh -c "$signal" signal "$1" "$mount"
    # The group counts too for whether one may look.
    for user in $(stat -c %u:%g /proc/[0-9]* 2>/dev/null | sort -u); do
        [ "$user" = 0:0 ] ||
            setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups sh -c "$signal" signal "$1" "$mount" 2>/dev/null
    done
}

# Prints those of the threads that are ending, each by its file `stat`.
ending() {
    for stat; do
        read -r line <"$stat" || continue
        # The name before it is in parentheses and may hold any character.
        set -- ${line##*) }
        case ${1-Z} in Z | X) continue ;; esac
        # PF_EXITING
        [ "$((${7:-0} & 4))" = 0 ] || echo "$stat"
    done 2>/dev/null
}

# Ends the holders by a signal and waits until there are none, $2 tenths of a
# second at most. A thread that ends gives up its files before it is gone, and
# what they held is uploaded meanwhile: by then nobody sees a holder any more.
# So the threads that are ending are waited for as well. `found` says whether
# there was anybody.
end() {
    wait=$2 found=
    left=$(holders "$1")
    while [ -n "$left" ]; do
        found=1
        [ "$wait" -gt 0 ] || return 1
        wait=$((wait - 1))
        sleep 0.1
        left=$(holders 0)
    done
    left=$(ending /proc/[0-9]*/task/[0-9]*/stat)
    while [ -n "$left" ]; do
        found=1
        [ "$wait" -gt 0 ] || return 1
        wait=$((wait - 1))
        sleep 0.1
        left=$(ending $left)
    done
}

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
