#!/bin/sh
# The shop, as small as it can be: it reads its settings, and lets those in who know the database's password.
#
#   sh app.sh SETTINGS   settings from a file of NAME=value lines
#   sh app.sh            settings from the environment
#
# Then one guess a line on standard input; the answer is "granted" or "denied".
set -eu

if [ "$#" -gt 0 ]; then
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
            DB_PASSWORD=*) DB_PASSWORD=${line#*=} ;;
            PAYMENT_API_KEY=*) PAYMENT_API_KEY=${line#*=} ;;
            SESSION_KEY=*) SESSION_KEY=${line#*=} ;;
        esac
    done <"$1"
fi
: "${DB_PASSWORD:?is not set}" "${PAYMENT_API_KEY:?is not set}" "${SESSION_KEY:?is not set}"

echo "ready"
while IFS= read -r guess; do
    if [ "$guess" = "$DB_PASSWORD" ]; then echo "granted"; else echo "denied"; fi
done
