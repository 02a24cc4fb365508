#!/usr/bin/env bats
# DATA as a command: when it may be said, what it answers, and that it leaves
# nothing of a transaction to the next. How mail data is read has other files.

# shellcheck disable=SC2034
load helpers

before=('HELO me')

@test "RFC 5321 4.1.1.4: DATA gets 354, the dot alone on its line 250 2.0.0 and the ID" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<carol@b.example>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: Subject: hello
C:
C: Lines are data here, not commands:
C: QUIT
C: RSET
C: DATA
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
    [ "$(body mail/bob/new/*)" = $'Lines are data here, not commands:\nQUIT\nRSET\nDATA' ]
}

@test "RFC 5321 4.1.1.4: the ID of the 250 is in Received and in the log" {
    id=$(printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA . |
        talk | tail -n 1 | tr -d '\r' | awk '{ print $NF }')
    [[ $id =~ ^[A-Za-z0-9.-]{8,}$ ]]
    file=$(message bob)
    [[ $(field Received "$file") == *" id $id"[\ \;]* ]]
    # Where the log tells in which file the message lies.
    grep -F "$id" log | grep -qF "${file##*/}"
}

@test "RFC 3463 2: 354 has no enhanced code" {
    [ "$(answers 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA . | cut -d ' ' -f 5-)" = \
        '354 250 2.0.0' ]
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA . | talk |
        grep '^354' >line
    run -1 grep -qE '^354[ -][0-9]\.[0-9]+\.[0-9]+' line
}

@test "RFC 5321 2.4: data, Data and DATA with white space after it" {
    for verb in data Data 'DATA ' $'dAtA \t'; do
        [ "$(answers 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' "$verb" . | cut -d ' ' -f 5-)" = \
            '354 250 2.0.0' ]
    done
    mails bob 4
}

@test "RFC 5321 4.3.2: DATA with an argument gets 501 5.5.4, and changes nothing" {
    [ "$(answers 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' 'DATA now' 'DATA <>' 'DATA .' DATA .)" = \
        '250 2.1.0 250 2.1.5 501 5.5.4 501 5.5.4 501 5.5.4 354 250 2.0.0' ]
    mails bob 1
}

@test "RFC 5321 4.1.4: DATA before MAIL, or before RCPT, gets 503 5.5.1" {
    [ "$(answers DATA 'MAIL FROM:<>' DATA 'RCPT TO:<bob@localhost>' DATA .)" = \
        '503 5.5.1 250 2.1.0 503 5.5.1 250 2.1.5 354 250 2.0.0' ]
    [[ $(printf 'DATA\r\n' | talk | tail -n 1) == "503 5.5.1 "* ]]
}

@test "RFC 5321 3.3: DATA after no valid recipient gets 503 5.5.1" {
    for bad in '<bob@elsewhere.example>' '<bob' '<bob@localhost> FOO' ''; do
        [[ $(answers 'MAIL FROM:<>' "RCPT TO:$bad" DATA) == *' 5'??' 5.'?.?' 503 5.5.1' ]]
    done
    # It changes nothing: a good one may still come.
    [[ $(answers 'MAIL FROM:<>' 'RCPT TO:<x>' DATA 'RCPT TO:<bob@localhost>' DATA .) == \
        *' 503 5.5.1 250 2.1.5 354 250 2.0.0' ]]
}

@test "RFC 5321 3.3: with one valid recipient among others DATA is taken" {
    [[ $(answers 'MAIL FROM:<>' 'RCPT TO:<x>' 'RCPT TO:<bob@localhost>' 'RCPT TO:<y>' DATA .) == \
        *' 354 250 2.0.0' ]]
    [ "$(find mail -path '*/new/*' | wc -l)" -eq 1 ]
}

