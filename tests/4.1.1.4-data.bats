#!/usr/bin/env bats
# DATA as a command: when it may be said, what it answers, and that it leaves
# nothing of a transaction to the next. How mail data is read has other files.

# shellcheck disable=SC2034,SC2154
load helpers

before=('HELO me')
letter=('MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA .)
kept='250 2.1.0 250 2.1.5 354 250 2.0.0'

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
    look mail/bob/new/*
    [ "$text" = $'Lines are data here, not commands:\nQUIT\nRSET\nDATA\n' ]
}

@test "RFC 5321 4.1.1.4: the ID of the 250 is in Received and in the log" {
    gets '250 2.1.0 250 2.1.5 354 250 2.0.0' "${letter[@]}"
    id=${last##* }
    [[ $id =~ ^[A-Za-z0-9.-]{8,}$ ]]
    file=$(echo mail/bob/new/*)
    look "$file"
    [[ $received == *" id $id"[\ \;]* ]]
    # Where the log tells in which file the message lies.
    grep -F "$id" log | grep -qF "${file##*/}"
}

@test "RFC 3463 2: 354 has no enhanced code" {
    gets "$kept" "${letter[@]}"
    [[ ${said[4]} == '354 '* ]]
    [[ ! ${said[4]} =~ ^354[\ -][0-9]\.[0-9]+\.[0-9]+ ]]
}

@test "RFC 5321 2.4: data, Data and DATA with white space after it" {
    lines=()
    for verb in data Data 'DATA ' $'dAtA \t'; do
        lines+=("${letter[@]:0:2}" "$verb" .)
    done
    gets "$kept $kept $kept $kept" "${lines[@]}"
    mails bob 4
}

@test "RFC 5321 4.3.2: DATA with an argument gets 501 5.5.4, and changes nothing" {
    gets '250 2.1.0 250 2.1.5 501 5.5.4 501 5.5.4 501 5.5.4 354 250 2.0.0' 'MAIL FROM:<>' \
        'RCPT TO:<bob@localhost>' 'DATA now' 'DATA <>' 'DATA .' DATA .
    mails bob 1
}

@test "RFC 5321 4.1.4: DATA before MAIL, or before RCPT, gets 503 5.5.1" {
    gets '503 5.5.1 250 2.1.0 503 5.5.1 250 2.1.5 354 250 2.0.0' DATA 'MAIL FROM:<>' DATA \
        'RCPT TO:<bob@localhost>' DATA .
    # And before HELO.
    ask DATA
    [ "$code" = '503 5.5.1' ]
}

@test "RFC 5321 3.3: DATA after no valid recipient gets 503 5.5.1" {
    before+=('MAIL FROM:<>')
    gets '550 5.7.1 503 5.5.1 501 5.1.3 503 5.5.1 555 5.5.4 503 5.5.1 501 5.1.3 503 5.5.1' \
        'RCPT TO:<bob@elsewhere.example>' DATA 'RCPT TO:<bob' DATA \
        'RCPT TO:<bob@localhost> FOO' DATA 'RCPT TO:' DATA
    # It changes nothing: a good one may still come.
    gets '501 5.1.3 503 5.5.1 250 2.1.5 354 250 2.0.0' \
        'RCPT TO:<x>' DATA 'RCPT TO:<bob@localhost>' \
        DATA .
}

@test "RFC 5321 3.3: with one valid recipient among others DATA is taken" {
    gets '250 2.1.0 501 5.1.3 250 2.1.5 501 5.1.3 354 250 2.0.0' 'MAIL FROM:<>' 'RCPT TO:<x>' \
        'RCPT TO:<bob@localhost>' 'RCPT TO:<y>' DATA .
    files mail 1
}

@test "RFC 5321 4.1.1.4: after the 250 the buffers are clear" {
    gets "$kept 503 5.5.1 503 5.5.1" "${letter[@]}" DATA 'RCPT TO:<bob@localhost>'
    # And EHLO need not be said again.
    gets "$kept $kept" "${letter[@]}" "${letter[@]}"
}

