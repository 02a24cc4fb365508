#!/usr/bin/env bats
# RSET, NOOP, HELP and VRFY: good at any time, and, but for RSET, without an
# effect on anything.

# shellcheck disable=SC2034
load helpers

# The text that HELP answers.
help_text() { # [VERB]
    printf '%s\r\n' "HELP${1:+ $1}" | talk | sed 1d | tr -d '\r'
}

@test "RFC 5321 4.1.1.5: RSET forgets sender and recipients, and gets 250 2.0.0" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<first@b.example>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: RSET
S: 250 2.0.0 ...
C: DATA
S: 503 5.5.1 ...
C: RCPT TO:<bob@localhost>
S: 503 5.5.1 ...
C: MAIL FROM:<second@b.example>
S: 250 2.1.0 ...
C: DATA
S: 503 5.5.1 ...
C: RCPT TO:<carol@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
END
    [ "$(ls mail)" = carol ]
    [ "$(head -n 1 mail/carol/new/*)" = 'Return-Path: <second@b.example>' ]
}

@test "RFC 5321 4.1.1.5: RSET is good at any time, and never ends the session" {
    [ "$(answers RSET RSET 'HELO me' RSET 'MAIL FROM:<>' RSET 'MAIL FROM:<>' \
        'RCPT TO:<x>' RSET RSET rset 'RSET ' QUIT)" = \
        '250 2.0.0 250 2.0.0 250 250 2.0.0 250 2.1.0 250 2.0.0 250 2.1.0 501 5.1.3 250 2.0.0 250 2.0.0 250 2.0.0 250 2.0.0 221 2.0.0' ]
}

