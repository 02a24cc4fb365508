#!/usr/bin/env bats
# How a session ends: by QUIT, by the client's leaving, or, against an attack,
# by the server. And what does not end one: mistakes.

# shellcheck disable=SC2034,SC2154
load helpers

# The server's only child is gone.
session_ended() { wait_until no_sessions; }

@test "RFC 5321 3.8: QUIT gets 221 with the server's name, then the connection closes" {
    serve
    dialogue <<'END'
S: 220 mail.example.com ...
C: QUIT
S: 221 2.0.0 mail.example.com ...
E:
END
    session_ended
}

@test "RFC 5321 4.1.1.10: QUIT is good at any time, and aborts what was begun" {
    begun=('HELO me' 'MAIL FROM:<a@b.example>' 'RCPT TO:<bob@localhost>')
    for count in 0 1 2 3; do
        ask "${begun[@]:0:count}" 'QuIt '
        [[ $last == "221 2.0.0 mail.example.com"* ]]
        [ ${#said[@]} -eq $((count + 2)) ]
    done
    files mail 0
}

@test "RFC 5321 4.1.1.10: after QUIT nothing more is obeyed" {
    gets '250 221 2.0.0' 'HELO me' QUIT NOOP 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA x . QUIT
    files mail 0
    serve
    dialogue <<'END'
S: 220 ...
C: QUIT
C: NOOP
S: 221 2.0.0 ...
E:
END
}

@test "RFC 5321 4.3.2: QUIT with an argument gets 501, and the session goes on" {
    serve
    dialogue <<'END'
S: 220 ...
C: QUIT now
S: 501 5.5.4 ...
C: NOOP
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
}

@test "RFC 5321 3.8: commands that are not understood don't end the session" {
    serve
    dialogue <<'END'
S: 220 ...
C: FOOBAR
S: 500 5.5.1 ...
C: HELO
S: 501 5.5.4 ...
C: EXPN staff
S: 502 5.5.1 ...
C: DATA
S: 503 5.5.1 ...
C: HELP FOOBAR
S: 504 5.5.4 ...
C: EHLO me
S*: 250 ...
C: MAIL FROM:<> FOO
S: 555 5.5.4 ...
C: NOOP
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
}

@test "RFC 5321 7.8: 19 blunders are suffered, the 20th ends the session with 421" {
    # Good commands in between neither count nor forgive.
    blunders=() && for _ in {1..25}; do blunders+=(FOOBAR NOOP); done
    ask "${blunders[@]:0:38}" QUIT
    count 19 '500 5.5.1'
    [ "$code" = '221 2.0.0' ]
    ask "${blunders[@]}" QUIT
    # The 20th has its own reply, for each command has one.
    count 20 '500 5.5.1'
    count 19 '250 2.0.0'
    [[ $last == "421 4.7.0 mail.example.com "* ]]
}

@test "RFC 5321 7.8: each of 500, 501, 502, 504 and 555 counts as a blunder" {
    while IFS='|' read -r expected command; do
        blunders=() && for _ in {1..21}; do blunders+=("$command"); done
        ask 'EHLO me' "${blunders[@]}"
        # Ours, and the greeting and the 7 lines of EHLO before, one after.
        for reply in "${said[@]:8:20}"; do [[ $reply == "$expected 5"* ]]; done
        [ "${#said[@]}" -eq 29 ]
        [[ $last == "421 4.7.0 mail.example.com "* ]]
    done <<'END'
500|FOOBAR
501|RSET x
502|TURN
504|HELP FOOBAR
555|MAIL FROM:<> FOO
END
}

@test "RFC 5321 7.8: blunders of all kinds count together" {
    # Four times five, in a session that is not all wrong.
    blunders=(FOOBAR EHLO TURN 'HELP x' NOOP 'MAIL FROM:<> FOO')
    ask 'EHLO me' "${blunders[@]}" "${blunders[@]}" "${blunders[@]}" "${blunders[@]}" NOOP
    short=("${codes[@]%% *}")
    [ "${short[*]:(-7)}" = "500 501 502 504 250 555 421" ]
}

@test "RFC 5321 3.8: 503 is no blunder: pipelined behind a refused MAIL there are many" {
    group=('MAIL FROM:<> SIZE=99999999999')
    for _ in {1..25}; do group+=('RCPT TO:<bob@localhost>'); done
    good=('MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA x .)
    ask 'EHLO me' "${group[@]}" DATA "${group[@]}" DATA "${good[@]}" QUIT
    count 52 '503 5.5.1'
    mails bob 1
    [ "$code" = '221 2.0.0' ]
    # Nor where something else came between, or nothing before.
    ask "${group[@]:1}" 'EHLO me' "${group[0]}" NOOP "${group[@]:1}" QUIT
    count 50 '503 5.5.1'
    [ "$code" = '221 2.0.0' ]
}

@test "RFC 5321 7.8: refusals of mail are no blunders" {
    mkdir -p mail/bob
    lines=()
    for _ in {1..25}; do
        lines+=($'MAIL FROM:<\xC3\xA9@b.example>' 'MAIL FROM:<> SIZE=99999999999' 'MAIL FROM:<>'
            'RCPT TO:<bob@elsewhere.example>' 'RCPT TO:<carol@localhost>' DATA RSET)
    done
    options=(-s)
    ask 'EHLO me' "${lines[@]}" QUIT
    for each in '553 5.6.7' '552 5.3.4' '550 5.7.1' '550 5.1.1' '503 5.5.1'; do
        count 25 "$each"
    done
    [ "$code" = '221 2.0.0' ]
}

@test "RFC 5321 7.8: blunders are forgotten when a message is kept, and not before" {
    blunders=() && for _ in {1..19}; do blunders+=(FOOBAR); done
    group=('MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA)
    ask 'HELO me' "${blunders[@]}" "${group[@]}" . "${blunders[@]}" "${group[@]}" . \
        "${blunders[@]}" NOOP FOOBAR NOOP
    [ "${codes[*]:(-3)}" = '250 2.0.0 500 5.5.1 421 4.7.0' ]
    mails bob 2
    # A message that is refused, or not sent to its end, is none.
    ask 'HELO me' "${blunders[@]}" "${group[@]}" $'a\rb' . RSET 'HELO you' "${group[@]:0:2}" RSET \
        FOOBAR
    [ "${codes[*]:(-2)}" = '500 5.5.1 421 4.7.0' ]
    [[ ${codes[*]} == *'354 554 5.6.0 250 2.0.0 250 250 2.1.0 250 2.1.5 250 2.0.0 '* ]]
}

@test "RFC 5321 7.8: after 1,000 refusals of any kind the session ends, whatever was kept" {
    # Six a turn, none of them a blunder.
    turn=(DATA $'MAIL FROM:<\xC3\xA9@b.example>' 'MAIL FROM:<> SIZE=99999999999' 'MAIL FROM:<>'
        'RCPT TO:<bob@elsewhere.example>' 'MAIL FROM:<>' DATA 'RCPT TO:<bob@localhost>' DATA .)
    most=('EHLO me')
    for _ in {1..166}; do most+=("${turn[@]}"); done
    most+=(DATA DATA DATA)
    ask "${most[@]}" NOOP QUIT
    [ "${codes[*]:(-3)}" = '503 5.5.1 250 2.0.0 221 2.0.0' ]
    mails bob 166
    ask "${most[@]}" NOOP DATA NOOP QUIT
    [ "${codes[*]:(-4)}" = '503 5.5.1 250 2.0.0 503 5.5.1 421 4.7.0' ]
    [[ $last == '421 4.7.0 mail.example.com '* ]]
}

@test "RFC 5321 7.8: the last words reach a client that goes on sending" {
    serve
    # Much more than a socket's buffers hold is still to be sent when the
    # server closes: it must read that away, or a reset would eat the 421.
    { printf 'FOOBAR\r\n%.0s' {1..40}; head -c 3000000 /dev/zero; } | send_raw >out
    mapfile -t heard <out
    for reply in "${heard[@]:1:20}"; do [[ $reply == '500 5.5.1 '* ]]; done
    [ ${#heard[@]} -eq 22 ]
    [[ ${heard[21]} == "421 4.7.0 mail.example.com "* ]]
}

@test "RFC 5321 3.8: after the client's end of file all it said is still answered" {
    serve
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA x . NOOP >session
    send_raw <session >out
    [ "$(cut -c 1-3 out | xargs)" = "220 250 250 250 354 250 250" ]
    mails bob 1
    session_ended
}

@test "RFC 5321 3.8: a command cut off by the end of file is not obeyed" {
    # Nor is one whose CRLF is only half there.
    for cut in 'HELO me\r\nNOOP' 'HELO me\r\nNOOP\r'; do
        printf %b "$cut" >session
        tell session
        [ "${codes[*]}" = 250 ]
        [ ${#said[@]} -eq 2 ]
    done
    tell /dev/null
    [[ ${#said[@]} -eq 1 && ${said[0]} == "220 "* ]]
}

@test "RFC 5321 4.1.1.5: a client that leaves in a transaction leaves nothing behind" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: Subject: half a message
C:
# More than fits into any buffer: it has begun to be written.
$: head -c 300000 /dev/zero | tr '\0' x >&8
END
    session_ended
    files mail 0
}

@test "RFC 5321 4.1.1.10: leaving early does not undo what was completed" {
    serve
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA first . \
        'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA second >.asked
    send_raw <.asked >out
    session_ended
    [ "$(grep -c '^354' out)" -eq 2 ]
    files mail 1
    look mail/bob/new/*
    [ "$rest" = $'first\n' ]
}

@test "RFC 5321 4.1.1.10: a client that was cut off and sends again is kept once" {
    serve
    letter=('HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA 'Subject: again')
    printf '%s\r\n' "${letter[@]}" >session
    send_raw <session >out
    mapfile -t heard <out
    [[ ${heard[*]: -1} == '354 '* ]]
    printf '%s\r\n' "${letter[@]}" . >session
    send_raw <session >out
    mapfile -t heard <out
    [[ ${heard[*]: -1} == '250 '* ]]
    wait_until no_sessions
    files mail 1
    mails bob 1
}
