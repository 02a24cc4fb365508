#!/usr/bin/env bats
# Addresses in UTF-8. Which octets make one is tested in 4.1.2-addresses.bats.

# shellcheck disable=SC2034,SC2154
load helpers

before=('EHLO me')

@test "RFC 6531 3.1: SMTPUTF8 is announced, without parameters, and 8BITMIME with it" {
    ask 'EHLO me'
    holds replies $'\n250[ -]SMTPUTF8\r\n'
    holds replies $'\n250[ -]8BITMIME\r\n'
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
    mailboxes %E7%94%A8%E6%88%B7
    look mail/%E7%94%A8%E6%88%B7/new/*
    [ "$path" = '<jürgen@bücher.example>' ]
    [[ $received == *' with UTF8SMTP '*'for <用户@localhost>;'* ]]
    [ "$rest" = $'From: Jürgen <jürgen@bücher.example>\nSubject: größer\n\nGrüße\n' ]
    # In the log each such octet is escaped.
    holds log 'from=<j*rgen@b'
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
    mailboxes bob
    look mail/bob/new/*
    [[ $received == *' with ESMTP '* ]]
}

@test "RFC 6531 3.4: SMTPUTF8 holds for its own transaction, not for the next" {
    gets '250 2.1.0 250 2.1.5 354 250 2.0.0 250 2.1.0 553 5.6.7 250 2.0.0 553 5.6.7' \
        $'MAIL FROM:<\xC3\xA9@b.example> SMTPUTF8' $'RCPT TO:<\xC3\xA9@localhost>' DATA . \
        'MAIL FROM:<>' $'RCPT TO:<\xC3\xA9@localhost>' RSET $'MAIL FROM:<\xC3\xA9@b.example>'
}

@test "RFC 6531 3.4: SMTPUTF8 takes no value, and may be said twice" {
    gets '501 5.5.4 501 5.5.4 501 5.5.4 250 2.1.0 250 2.0.0 250 2.1.0' \
        'MAIL FROM:<> SMTPUTF8=1' 'MAIL FROM:<> SMTPUTF8=' 'MAIL FROM:<> SMTPUTF8 SMTPUTF8=1' \
        $'MAIL FROM:<\xC3\xA9@b.example> SMTPUTF8 smtputf8' RSET 'MAIL FROM:<> smtputf8'
}

@test "RFC 6531 3.2: SMTPUTF8 belongs to EHLO: after HELO it is unknown" {
    before=('HELO me')
    gets '555 5.5.4 553 5.6.7 250 2.1.0 553 5.6.7' 'MAIL FROM:<> SMTPUTF8' \
        $'MAIL FROM:<\xC3\xA9@b.example>' 'MAIL FROM:<>' $'RCPT TO:<\xC3\xA9@localhost>'
}

@test "RFC 6531 3.4: with SMTPUTF8 ASCII addresses do as well, and it is still UTF8SMTP" {
    gets '250 2.1.0 250 2.1.5 354 250 2.0.0' \
        'MAIL FROM:<carol@b.example> SMTPUTF8' 'RCPT TO:<bob@localhost>' DATA \
        $'Subject: \xC3\xA9\r\n.'
    # RFC 6531 4.3 registers the name.
    look mail/bob/new/*
    [[ $received == *' with UTF8SMTP '* ]]
}

@test "RFC 6531 3.3: a domain in UTF-8 is served if -d says so, else it is not ours" {
    options=(-d $'b\xC3\xBCcher.example')
    gets '250 2.1.0 250 2.1.5 250 2.1.5 550 5.7.1' \
        'MAIL FROM:<> SMTPUTF8' $'RCPT TO:<bob@b\xC3\xBCcher.example>' \
        $'RCPT TO:<bob@B\xC3\xBCcher.EXAMPLE>' $'RCPT TO:<bob@b\xC3\xB6cher.example>'
    options=(-d example.com)
    gets '250 2.1.0 550 5.7.1' 'MAIL FROM:<> SMTPUTF8' $'RCPT TO:<bob@b\xC3\xBCcher.example>'
}

@test "RFC 6531 3.3: letters outside ASCII keep their case, and are other mailboxes" {
    gets '250 2.1.0 250 2.1.5 250 2.1.5 250 2.1.5 354 250 2.0.0' \
        'MAIL FROM:<> SMTPUTF8' $'RCPT TO:<J\xC3\x9CRGEN@localhost>' \
        $'RCPT TO:<j\xC3\xBCrgen@localhost>' $'RCPT TO:<"J\xC3\xBCrgen"@localhost>' DATA .
    # u with diaeresis, upper and lower: two mailboxes; ASCII is lower-cased.
    mailboxes j%C3%9Crgen j%C3%BCrgen
    mails j%C3%BCrgen 1
}

@test "RFC 6531 3.3: UTF-8 anywhere but in an address is refused" {
    # RFC 5321 2.4: commands and replies are ASCII.
    table <<END
500 5.5.2|NOOP é
500 5.5.2|HELP é
500 5.5.2|é
500 5.5.2|RSET é
500 5.5.2|QUIT é
500 5.5.2|DATA é
500 5.5.2|EHLO é
500 5.5.2|MAILé FROM:<>
END
    # Where an address may come, it is judged with the argument.
    gets '501 5.5.4 555 5.5.4 501 5.5.4 501 5.1.7' $'MAIL \xC3\xA9FROM:<a@b.example> SMTPUTF8' \
        $'MAIL FROM:<a@b.example> SMTPUTF8 \xC3\xA9' $'MAIL FROM:<> SIZE=\xC3\xA9' \
        $'MAIL FROM:\xC3\xA9<a@b.example> SMTPUTF8'
}

@test "RFC 6531 3.7.4.1: no reply has UTF-8, SMTPUTF8 or not" {
    gets '250 2.1.0 550 5.7.1 555 5.5.4 501 5.1.3 250 2.1.5 252 2.0.0 354 250 2.0.0 221 2.0.0' \
        $'MAIL FROM:<\xC3\xA9@b.example> SMTPUTF8' $'RCPT TO:<\xC3\xA9@b.example>' \
        $'RCPT TO:<\xC3\xA9@localhost> X' $'RCPT TO:<\xC3\xA9' $'RCPT TO:<\xC3\xA9@localhost>' \
        $'VRFY \xC3\xA9 SMTPUTF8' DATA $'\xC3\xA9: x' . QUIT
    LC_ALL=C
    lacks replies $'[^ -~\r\n]'
}
