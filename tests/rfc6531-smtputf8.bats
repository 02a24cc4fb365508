#!/usr/bin/env bats
# Addresses in UTF-8. Which octets make one is tested in 4.1.2-addresses.bats.

# shellcheck disable=SC2034
load helpers

before=('EHLO me')

@test "RFC 6531 3.1: SMTPUTF8 is announced, without parameters, and 8BITMIME with it" {
    printf 'EHLO me\r\n' | talk | tr -d '\r' >out
    grep -qE '^250[ -]SMTPUTF8$' out
    grep -qE '^250[ -]8BITMIME$' out
}

@test "RFC 6531 3.4: with SMTPUTF8 both paths may be in UTF-8" {
    serve
    dialogue <<'END'
S: 220 ...
C: EHLO me
S*: 250 ...
C: MAIL FROM:<jürgen@bücher.example> SMTPUTF8
S: 250 2.1.0 ...
C: RCPT TO:<用户@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: From: Jürgen <jürgen@bücher.example>
C: Subject: größer
C:
C: Grüße
C: .
S: 250 2.0.0 ...
END
    # The mailbox is the octets, each as %XX.
    [ "$(ls mail)" = %E7%94%A8%E6%88%B7 ]
    file=$(message %E7%94%A8%E6%88%B7)
    [ "$(head -n 1 "$file")" = 'Return-Path: <jürgen@bücher.example>' ]
    [[ $(field Received "$file") == *' with UTF8SMTP '*'for <用户@localhost>;'* ]]
    [ "$(tail -n 4 "$file")" = $'From: Jürgen <jürgen@bücher.example>\nSubject: größer\n\nGrüße' ]
    # In the log each such octet is escaped.
    grep -q 'from=<j.*rgen@b' log
    run -1 env LC_ALL=C grep -q '[^ -~]' log
}

