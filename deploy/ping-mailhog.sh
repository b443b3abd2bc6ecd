#!/usr/bin/env bash
# Send a mail to the mail catcher and see it arrive in its inbox.
# It proves that the catcher works; that the server's mails reach it, only a mail of the server's.
set -euo pipefail

smtp=smtps://localhost:${STACK_SMTP_PORT:-1025}
inbox=https://localhost:${STACK_INBOX_PORT:-8025}
subject="ping $(date +%s)-$$"

fail() {
    printf 'ping-mailhog.sh: %s\n' "$1" >&2
    exit 1
}

for file in custom-ca.crt:setup-tls.sh parsec-credentials.env:gen-credentials.sh; do
    [ -e "${file%:*}" ] || fail "${file%:*} is missing: run ${file#*:} first"
done
# shellcheck source=/dev/null
source ./parsec-credentials.env
: "${MAIL_USER:?run gen-credentials.sh first}" "${MAIL_PASSWORD:?run gen-credentials.sh first}"

# usage: ask ARGUMENT...    curl with the login, which goes through a pipe, not by an argument;
#                           on some systems it would trust their CAs beside the one that is named
ask() {
    curl --disable --noproxy '*' --silent --show-error --cacert custom-ca.crt --capath /dev/null \
        --config <(printf 'user = "%s:%s"\n' "$MAIL_USER" "$MAIL_PASSWORD") "$@"
}

# usage: mails    prints what the inbox holds: by the API of Mailpit and MailHog, or maildump's
mails() {
    ask --fail --max-time 5 "$inbox/api/v1/messages?limit=50" ||
        ask --fail --max-time 5 "$inbox/messages/"
}

# usage: send    hands the mail to the catcher
send() {
    ask --max-time 10 "$smtp" \
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

soon send || fail "no mail was taken at $smtp: the log of parsec-smtp may say why"
soon arrived || fail "the mail was taken at $smtp but did not arrive in the inbox at $inbox"
echo "mail arrived: $inbox"
