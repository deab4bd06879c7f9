# For the beginning of other scripts.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

# Runs a command for $1 tenths of a second at most and returns its status, or
# 124 when it takes longer: who waits for FUSE cannot be killed, so it is left
# alone. Writes no file, for the disk may be full.
within() {
    left=$1 pause=0.01
    shift
    "$@" >/dev/null 2>&1 </dev/null &
    while :; do
        case $(cat "/proc/$!/stat" 2>/dev/null) in
        '' | *') Z '*)
            wait "$!"
            return
            ;;
        esac
        [ "$left" -gt 0 ] || return 124
        sleep "$pause"
        [ "$pause" = 0.1 ] && left=$((left - 1)) || pause=0.1
    done
}

