# Prints the credentials of this moment in the form that AWS has for programs
# which give credentials. They end soon, so that fresh ones are asked for soon.
#   $1 file with the credentials  $2 seconds for which they are used
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
. "$1"
end=$(date -u -d "@$(($(date +%s) + $2))" +%Y-%m-%dT%H:%M:%SZ)
printf '{"Version":1,"AccessKeyId":"%s","SecretAccessKey":"%s"' "$id" "$secret"
[ -z "$token" ] || printf ',"SessionToken":"%s"' "$token"
printf ',"Expiration":"%s"}\n' "$end"
