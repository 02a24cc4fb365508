#!/usr/bin/env bats
# Exercise lmtp: -L speaks LMTP, which is SMTP with one reply for each recipient.

SMTPD=${SMTPD:-$BATS_TEST_DIRNAME/../../../smtpd}
load ../../helpers

LETTER='S: 220 mail.example.com LMTP...
C: LHLO mta.example.com
S*: 250-mail.example.com ...
C: MAIL FROM:<alice@example.org>
S: 250 2.1.0 ...'

BYE='C: QUIT
S: 221 2.0.0 ...'

# The codes of the replies to these commands, the greeting's left out.
codes() { # COMMAND...
    printf '%s\r\n' "$@" | talk "${OPTIONS[@]}" | sed 1d | cut -c 1-9 | xargs
}

OPTIONS=(-L)

@test "lmtp: LHLO is answered as EHLO was" {
    serve -L
    dialogue <<OVER
$LETTER
C: RCPT TO:<bob@example.com>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: text
C: .
S: 250 2.0.0 ...
$BYE
OVER
    [ "$(tail -n 1 mail/bob/new/*)" = text ]
}

@test "lmtp: HELO and EHLO are no commands; without -L, LHLO is none" {
    [ "$(codes 'HELO me' 'EHLO me' 'MAIL FROM:<>')" = '500 5.5.1 500 5.5.1 503 5.5.1' ]
    OPTIONS=()
    [ "$(codes 'LHLO me' 'MAIL FROM:<>' NOOP)" = '500 5.5.1 503 5.5.1 250 2.0.0' ]
}

@test "RFC 5321 4.1.4: lmtp: before LHLO MAIL gets 503, which names LHLO" {
    printf 'MAIL FROM:<>\r\n' | talk -L | grep '^503 5\.5\.1 .*LHLO'
}

@test "RFC 5321 4.1.1.8: lmtp: HELP names what can be said here, and that only" {
    printf 'HELP\r\n' >.asked
    talk -L <.asked >out
    grep '^214-2\.0\.0 LHLO ' out
    run -1 grep -E '^214-2\.0\.0 (EHLO|HELO) ' out
    printf 'HELP\r\n' >.asked
    talk <.asked >out
    run -1 grep '^214-2\.0\.0 LHLO ' out
}

@test "RFC 5321 4.1.1.1: lmtp: LHLO's argument is EHLO's; it clears the transaction" {
    [ "$(codes LHLO 'LHLO (me)')" = '501 5.5.4 501 5.5.4' ]
    codes 'LHLO a' 'MAIL FROM:<>' 'RCPT TO:<bob@example.com>' 'LHLO b' DATA | grep '503 5\.5\.1$'
}

@test "lmtp: after the dot, one reply for each recipient" {
    serve -L
    dialogue <<OVER
$LETTER
C: RCPT TO:<bob@example.com>
S: 250 2.1.5 ...
C: RCPT TO:<carol@elsewhere.example>
S: 550 5.7.1 ...
C: RCPT TO:<dave@example.com>
S: 250 2.1.5 ...
C: RCPT TO:<erin@example.com>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: text
C: .
S: 250 2.0.0 ...
S: 250 2.0.0 ...
S: 250 2.0.0 ...
$BYE
OVER
    mails bob 1 dave 1 erin 1
}

@test "lmtp: without -L there is one reply, as before" {
    printf '%s\r\n' 'EHLO me' 'MAIL FROM:<>' 'RCPT TO:<bob@example.com>' \
        'RCPT TO:<carol@example.com>' DATA . | talk | sed '1,/^354/d' | wc -l | grep -w 1
}

@test "lmtp: a mailbox named twice gets one copy, and two replies" {
    serve -L
    dialogue <<OVER
$LETTER
C: RCPT TO:<bob@example.com>
S: 250 2.1.5 ...
C: RCPT TO:<carol@example.com>
S: 250 2.1.5 ...
C: RCPT TO:<BOB@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
S: 250 2.0.0 ...
S: 250 2.0.0 ...
$BYE
OVER
    mails bob 1 carol 1
}

