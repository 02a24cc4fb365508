#!/usr/bin/env bats
# Loop detection: each server that a message passes adds a Received field, so
# a message with very many of them is going round in circles.

# shellcheck disable=SC2034
load helpers

from='<>'

# So many lines, each with its number after this text.
lines() { # NUMBER TEXT
    for ((i = 1; i <= $1; i++)); do echo "$2 $i"; done
}

# Whether the last message was taken, or refused as a loop.
taken() {
    mails bob 1
    rm -r mail
}

refused() {
    grep -q '^554 5\.4\.6 ' replies
    files mail 0
}

@test "RFC 5321 6.3: a message with 100 Received fields is taken, all are kept" {
    { lines 100 'Received: from somewhere;' && printf '\ntext\n'; } | post bob@example.com
    [ "$(field Received mail/bob/new/* | sed 1d)" = "$(lines 100 'Received: from somewhere;')" ]
}

@test "RFC 5321 6.3: one with 101 is refused, nothing is stored, the session goes on" {
    {
        printf '%s\r\n' 'EHLO me' 'MAIL FROM:<>' 'RCPT TO:<bob@example.com>' DATA
        lines 101 'Received: from somewhere;' | awk '{ printf "%s\r\n", $0 }'
        printf '%s\r\n' '' text . 'RCPT TO:<bob@example.com>' 'MAIL FROM:<>' \
            'RCPT TO:<bob@example.com>' DATA 'Received: once' '' text . QUIT
    } >.asked
    talk <.asked >replies
    wanted='354 .*@554 5\.4\.6 .*@503 5\.5\.1 .*@250 2\.1\.0 .*@250 2\.1\.5 .*@354 .*@250 2\.0\.0 .*@221 '
    tr '\r\n' ' @' <replies | grep -q "$wanted"
    files mail 1
    [ "$(body mail/bob/new/*)" = text ]
}

@test "RFC 5321 6.3: the fields count in any case, folded, and wherever they stand" {
    {
        echo 'Subject: x'
        lines 40 $'RECEIVED:\n\tReceived: folded'
        echo 'To: bob'
        lines 40 $'received: from a\n by b\n\tid'
        lines 20 $'Received:\n '
        echo 'ReCeIvEd:'
    } | run -1 post bob@example.com
    refused
    # Folded lines are no fields of their own: these are 100 fields, 300 lines.
    lines 100 $'Received: a\n Received: b\n\tReceived: c' | post bob@example.com
    taken
}

@test "RFC 5321 6.3: only Received fields count" {
    {
        lines 100 'Received '
        lines 100 'Received :'
        lines 100 'Received-SPF: pass'
        lines 100 'X-Received: by'
        lines 100 'Receive: d'
        lines 100 'Subject: Received:'
        lines 100 'Received: from'
    } | post bob@example.com
    taken
}

@test "RFC 5321 6.3: only the header section counts" {
    { lines 100 'Received: from' && echo && lines 300 'Received: from'; } | post bob@example.com
    taken
    # It does not end at a line that is no field (RFC 5322 2.1).
    { lines 100 'Received: from' && echo 'From bob Mon Sep 17' && echo 'Received: from'; } |
        run -1 post bob@example.com
    refused
    # It has not begun behind an empty line, or behind one that begins with a blank.
    { echo && lines 300 'Received: from'; } | post bob@example.com
    taken
    { echo ' text' && lines 300 'Received: from'; } | post bob@example.com
    taken
}

@test "RFC 5321 6.3: fields in long lines and long after the first are seen" {
    long=$(printf 'x%.0s' {1..3000})
    { lines 50 "Received: $long" && lines 51 "Subject: $long
Received: $long"; } | run -1 post bob@example.com
    refused
}

@test "RFC 5321 6.3: each message is counted for itself" {
    letter=('MAIL FROM:<>' 'RCPT TO:<bob@example.com>' DATA)
    for i in {1..60}; do letter+=("Received: from $i"); done
    letter+=(.)
    [ "$(answers 'HELO me' "${letter[@]}" "${letter[@]}")" = \
        "250$(printf ' 250 2.1.0 250 2.1.5 354 250 2.0.0%.0s' 1 2)" ]
    mails bob 2
}

@test "RFC 5321 6.3: our own Received field is not among those counted" {
    # Relayed to ourselves, a message goes round 100 times, and once more.
    { lines 99 'Received: from' && echo && echo text; } | post bob@example.com
    post bob@example.com <"$(message bob)"
    run -1 post bob@example.com <"$(message bob 2)"
    grep -q '^554 5\.4\.6 ' replies
    mails bob 2
}
