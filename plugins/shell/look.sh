# Looks at a mount. For the beginning of scripts that watch one.

# Prints the kind and the device of what is mounted at $1; nothing when nothing is.
mounted() {
    # As the kernel writes it; the last line of several is what one sees.
    written=$(printf %s "$1" | sed 's/\\/\\134/g; s/ /\\040/g; s/\t/\\011/g')
    found=
    while read -r _ _ _ _ point rest; do
        if [ "$point" = "$written" ]; then
            found=${rest#*- }
        fi
    done </proc/self/mountinfo
    printf %s "$found"
}

# 0 for a name that is there, 3 for one that is not, 4 when the program behind
# the mount is gone, 5 for everything else.
look() {
    case $(stat -c ok -- "$1" 2>&1) in
    ok) return 0 ;;
    *'No such file'*) return 3 ;;
    *'endpoint is not connected'*) return 4 ;;
    *) return 5 ;;
    esac
}

