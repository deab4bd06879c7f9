# Ends the programs that use a mount. For the beginning of scripts that unmount;
# needs `mount`, the mount point.

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