@test "RFC 5321 4.1.1.5: after RSET no new EHLO is needed, nor its extensions lost" {
    printf '%s\r\n' 'EHLO client.example' 'MAIL FROM:<>' RSET 'MAIL FROM:<> SIZE=5' \
        'RCPT TO:<bob@localhost>' DATA . | talk | tail -n 1 | grep '^250 2.0.0 '
    [[ $(field Received mail/bob/new/*) == 'Received: from client.example'*' with ESMTP '* ]]
}

@test "RFC 5321 4.3.2: RSET with an argument gets 501 5.5.4, and resets nothing" {
    [ "$(answers 'RSET x' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' 'RSET now' DATA .)" = \
        '501 5.5.4 250 250 2.1.0 250 2.1.5 501 5.5.4 354 250 2.0.0' ]
}

@test "RFC 5321 4.1.1.9: NOOP does nothing and gets 250 2.0.0, whatever follows it" {
    serve
    dialogue <<'END'
S: 220 ...
C: NOOP
S: 250 2.0.0 ...
C: noop
S: 250 2.0.0 ...
C: NOOP one two <three> "four
S: 250 2.0.0 ...
C: NOOP QUIT
S: 250 2.0.0 ...
C: NOOP  
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
}

@test "RFC 5321 4.3.2: a command of 511 octets is not too long" {
    [ "$(answers "NOOP $(printf 'x%.0s' {1..504})" "VRFY $(printf 'x%.0s' {1..504})")" = \
        '250 2.0.0 252 2.0.0' ]
}

@test "RFC 5321 7.3: VRFY gets 252 2.0.0 for whoever is named, known or not" {
    mkdir -p mail/bob
    options=(-s)
    replies=$(printf '%s\r\n' 'VRFY bob' 'VRFY carol' 'VRFY <bob@localhost>' \
        'VRFY bob@elsewhere.example' 'VRFY postmaster' 'VRFY Joe User' 'VRFY "Joe User"' \
        'VRFY bob@@' 'vrfy x' | talk -s | sed 1d)
    # The same words each time: they don't tell them apart either.
    [ "$(wc -l <<<"$replies")" -eq 9 ]
    [ "$(sort -u <<<"$replies" | wc -l)" -eq 1 ]
    [[ $replies == "252 2.0.0 "* ]]
}

@test "RFC 5321 4.1.1.6: VRFY without an argument gets 501 5.5.4" {
    [ "$(answers VRFY 'VRFY ' 'VRFY x')" = '501 5.5.4 501 5.5.4 252 2.0.0' ]
}

@test "RFC 6531 3.7.4.2: VRFY takes a name in UTF-8, and answers in ASCII" {
    # What is one reply line more than the greeting, and printable?
    printf 'VRFY J\xC3\xBCrgen\r\nVRFY <J\xC3\xBCrgen@b\xC3\xBC.example> SMTPUTF8\r\n' >.asked
    talk <.asked >out
    [ "$(sed 1d out | cut -c 1-9 | xargs)" = '252 2.0.0 252 2.0.0' ]
    run -1 env LC_ALL=C grep -q $'[^ -~\r]' out
}

@test "RFC 5321 4.1.1.8: HELP lists what can be said now, before HELO" {
    text=$(help_text)
    for verb in EHLO HELO RSET VRFY HELP NOOP QUIT; do
        grep -qE "^214[ -]2\.0\.0 (.*[^A-Z])?$verb( |$)" <<<"$text"
    done
    # And nothing that would get 503 or 502.
    for verb in MAIL RCPT DATA EXPN STARTTLS; do
        run -1 grep -qE "^214-2\.0\.0 +$verb( |$)" <<<"$text"
    done
}

@test "RFC 5321 4.1.1.8: HELP lists what can be said now, step by step" {
    printf '%s\r\n' 'HELO me' HELP 'MAIL FROM:<>' HELP 'RCPT TO:<bob@localhost>' HELP |
        talk | tr -d '\r' >out
    # The verbs that each of the three lists, of those that come and go.
    listed=$(awk '/^250 2\.1/ { print "" } /^214-2\.0\.0 +(MAIL|RCPT|DATA)/ { printf "%s ", $2 }
        END { print "" }' out)
    [ "$listed" = $'MAIL \nRCPT \nRCPT DATA ' ]
}

@test "RFC 5321 4.1.1.8: HELP and a verb: its syntax, its meaning and its section" {
    while IFS='|' read -r verb syntax section; do
        text=$(help_text "$verb")
        grep -qF " $verb${syntax:+ $syntax}" <<<"$text"
        grep -qF "$section" <<<"$text"
        [ "$(wc -l <<<"$text")" -ge 3 ]
        run -1 grep -vE '^214[ -]2\.0\.0 .' <<<"$text"
    done <<'END'
EHLO|name|RFC 5321 4.1.1.1
HELO|name|RFC 5321 4.1.1.1
MAIL|FROM:<|RFC 5321 4.1.1.2
RCPT|TO:<|RFC 5321 4.1.1.3
DATA||RFC 5321 4.1.1.4
RSET||RFC 5321 4.1.1.5
VRFY|string|RFC 5321 4.1.1.6
HELP|[verb]|RFC 5321 4.1.1.8
NOOP|[string]|RFC 5321 4.1.1.9
QUIT||RFC 5321 4.1.1.10
END
    [ "$(help_text dAtA)" = "$(help_text DATA)" ]
}

@test "RFC 5321 4.2.1: HELP and what is no verb gets 504 5.5.4" {
    [ "$(answers 'HELP FOOBAR' 'HELP MAIL RCPT' 'HELP MAI' 'HELP MAILS' 'HELP 4.1.1' 'HELP <>')" = \
        "$(yes '504 5.5.4' | head -n 6 | xargs)" ]
}

@test "RFC 5321 4.2.1: HELP and a verb that is not offered gets 504 5.5.4, AUTH without -a too" {
    [ "$(answers 'HELP '{EXPN,TURN,SEND,SOML,SAML,ETRN,STARTTLS,BDAT,AUTH,expn})" = \
        "$(yes '504 5.5.4' | head -n 10 | xargs)" ]
}

@test "RFC 5321 4.2.1: HELP's lines all have one code, and only the last a space after it" {
    for verb in '' EHLO QUIT MAIL; do
        text=$(help_text "$verb")
        [ "$(grep -c '^214 2\.0\.0 ' <<<"$text")" -eq 1 ]
        [[ $(tail -n 1 <<<"$text") == '214 '* ]]
        [ "$(grep -c '^214-2\.0\.0 ' <<<"$text")" -eq $(($(wc -l <<<"$text") - 1)) ]
        [ "$(wc -l <<<"$text")" -ge 2 ]
    done
}

@test "RFC 5321 4.1.4: NOOP, HELP, VRFY and RSET are good before EHLO" {
    serve
    dialogue <<'END'
S: 220 ...
C: NOOP
S: 250 2.0.0 ...
C: HELP QUIT
S: 214-2.0.0 ...
S: 214-2.0.0 ...
S: 214 2.0.0 ...
C: VRFY bob
S: 252 2.0.0 ...
C: RSET
S: 250 2.0.0 ...
C: MAIL FROM:<>
S: 503 5.5.1 ...
END
}

@test "RFC 5321 4.1.1: NOOP, HELP and VRFY leave the buffers alone" {
    between=(NOOP 'NOOP x' HELP 'HELP MAIL' 'HELP x' 'VRFY bob' VRFY 'EXPN x')
    printf '%s\r\n' 'EHLO me' "${between[@]}" 'MAIL FROM:<a@b.example> SMTPUTF8' \
        "${between[@]}" 'RCPT TO:<bob@localhost>' "${between[@]}" \
        'RCPT TO:<carol@localhost>' "${between[@]}" DATA . >.asked
    talk <.asked >out
    [[ $(tail -n 1 out) == '250 2.0.0 '* ]]
    mails bob 1 carol 1
    [ "$(head -n 1 mail/bob/new/*)" = 'Return-Path: <a@b.example>' ]
    [[ $(field Received mail/bob/new/*) == *' with UTF8SMTP '* ]]
}
