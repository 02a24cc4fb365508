#!/usr/bin/env bats
# Loop detection: each server that a message passes adds a Received field, so
# a message with very many of them is going round in circles.

# shellcheck disable=SC2030,SC2031,SC2034,SC2154
load helpers

from='<>' message=

before=('HELO me') letter=('MAIL FROM:<>' 'RCPT TO:<bob@example.com>' DATA)

# Adds so many lines to $message, each with its number after this text.
lines() { # NUMBER TEXT
    local i
    for ((i = 1; i <= $1; i++)); do message+="$2 $i"$'\n'; done
}

# Whether the message is taken, the Nth for bob, or refused as a loop.
taken() { # N
    post bob@example.com <<<"$message"
    mails bob "$1"
    message=
}

refused() {
    if post bob@example.com <<<"$message"; then return 1; fi
    holds replies $'\n554 5.4.6 '
    files mail 0
    message=
}

@test "RFC 5321 6.3: a message with 100 Received fields is taken, all are kept" {
    lines 100 'Received: from somewhere;'
    sent=$message
    message+=$'\ntext'
    taken 1
    look mail/bob/new/*
    [ "$rest" = "$sent"$'\ntext\n' ]
}

@test "RFC 5321 6.3: one with 101 is refused, nothing is stored, the session goes on" {
    local received_fields=()
    for i in {1..101}; do received_fields+=("Received: from somewhere; $i"); done
    gets '250 2.1.0 250 2.1.5 354 554 5.4.6 503 5.5.1 250 2.1.0 250 2.1.5 354 250 2.0.0 221 2.0.0' \
        "${letter[@]}" "${received_fields[@]}" '' text . 'RCPT TO:<bob@example.com>' "${letter[@]}" \
        'Received: once' '' text . QUIT
    files mail 1
    look mail/bob/new/*
    [ "$text" = $'text\n' ]
}

@test "RFC 5321 6.3: the fields count in any case, folded, and wherever they stand" {
    message=$'Subject: x\n'
    lines 40 $'RECEIVED:\n\tReceived: folded'
    message+=$'To: bob\n'
    lines 40 $'received: from a\n by b\n\tid'
    lines 20 $'Received:\n '
    message+=$'ReCeIvEd:\n'
    refused
    # Folded lines are no fields of their own: these are 100 fields, 300 lines.
    lines 100 $'Received: a\n Received: b\n\tReceived: c'
    taken 1
}

@test "RFC 5321 6.3: only Received fields count" {
    lines 100 'Received '
    lines 100 'Received :'
    lines 100 'Received-SPF: pass'
    lines 100 'X-Received: by'
    lines 100 'Receive: d'
    lines 100 'Subject: Received:'
    lines 100 'Received: from'
    taken 1
}

@test "RFC 5321 6.3: only the header section counts" {
    # It does not end at a line that is no field (RFC 5322 2.1).
    lines 100 'Received: from'
    message+=$'From bob Mon Sep 17\nReceived: from\n'
    refused
    lines 100 'Received: from'
    message+=$'\n'
    lines 300 'Received: from'
    taken 1
    # It has not begun behind an empty line, or behind one that begins with a blank.
    message=$'\n'
    lines 300 'Received: from'
    taken 2
    message=$' text\n'
    lines 300 'Received: from'
    taken 3
}

@test "RFC 5321 6.3: fields in long lines and long after the first are seen" {
    long=${xs:0:3000}
    lines 50 "Received: $long"
    lines 51 "Subject: $long"$'\n'"Received: $long"
    refused
}

@test "RFC 5321 6.3: each message is counted for itself" {
    for i in {1..60}; do letter+=("Received: from $i"); done
    kept='250 2.1.0 250 2.1.5 354 250 2.0.0'
    gets "$kept $kept" "${letter[@]}" . "${letter[@]}" .
    mails bob 2
}

@test "RFC 5321 6.3: our own Received field is not among those counted" {
    # Relayed to ourselves, a message goes round 100 times, and once more.
    lines 99 'Received: from'
    message+=$'\ntext'
    taken 1
    post carol@example.com <mail/bob/new/*
    run -1 post dave@example.com <mail/carol/new/*
    holds replies $'\n554 5.4.6 '
    mails bob 1 carol 1 dave 0
}
