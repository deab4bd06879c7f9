# Looks whether the mount is there, its program alive and its credentials
# accepted.
#   $1 mount point  $2 workspace
# An absent service is no end of a mount: rclone tries again, programs get
# errors, and nothing that is cached is lost.
mount=$1 workspace=$2

fail() {
    echo "watch: $1" >&2
    exit 1
}

case $(mounted "$mount") in
'fuse.rclone sandbox-broker-s3 '*) ;;
'') fail 'not mounted' ;;
*) fail 'something else is mounted' ;;
esac

# The program answers this by itself.
within 50 look "$mount"
case $? in
0) ;;
124) fail 'rclone does not answer' ;;
4) fail 'rclone is gone' ;;
*) fail 'the mount point cannot be read' ;;
esac

# The service answers this, once what is known of the folder is too old.
within 50 look "$mount/.sandbox-broker-$$-$(date +%s)"
case $? in
3 | 124) exit 0 ;;
4) fail 'rclone is gone' ;;
esac
# The program has one error for every refusal; its log has the service's word.
last=$(tail -n 200 "$workspace/rclone.log" 2>/dev/null |
    sed -n 's/.*api error \([A-Za-z]*\).*/\1/p; /dial tcp\|deadline exceeded\|connection re/s/.*/none/p' | tail -n 1)
case $last in
AccessDenied | Expired* | Invalid* | NoSuch* | Signature* | RequestTimeTooSkewed | AllAccessDisabled | Forbidden)
    fail "the service says $last"
    ;;
esac
exit 0