@test "RFC 5321 4.1.1.4: after the 250 the buffers are clear" {
    done='250 2.1.0 250 2.1.5 354 250 2.0.0'
    transaction=('MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA .)
    [ "$(answers "${transaction[@]}" DATA)" = "$done 503 5.5.1" ]
    [ "$(answers "${transaction[@]}" 'RCPT TO:<bob@localhost>')" = "$done 503 5.5.1" ]
    # And EHLO need not be said again.
    [ "$(answers "${transaction[@]}" "${transaction[@]}")" = "$done $done" ]
}

@test "RFC 5321 4.1.1.4: after a refused message the buffers are clear too" {
    # A NUL, as one case of many.
    { printf '%s\r\n' 'HELO me' 'MAIL FROM:<first@b.example>' 'RCPT TO:<bob@localhost>' DATA
        printf 'a\0b\r\n.\r\n'
        printf '%s\r\n' DATA 'RCPT TO:<bob@localhost>' 'MAIL FROM:<second@b.example>' \
            'RCPT TO:<carol@localhost>' DATA .; } | talk >out
    [ "$(sed 1,5d out | cut -c 1-9 | sed 's/^354.*/354/' | xargs)" = \
        '554 5.6.0 503 5.5.1 503 5.5.1 250 2.1.0 250 2.1.5 354 250 2.0.0' ]
    [ "$(ls mail)" = carol ] || mails bob 0
    [ "$(head -n 1 mail/carol/new/*)" = 'Return-Path: <second@b.example>' ]
}

@test "RFC 5321 4.5.3.1.9: a message too large gets 552 5.3.4, and the session goes on" {
    { printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA
        printf 'x%.0s' {1..66000}
        printf '%s\r\n' '' . DATA 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA .; } |
        talk -z 65536 | sed 1,5d | cut -c 1-9 | sed 's/^354.*/354/' >out
    [ "$(xargs <out)" = '552 5.3.4 503 5.5.1 250 2.1.0 250 2.1.5 354 250 2.0.0' ]
    mails bob 1
}

@test "RFC 5321 4.1.1.4: nothing of one transaction is in the next" {
    serve
    dialogue <<'END'
S: 220 ...
C: EHLO me
S*: 250 ...
C: MAIL FROM:<first.sender@b.example> SIZE=1000 BODY=8BITMIME SMTPUTF8
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: RCPT TO:<dave@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: Return-Path: <forged@b.example>
C: Subject: first
C:
C: A first body, much longer than the other one is.
C: .
S: 250 2.0.0 ...
C: MAIL FROM:<> SIZE=5
S: 250 2.1.0 ...
C: RCPT TO:<carol@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: Subject: second
C: .
S: 250 2.0.0 ...
END
    mails bob 1 dave 1 carol 1
    second=$(message carol)
    [ "$(head -n 1 "$second")" = 'Return-Path: <>' ]
    [ "$(tail -n 1 "$second")" = 'Subject: second' ]
    # Return-Path, Received, and its own line: no more.
    [ "$(grep -cE '^[A-Z]' "$second")" -eq 3 ]
    [[ $(field Received "$second") == *' with ESMTP '*'for <carol@localhost>;'* ]]
    run -1 grep -qiE 'first|bob|dave|UTF8' "$second"
    # And two messages have two IDs.
    [ "$(field Received "$second")" != "$(field Received mail/bob/new/*)" ]
    [ "$(find mail -path '*/new/*' -exec basename {} \; | sort -u | wc -l)" -eq 3 ]
}

@test "RFC 5321 4.1.1.4: two recipients whose Maildirs are one directory get a file each" {
    # So each has a name of its own in it, and a retry or a reader loses neither.
    mkdir -p mail/bob && ln -s bob mail/dave
    [ "$(answers 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' 'RCPT TO:<carol@localhost>' \
        'RCPT TO:<dave@localhost>' DATA 'Subject: twice' . | cut -d ' ' -f 9-)" = '354 250 2.0.0' ]
    mails bob 2 carol 1
    cmp "$(message bob 1)" "$(message bob 2)"
    cmp "$(message bob 1)" mail/carol/new/*
    [ -z "$(find mail -path '*/tmp/*')" ]
    # The log names each, so that all can be found.
    while read -r file; do
        [ -f "mail/$file" ]
    done < <(sed -n 's/.* file=//p' log)
    [ "$(sed -n 's/.* file=//p' log | sort -u | wc -l)" -eq 3 ]
}

@test "RFC 5321 4.1.1.4: nothing of an aborted transaction is in the next" {
    for abort in RSET 'EHLO other' 'HELO other'; do
        printf '%s\r\n' 'EHLO me' 'MAIL FROM:<first@b.example> SMTPUTF8' \
            'RCPT TO:<bob@localhost>' 'RCPT TO:<x>' "$abort" 'MAIL FROM:<second@b.example>' \
            'RCPT TO:<carol@localhost>' DATA 'Subject: second' . >.asked
        talk <.asked >out
        [[ $(tail -n 1 out) == "250 2.0.0 "* ]]
        [ "$(ls mail)" = carol ]
        [ "$(head -n 1 mail/carol/new/*)" = 'Return-Path: <second@b.example>' ]
        run -1 grep -qE 'first|bob|UTF8' mail/carol/new/*
        rm -r mail
    done
}

@test "RFC 5321 3.3: many transactions in one session, each its own message" {
    { printf 'HELO me\r\n'
        for n in {1..30}; do
            printf '%s\r\n' "MAIL FROM:<s$n@b.example>" "RCPT TO:<r$n@localhost>" DATA \
                "Subject: number $n" .
        done; printf 'QUIT\r\n'; } >.asked
    talk <.asked >out
    [ "$(grep -c '^250 2.0.0 ' out)" -eq 30 ]
    for n in {1..30}; do
        file=("mail/r$n/new"/*)
        mapfile -t text <"${file[0]}"
        [ "${text[0]}" = "Return-Path: <s$n@b.example>" ]
        [ "${text[${#text[@]} - 1]}" = "Subject: number $n" ]
    done
}

@test "RFC 5321 4.1.1.4: an empty message is taken" {
    [ "$(answers 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA . | cut -d ' ' -f 5-)" = \
        '354 250 2.0.0' ]
    # Only what we put there ourselves.
    [ "$(grep -c . mail/bob/new/*)" -eq "$(wc -l <"$(message bob)")" ]
    run -1 grep -qvE '^(Return-Path:|Received:|[[:blank:]])' mail/bob/new/*
}

@test "RFC 5321 4.2.5: what is no proper message is taken all the same" {
    # RFC 5321 3.3: mail is not refused for defects of its header or body.
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA \
        'no colon here' ': no name' 'From:' 'Date: yesterday' 'Resent-To: a' \
        'Received: x' 'Received:' 'From: two' . >.asked
    talk <.asked >out
    [[ $(tail -n 1 out) == "250 2.0.0 "* ]]
    [ "$(tail -n 8 mail/bob/new/*)" = $'no colon here\n: no name\nFrom:\nDate: yesterday
Resent-To: a\nReceived: x\nReceived:\nFrom: two' ]
}
