# Asks the service itself for what was written to the mount: the mount is real
# when it is there.
#   $1 program  $2 workspace  $3 what is mounted  $4 the mount's id  $5 rw or ro
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
program=$1 workspace=$2 what=$3 id=$4

ask() {
    env -i PATH="$PATH" HOME="$workspace" LC_ALL=C AWS_CONFIG_FILE="$workspace/aws" \
        AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true "$program" "$@" \
        --config="$workspace/rclone.conf" --retries=1 --low-level-retries=1 --contimeout=5s --timeout=5s 2>&1
}

if [ "$5" = ro ]; then
    said=$(ask lsf --max-depth=1 --files-only --include='/.sandbox-broker-*' "$what") && exit 0
    echo "proof: $said" >&2
    exit 1
fi
tries=20
while :; do
    said=$(ask cat "$what.sandbox-broker-$id") && [ "$said" = "$id" ] && exit 0
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || break
    sleep 0.2
done
# What rclone itself says of its upload is nearer to the cause.
grep -hF 'failed to upload' "$workspace/rclone.log" | tail -n 1 >&2
echo "proof: what was written is not in the bucket: $said" >&2
exit 1