@test "RFC 6531 3.4: without SMTPUTF8 either path gets 553 5.6.7, and nothing changes" {
    serve
    dialogue <<'END'
S: 220 ...
C: EHLO me
S*: 250 ...
C: MAIL FROM:<jürgen@b.example>
S: 553 5.6.7 ...
C: MAIL FROM:<jürgen@b.example> SIZE=100 BODY=8BITMIME
S: 553 5.6.7 ...
C: RCPT TO:<bob@localhost>
S: 503 5.5.1 ...
C: MAIL FROM:<carol@b.example>
S: 250 2.1.0 ...
C: RCPT TO:<jürgen@localhost>
S: 553 5.6.7 ...
C: RCPT TO:<bob@localhöst>
S: 553 5.6.7 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
END
    [ "$(ls mail)" = bob ]
    [[ $(field Received mail/bob/new/*) == *' with ESMTP '* ]]
}

@test "RFC 6531 3.4: SMTPUTF8 holds for its own transaction, not for the next" {
    [ "$(answers $'MAIL FROM:<\xC3\xA9@b.example> SMTPUTF8' $'RCPT TO:<\xC3\xA9@localhost>' DATA . \
        'MAIL FROM:<>' $'RCPT TO:<\xC3\xA9@localhost>' RSET $'MAIL FROM:<\xC3\xA9@b.example>')" = \
        '250 2.1.0 250 2.1.5 354 250 2.0.0 250 2.1.0 553 5.6.7 250 2.0.0 553 5.6.7' ]
}

@test "RFC 6531 3.4: SMTPUTF8 takes no value, and may be said twice" {
    [ "$(answers 'MAIL FROM:<> SMTPUTF8=1' 'MAIL FROM:<> SMTPUTF8=' 'MAIL FROM:<> SMTPUTF8 SMTPUTF8=1' \
        $'MAIL FROM:<\xC3\xA9@b.example> SMTPUTF8 smtputf8' RSET 'MAIL FROM:<> smtputf8')" = \
        '501 5.5.4 501 5.5.4 501 5.5.4 250 2.1.0 250 2.0.0 250 2.1.0' ]
}

@test "RFC 6531 3.2: SMTPUTF8 belongs to EHLO: after HELO it is unknown" {
    printf '%b\r\n' 'HELO me' 'MAIL FROM:<> SMTPUTF8' 'MAIL FROM:<\xC3\xA9@b.example>' \
        'MAIL FROM:<>' 'RCPT TO:<\xC3\xA9@localhost>' | talk | sed 1,2d | cut -c 1-9 >out
    [ "$(xargs <out)" = '555 5.5.4 553 5.6.7 250 2.1.0 553 5.6.7' ]
}

@test "RFC 6531 3.4: with SMTPUTF8 ASCII addresses do as well, and it is still UTF8SMTP" {
    [ "$(answers 'MAIL FROM:<carol@b.example> SMTPUTF8' 'RCPT TO:<bob@localhost>' DATA \
        $'Subject: \xC3\xA9\r\n.')" = '250 2.1.0 250 2.1.5 354 250 2.0.0' ]
    # RFC 6531 4.3 registers the name.
    [[ $(field Received mail/bob/new/*) == *' with UTF8SMTP '* ]]
}

@test "RFC 6531 3.3: a domain in UTF-8 is served if -d says so, else it is not ours" {
    options=(-d $'b\xC3\xBCcher.example')
    [ "$(answers 'MAIL FROM:<> SMTPUTF8' $'RCPT TO:<bob@b\xC3\xBCcher.example>' \
        $'RCPT TO:<bob@B\xC3\xBCcher.EXAMPLE>' $'RCPT TO:<bob@b\xC3\xB6cher.example>')" = \
        '250 2.1.0 250 2.1.5 250 2.1.5 550 5.7.1' ]
    options=(-d example.com)
    [ "$(answers 'MAIL FROM:<> SMTPUTF8' $'RCPT TO:<bob@b\xC3\xBCcher.example>')" = \
        '250 2.1.0 550 5.7.1' ]
}

@test "RFC 6531 3.3: letters outside ASCII keep their case, and are other mailboxes" {
    [ "$(answers 'MAIL FROM:<> SMTPUTF8' $'RCPT TO:<J\xC3\x9CRGEN@localhost>' \
        $'RCPT TO:<j\xC3\xBCrgen@localhost>' $'RCPT TO:<"J\xC3\xBCrgen"@localhost>' DATA .)" = \
        '250 2.1.0 250 2.1.5 250 2.1.5 250 2.1.5 354 250 2.0.0' ]
    # u with diaeresis, upper and lower: two mailboxes; ASCII is lower-cased.
    [ "$(cd mail && echo *)" = 'j%C3%9Crgen j%C3%BCrgen' ]
    mails j%C3%BCrgen 1
}

@test "RFC 6531 3.3: UTF-8 anywhere but in an address is refused" {
    # RFC 5321 2.4: commands and replies are ASCII.
    [ "$(answers $'NOOP \xC3\xA9' $'HELP \xC3\xA9' $'\xC3\xA9' $'RSET \xC3\xA9' $'QUIT \xC3\xA9' \
        $'DATA \xC3\xA9' $'EHLO \xC3\xA9' $'MAIL\xC3\xA9 FROM:<>')" = \
        "$(yes '500 5.5.2' | head -n 8 | xargs)" ]
    # Where an address may come, it is judged with the argument.
    [ "$(answers $'MAIL \xC3\xA9FROM:<a@b.example> SMTPUTF8' \
        $'MAIL FROM:<a@b.example> SMTPUTF8 \xC3\xA9' $'MAIL FROM:<> SIZE=\xC3\xA9' \
        $'MAIL FROM:\xC3\xA9<a@b.example> SMTPUTF8')" = '501 5.5.4 555 5.5.4 501 5.5.4 501 5.1.7' ]
}

@test "RFC 6531 3.7.4.1: no reply has UTF-8, SMTPUTF8 or not" {
    printf '%b\r\n' 'EHLO me' 'MAIL FROM:<\xC3\xA9@b.example> SMTPUTF8' 'RCPT TO:<\xC3\xA9@b.example>' \
        'RCPT TO:<\xC3\xA9@localhost> X' 'RCPT TO:<\xC3\xA9' 'RCPT TO:<\xC3\xA9@localhost>' \
        'VRFY \xC3\xA9 SMTPUTF8' DATA '\xC3\xA9: x\r\n.' QUIT >.asked
    talk <.asked >out
    [ "$(grep -c ' 2.1.5 \| 2.0.0 ' out)" -eq 4 ]
    run -1 env LC_ALL=C grep -q $'[^ -~\r]' out
}
