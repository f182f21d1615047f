#!/bin/sh
# Makes the vectors anew with the real programs: regenerate.sh FOLDER-OF-PEERS
# The age key is made for them and opens nothing else. data-keys holds the raw data key of each file.
set -eu
bin=$1/bin
cd "$(dirname "$0")"
export SOPS_DISABLE_VERSION_CHECK=1 SOPS_AGE_KEY_FILE=age-key.txt
[ -e age-key.txt ] || "$bin/age-keygen" -o age-key.txt
recipient=$(sed -n 's/.*public key: //p' age-key.txt)
: > data-keys
for version in 3.11.0 3.13.3; do
    for kind in yaml json env ini bin; do
        file=$version.$kind
        "$bin/sops-$version" --encrypt --age "$recipient" "plain.$kind" > "$file"
        enc=$(sed -n '/BEGIN AGE/,/END AGE/{s/\\n/\n/g;p}' "$file" | sed -n '/BEGIN AGE/,/END AGE/p' |
            sed 's/.*\(-----BEGIN\)/\1/; s/\(END AGE ENCRYPTED FILE-----\).*/\1/; s/^ *//; /END AGE/q')
        printf '%s %s\n' "$file" "$(printf '%s\n' "$enc" | "$bin/age" -d -i age-key.txt | od -An -tx1 | tr -d ' \n')" >> data-keys
    done
done
