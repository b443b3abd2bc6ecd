#!/usr/bin/env bash
# Send a mail to the mail catcher and see it arrive in its inbox.
# It proves that the catcher works; that the server's mails reach it, only a mail of the server's.
set -euo pipefail

smtp=127.0.0.1:${STACK_SMTP_PORT:-1025}
inbox=http://127.0.0.1:${STACK_INBOX_PORT:-8025}
subject="ping $(date +%s)-$$"

fail() {
    printf 'ping-mailhog.sh: %s\n' "$1" >&2
    exit 1
}

# usage: mails    prints what the inbox holds: MailHog's API, or maildump's
mails() {
    curl --fail --silent --max-time 5 "$inbox/api/v2/messages?limit=50" ||
        curl --fail --silent --max-time 5 "$inbox/messages/"
}

curl --silent --show-error --max-time 10 "smtp://$smtp" \
    --mail-from ping@example.com --mail-rcpt admin@example.com --upload-file - <<MAIL ||
From: ping@example.com
To: admin@example.com
Subject: $subject

The mail catcher works.
MAIL
    fail "no mail was taken at $smtp: is the mail catcher up?"

for _ in 1 2 3 4 5 6 7 8 9 10; do
    if found=$(mails) && grep -qF "$subject" <<<"$found"; then
        echo "mail arrived: $inbox"
        exit
    fi
    sleep 0.2
done
fail "the mail was taken at $smtp but did not arrive in the inbox at $inbox"
