#!/usr/bin/env bash
# Put back the keys, credentials and settings of the set that fetch-backup.sh has fetched, on a
# machine that has lost them. What is there is never replaced.
# usage: restore-settings.sh
set -euo pipefail
source ./backup-tools.sh

require fetched/settings.tar "run fetch-backup.sh first"
number=0
while IFS= read -r file; do
    case $file in
        # What the tasks remember of the folder from which it comes.
        */ | ./.stack.json) continue ;;
    esac
    if [ ! -e "$file" ]; then
        tar --extract --preserve-permissions --no-same-owner --keep-old-files --file fetched/settings.tar "$file"
        number=$((number + 1))
    elif ! tar --extract --to-stdout --file fetched/settings.tar "$file" | cmp -s - "$file"; then
        echo "${file#./}: kept, though the backup has another"
    fi
done < <(tar --list --file fetched/settings.tar)
echo "settings: $number files put back"