@test "lmtp: one recipient's trouble is his alone, and the order is RCPT's" {
    mkdir mail
    : >mail/carol # where his mailbox should be
    for users in 'carol bob dave' 'bob carol dave' 'bob dave carol'; do
        rm -rf mail/bob mail/dave
        {
            printf '%s\r\n' 'LHLO me' 'MAIL FROM:<>'
            for user in $users; do printf 'RCPT TO:<%s@example.com>\r\n' "$user"; done
            printf '%s\r\n' DATA text .
        } | talk -L | sed '1,/^354/d' | cut -c 1-9 >out
        wanted=
        for user in $users; do
            if [ "$user" = carol ]; then wanted+=' 451 4.3.0'; else wanted+=' 250 2.0.0'; fi
        done
        [ " $(xargs <out)" = "$wanted" ]
        mails bob 1 dave 1
        [ "$(find mail -type f -path '*/tmp/*' | wc -l)" -eq 0 ]
    done
}

@test "lmtp: trouble with all of them: 451 for each, and nothing is left" {
    mkdir -p mail
    : >mail/bob
    : >mail/carol
    codes 'LHLO me' 'MAIL FROM:<>' 'RCPT TO:<bob@example.com>' 'RCPT TO:<carol@example.com>' \
        DATA text . 'MAIL FROM:<>' | grep '451 4\.3\.0 451 4\.3\.0 250 2\.1\.0$'
    files mail 2
}

@test "lmtp: a message refused as a whole is refused to each" {
    codes 'LHLO me' 'MAIL FROM:<>' 'RCPT TO:<bob@example.com>' 'RCPT TO:<carol@example.com>' \
        DATA $'a\rb' . NOOP | grep '554 5\.6\.0 554 5\.6\.0 250 2\.0\.0$'
    files mail 0
}

@test "lmtp: DATA without a valid recipient gets 503" {
    [[ $(codes 'LHLO me' 'MAIL FROM:<>' DATA 'RCPT TO:<x@elsewhere.example>' DATA) == \
        *'503 5.5.1 550 5.7.1 503 5.5.1' ]]
}

@test "RFC 5321 4.5.3.1.8: lmtp: 100 RCPTs get 100 replies, also where all name one mailbox" {
    for form in 'u%d' 'bob'; do
        {
            printf '%s\r\n' 'LHLO me' 'MAIL FROM:<>'
            # shellcheck disable=SC2059
            for i in {1..101}; do printf "RCPT TO:<$form@example.com>\r\n" "$i" | sed 1q; done
            printf '%s\r\n' DATA text . QUIT
        } >.asked
        talk -L <.asked >out
        [ "$(grep -c '^250 2\.1\.5 ' out)" -eq 100 ]
        [ "$(grep -c '^452 4\.5\.3 ' out)" -eq 1 ]
        [ "$(sed '1,/^354/d' out | grep -c '^250 2\.0\.0 ')" -eq 100 ]
    done
    mails bob 1
}

@test "lmtp: nothing of one transaction is owed in the next" {
    [[ $(codes 'LHLO me' 'MAIL FROM:<>' 'RCPT TO:<bob@example.com>' 'RCPT TO:<carol@example.com>' \
        RSET 'MAIL FROM:<>' 'RCPT TO:<dave@example.com>' DATA text . NOOP QUIT) == \
        *' 250 2.0.0 250 2.0.0 221 2.0.0' ]]
    [ "$(ls mail)" = dave ]
}

@test "RFC 6531 4.3: lmtp: Received says with LMTP, or UTF8LMTP" {
    codes 'LHLO me' 'MAIL FROM:<>' 'RCPT TO:<bob@example.com>' DATA .
    [[ $(field Received mail/bob/new/*) == *' with LMTP id '* ]]
    codes 'LHLO me' 'MAIL FROM:<> SMTPUTF8' 'RCPT TO:<carol@example.com>' DATA .
    [[ $(field Received mail/carol/new/*) == *' with UTF8LMTP id '* ]]
}

@test "lmtp: not on port 25" {
    run -64 "$SMTPD" -L -p 25 -m mail
}
