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

# usage: send    hands the mail to the catcher
send() {
    curl --silent --show-error --max-time 10 "smtp://$smtp" \
        --mail-from ping@example.com --mail-rcpt admin@example.com --upload-file - <<MAIL
From: ping@example.com
To: admin@example.com
Subject: $subject

The mail catcher works.
MAIL
}

# usage: soon COMMAND    tries it for five seconds: the catcher may just be starting
soon() {
    local attempt
    for ((attempt = 0; attempt < 25; attempt++)); do
        if "$1" 2>/dev/null; then return; fi
        sleep 0.2
    done
    "$1"
}

# usage: arrived    is the mail in the inbox?
arrived() {
    local found
    found=$(mails) && grep -qF "$subject" <<<"$found"
}

soon send || fail "no mail was taken at $smtp: is the mail catcher up?"
soon arrived || fail "the mail was taken at $smtp but did not arrive in the inbox at $inbox"
echo "mail arrived: $inbox"
