#!/usr/bin/env bats
# Exercise plus: bob+lists@example.com is bob's.

SMTPD=${SMTPD:-$BATS_TEST_DIRNAME/../../../smtpd}
load ../../helpers

# One message to the paths given, over smtpd -i; prints the replies.
mail_to() { # [-s] PATH...
    local options=()
    if [ "$1" = -s ]; then options=(-s) && shift; fi
    {
        printf '%s\r\n' 'EHLO client.example' 'MAIL FROM:<alice@example.org>'
        printf 'RCPT TO:<%s>\r\n' "$@"
        printf '%s\r\n' DATA 'Subject: x' '' text . QUIT
    } >.asked
    talk "${options[@]}" <.asked
}

@test "plus: bob+lists@example.com lies in bob's mailbox" {
    mail_to bob+lists@example.com >out
    grep '^250 2\.1\.5 ' out
    mails bob 1
    [ ! -e mail/bob+lists ]
}

@test "plus: only the first + counts, and the case does not" {
    mail_to BOB+Lists+more@example.com
    mails bob 1
    [ "$(ls mail)" = bob ]
}

@test "plus: + with nothing after it" {
    mail_to bob+@example.com
    mails bob 1
    [ "$(ls mail)" = bob ]
}

@test "plus: + with nothing before it is a name like any other" {
    mail_to +4930123@example.com
    mails +4930123 1
}

@test "RFC 5321 4.1.2: plus: quoted or not, it is the same mailbox" {
    mail_to '"bob+lists"@example.com'
    mail_to '"bo\b\+lists"@example.com'
    mails bob 2
    [ "$(ls mail)" = bob ]
}

@test "RFC 5321 4.4: plus: Received and the log keep the path as it was sent" {
    serve
    dialogue <<'OVER'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 ...
C: RCPT TO:<bob+lists@example.com>
S: 250 ...
C: DATA
S: 354 ...
C: .
S: 250 ...
C: QUIT
S: 221 ...
OVER
    [[ $(field Received mail/bob/new/*) == *" for <bob+lists@example.com>; "* ]]
    grep -F 'to=<bob+lists@example.com>' log
}

@test "plus: two details of one mailbox, one copy" {
    mail_to bob+a@example.com bob+b@example.com bob@localhost
    mails bob 1
    [ "$(ls mail)" = bob ]
}

@test "plus: with -s it is bob who must have a mailbox" {
    mkdir -p mail/bob
    mail_to -s bob+lists@example.com | grep '^250 2\.1\.5 '
    mail_to -s carol+lists@example.com | grep '^550 5\.1\.1 '
    mails bob 1
}

@test "RFC 5321 4.5.1: plus: postmaster with a detail is postmaster, with -s too" {
    mkdir mail
    mail_to -s postmaster+loops@example.com | grep '^250 2\.1\.5 '
    mails postmaster 1
}

@test "plus: a detail may be longer than a file's name" {
    detail=$(printf '%%%.0s' {1..200}) # each would become %25
    mail_to "bob+$detail@example.com" | grep '^250 2\.1\.5 '
    mails bob 1
}

@test "plus: the sender's + is none of our business" {
    serve
    dialogue <<'OVER'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<bounces+bob=example.com@lists.example>
S: 250 ...
C: RCPT TO:<bob+lists@example.com>
S: 250 ...
C: DATA
S: 354 ...
C: .
S: 250 ...
C: QUIT
S: 221 ...
OVER
    [ "$(head -n 1 mail/bob/new/*)" = 'Return-Path: <bounces+bob=example.com@lists.example>' ]
}
