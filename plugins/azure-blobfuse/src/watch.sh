# Looks whether the mount is there, its program alive and its token accepted.
#   $1 mount point  $2 workspace
# An absent service is no end of a mount: blobfuse2 tries again, programs get
# errors, and nothing that is cached is lost.
mount=$1 workspace=$2

fail() {
    echo "watch: $1" >&2
    exit 1
}

case $(mounted "$mount") in
'fuse blobfuse2 '*) ;;
'') fail 'not mounted' ;;
*) fail 'something else is mounted' ;;
esac

# The program answers this by itself.
within 50 look "$mount"
case $? in
0) ;;
124) fail 'blobfuse2 does not answer' ;;
4) fail 'blobfuse2 is gone' ;;
*) fail 'the mount point cannot be read' ;;
esac

# The service answers this: a name that no cache has.
within 50 look "$mount/.sandbox-broker-$$-$(date +%s)"
case $? in
3 | 124) exit 0 ;;
4) fail 'blobfuse2 is gone' ;;
esac
# blobfuse2 has one error for every refusal; its log has the service's word.
last=$(tail -n 200 "$workspace/blobfuse2.log" 2>/dev/null |
    sed -n 's/^ERROR CODE: //p; /dial tcp\|context deadline/s/.*/none/p' | tail -n 1)
case $last in
Auth* | Container* | Account* | KeyBased*) fail "the service says $last" ;;
esac
exit 0
