#!/usr/bin/env bats
# Exercise alias: mail/.aliases says who stands behind a name.

SMTPD=${SMTPD:-$BATS_TEST_DIRNAME/../../../smtpd}
load ../../helpers

aliases() { mkdir -p mail && cat >mail/.aliases; }

# One message to the paths given, over smtpd -i; the replies are in out.
mail_to() { # [-s] PATH...
    local options=()
    if [ "$1" = -s ]; then options=(-s) && shift; fi
    {
        printf '%s\r\n' 'EHLO client.example' 'MAIL FROM:<alice@example.org>'
        printf 'RCPT TO:<%s>\r\n' "$@"
        printf '%s\r\n' DATA 'Subject: x' '' text . QUIT
    } >.asked
    talk "${options[@]}" <.asked >out
}

# Who has a mailbox now, on one line.
mailboxes() { find mail -mindepth 1 -maxdepth 1 -type d | sed 's|^mail/||' | sort | xargs; }

@test "RFC 5321 3.9.1: alias: mail goes to each mailbox that it stands for" {
    aliases <<<'info: bob, carol'
    mail_to info@example.com
    grep '^250 2\.1\.5 ' out
    [ "$(mailboxes)" = 'bob carol' ]
    cmp mail/bob/new/* mail/carol/new/*
}

@test "RFC 5321 3.9.1: alias: the envelope's sender and the message stay as they are" {
    aliases <<<'info: bob'
    mail_to info@example.com
    [ "$(head -n 1 mail/bob/new/*)" = 'Return-Path: <alice@example.org>' ]
    [ "$(body mail/bob/new/*)" = text ]
}

@test "RFC 5321 7.2: alias: who stands behind it is not told" {
    aliases <<<'info: bob, carol'
    mail_to info@example.com
    run -1 grep -E 'bob|carol' out mail/bob/new/*
}

@test "RFC 5321 4.4: alias: one that stands for one mailbox is in Received as it was sent" {
    aliases <<<'info: bob'
    mail_to info@example.com
    [[ $(field Received mail/bob/new/*) == *" for <info@example.com>; "* ]]
}

@test "alias: a name that is none is a mailbox, as ever" {
    aliases <<<'info: bob, carol'
    mail_to dave@example.com
    [ "$(mailboxes)" = dave ]
}

@test "alias: without a file, or with an empty one, nothing changes" {
    mail_to info@example.com
    aliases </dev/null
    mail_to info@example.com
    mails info 2
}

@test "alias: comments, empty lines, blanks, TABs and CRLF are let pass" {
    printf '# who is who\n\n  \t\r\n\tinfo \t:\tbob ,carol\t , dave \r\n# info: eve\n' | aliases
    mail_to info@example.com
    [ "$(mailboxes)" = 'bob carol dave' ]
}

@test "alias: a last line without its line end counts" {
    printf 'sales: eve\ninfo: bob' | aliases
    mail_to info@example.com
    [ "$(mailboxes)" = bob ]
}

@test "RFC 5321 2.4: alias: in any case, on both sides, quoted or not" {
    aliases <<<'Info: "Bob", "Carol Smith"'
    mail_to 'INFO@example.com' '"inf\o"@example.com'
    [ "$(mailboxes)" = 'bob carol%20smith' ]
    mails bob 1
}

@test "alias: who is named twice gets one copy" {
    aliases <<'OVER'
info: bob, carol, bob
sales: carol, dave
OVER
    mail_to info@example.com bob@example.com sales@example.com
    [ "$(mailboxes)" = 'bob carol dave' ]
    mails bob 1 carol 1 dave 1
}

@test "alias: what it stands for is no alias, so a loop is none" {
    aliases <<'OVER'
bob: bob, carol
carol: dave
dave: bob
OVER
    mail_to bob@example.com
    [ "$(mailboxes)" = 'bob carol' ]
    mail_to dave@localhost
    mails bob 2 carol 1
}

@test "RFC 5321 4.5.1: alias: postmaster can be one" {
    aliases <<<'postmaster: bob'
    mail_to postmaster
    mail_to -s Postmaster@example.com
    [ "$(mailboxes)" = bob ]
    mails bob 2
}

@test "alias: with -s an alias needs no mailbox of its name" {
    aliases <<<'info: bob'
    mkdir mail/bob
    mail_to -s info@example.com
    grep '^250 2\.1\.5 ' out
    mails bob 1
    mail_to -s sales@example.com
    grep '^550 5\.1\.1 ' out
}

@test "alias: not for a domain that is not ours" {
    aliases <<<'info: bob'
    mail_to info@elsewhere.example
    grep '^550 5\.7\.1 ' out
}

@test "alias: a change is heeded at the next RCPT" {
    aliases <<<'info: bob'
    serve
    dialogue <<'OVER'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 ...
C: RCPT TO:<info@localhost>
S: 250 ...
$: echo 'info: carol' >mail/.aliases
C: RCPT TO:<info@localhost>
S: 250 ...
C: DATA
S: 354 ...
C: .
S: 250 ...
C: QUIT
S: 221 ...
OVER
    [ "$(mailboxes)" = 'bob carol' ]
}

@test "RFC 5321 4.2.1: alias: a fault in the file is ours: 451 4.3.5, and a line in the log" {
    for line in 'info' 'info bob' 'info:' 'info: ,' 'info: bob,' 'info: bob carol' ': bob' \
        'info: bob@example.com' 'info: "bob' 'info: ""' 'info: .bob' \
        "info: $(printf 'x%.0s' {1..300})" "info: $(printf 'bob, %.0s' {1..5000})"; do
        printf '%s\n' "$line" | aliases
        : >log
        mail_to info@example.com
        grep '^451 4\.3\.5 ' out
        grep 'error: .*aliases' log
        [ -z "$(mailboxes)" ]
    done
}

@test "alias: a file that can't be read: 451 4.3.5" {
    mkdir -p mail/.aliases
    mail_to info@example.com
    grep '^451 4\.3\.5 ' out
}

@test "RFC 5321 4.5.3.1.10: alias: it is taken whole or not at all" {
    aliases <<<"info: $(printf 'u%d, ' {1..59}) u60"
    serve
    dialogue <<'OVER'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 ...
C: RCPT TO:<info@localhost>
S: 250 ...
$: printf '%s\n' "more: $(printf 'v%d, ' {1..40}) v41" "last: $(printf 'w%d, ' {1..39}) w40" >mail/.aliases
C: RCPT TO:<more@localhost>
S: 452 4.5.3 ...
C: RCPT TO:<last@localhost>
S: 250 ...
C: DATA
S: 354 ...
C: .
S: 250 ...
C: QUIT
S: 221 ...
OVER
    [ "$(mailboxes | wc -w)" -eq 100 ]
    mails v1 0
}

@test "alias: no address can name the file" {
    aliases <<<'info: bob'
    mail_to .aliases@example.com '".aliases"@example.com'
    [ "$(cat mail/.aliases)" = 'info: bob' ]
    [ "$(mailboxes)" = %2Ealiases ]
}
