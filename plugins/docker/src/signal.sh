# Sends the signal $1 to the process that was started with the variable $2 of its environment: the one without a parent in
# this sandbox, not its children, which have the variable too.
status=3
for file in $(grep -ls "$2" /proc/[0-9]*/environ 2> /dev/null); do
    directory=${file%/environ}
    if grep -qs "^PPid:[[:space:]]*0$" "$directory/status"; then
        kill -s "$1" "${directory#/proc/}" && status=0
    fi
done
exit $status
