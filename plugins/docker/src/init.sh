# The first process of a sandbox. It ends, and the sandbox with it, when the lease is over: $1 seconds from now. The
# signal USR1 renews the lease, USR2 makes it a day. It knows nothing of the shells beside it.
lease=$1
now() { read -r now _ < /proc/uptime; now=${now%%.*}; }
renew() { now; end=$((now + lease)); }
trap renew USR1
trap 'lease=86400; renew' USR2
trap 'exit 0' TERM
renew
while now; [ "$now" -lt "$end" ]; do
    sleep $((end - now)) &
    # A signal ends the wait and not the sleep. When that ends there is a later end, or none.
    while kill -0 $! 2> /dev/null; do wait $!; done
    now
    # It took longer than it was asked to: the sandbox slept, and somebody woke it.
    if [ "$now" -gt $((end + 5)) ]; then renew; fi
done