@test "RFC 5321 4.1.1.4: after a refused message the buffers are clear too" {
    # A NUL, as one case of many.
    { printf '%s\r\n' 'HELO me' 'MAIL FROM:<first@b.example>' 'RCPT TO:<bob@localhost>' DATA
        printf 'a\0b\r\n.\r\n'
        printf '%s\r\n' DATA 'RCPT TO:<bob@localhost>' 'MAIL FROM:<second@b.example>' \
            'RCPT TO:<carol@localhost>' DATA .; } >session
    tell session
    [ "${codes[*]}" = "250 250 2.1.0 250 2.1.5 354 554 5.6.0 503 5.5.1 503 5.5.1 $kept" ]
    files mail 1
    look mail/carol/new/*
    [ "$path" = '<second@b.example>' ]
}

@test "RFC 5321 4.5.3.1.9: a message too large gets 552 5.3.4, and the session goes on" {
    options=(-z 65536)
    printf -v long %066000d 0
    gets "250 2.1.0 250 2.1.5 354 552 5.3.4 503 5.5.1 $kept" "${letter[@]:0:3}" "$long" . DATA \
        "${letter[@]}"
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
    look mail/carol/new/*
    [ "$path" = '<>' ]
    # It has Return-Path, Received, and its own line: no more.
    [ "$rest" = $'Subject: second\n' ]
    [[ $received == *' with ESMTP '*'for <carol@localhost>;'* ]]
    run -1 grep -qiE 'first|bob|dave|UTF8' mail/carol/new/*
    # And two messages have two IDs.
    second=$received names=(mail/*/new/*) names=("${names[@]##*/}")
    look mail/bob/new/*
    [ "$received" != "$second" ]
    [ "${names[0]}" != "${names[1]}" ]
    [ "${names[0]}" != "${names[2]}" ]
    [ "${names[1]}" != "${names[2]}" ]
    [ ${#names[@]} -eq 3 ]
}

@test "RFC 5321 4.1.1.4: two recipients whose Maildirs are one directory get a file each" {
    # So each has a name of its own in it, and a retry or a reader loses neither.
    mkdir -p mail/bob && ln -s bob mail/dave
    gets '250 2.1.0 250 2.1.5 250 2.1.5 250 2.1.5 354 250 2.0.0' 'MAIL FROM:<>' \
        'RCPT TO:<bob@localhost>' 'RCPT TO:<carol@localhost>' 'RCPT TO:<dave@localhost>' DATA \
        'Subject: twice' .
    mails bob 2 carol 1
    twice=(mail/bob/new/*)
    cmp "${twice[0]}" "${twice[1]}"
    cmp "${twice[0]}" mail/carol/new/*
    files mail 3
    # The log names each, so that all can be found.
    mapfile -t logged < <(sed -n 's/.* file=//p' log)
    [ ${#logged[@]} -eq 3 ]
    for file in "${logged[@]}"; do [ -f "mail/$file" ]; done
    [ "${logged[0]}" != "${logged[1]}" ]
    [ "${logged[0]}" != "${logged[2]}" ]
    [ "${logged[1]}" != "${logged[2]}" ]
}

@test "RFC 5321 4.1.1.4: nothing of an aborted transaction is in the next" {
    for abort in RSET 'EHLO other' 'HELO other'; do
        ask 'EHLO me' 'MAIL FROM:<first@b.example> SMTPUTF8' 'RCPT TO:<bob@localhost>' \
            'RCPT TO:<x>' "$abort" 'MAIL FROM:<second@b.example>' 'RCPT TO:<carol@localhost>' \
            DATA 'Subject: second' .
        [ "$code" = '250 2.0.0' ]
        mailboxes carol
        look mail/carol/new/*
        [ "$path" = '<second@b.example>' ]
        run -1 grep -qE 'first|bob|UTF8' mail/carol/new/*
        rm mail/carol/new/*
    done
}

@test "RFC 5321 3.3: many transactions in one session, each its own message" {
    lines=()
    for n in {1..30}; do
        lines+=("MAIL FROM:<s$n@b.example>" "RCPT TO:<r$n@localhost>" DATA "Subject: number $n" .)
    done
    ask 'HELO me' "${lines[@]}" QUIT
    count 30 '250 2.0.0'
    for n in {1..30}; do
        look "mail/r$n/new/"*
        [ "$path $rest" = "<s$n@b.example> Subject: number $n"$'\n' ]
    done
}

@test "RFC 5321 4.1.1.4: an empty message is taken" {
    gets "$kept" "${letter[@]}"
    # Only what we put there ourselves.
    look mail/bob/new/*
    [ -z "$rest" ]
}

@test "RFC 5321 4.2.5: what is no proper message is taken all the same" {
    # RFC 5321 3.3: mail is not refused for defects of its header or body.
    lines=('no colon here' ': no name' 'From:' 'Date: yesterday' 'Resent-To: a' 'Received: x'
        'Received:' 'From: two')
    gets "$kept" "${letter[@]:0:3}" "${lines[@]}" .
    look mail/bob/new/*
    printf -v wanted '%s\n' "${lines[@]}"
    [ "$rest" = "$wanted" ]
}
