#!/usr/bin/env bats
# How a session ends: by QUIT, by the client's leaving, or, against an attack,
# by the server. And what does not end one: mistakes.

# shellcheck disable=SC2154
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
    setup='HELO me|MAIL FROM:<a@b.example>|RCPT TO:<bob@localhost>'
    for count in 1 2 3 4; do
        cut -d '|' -f "1-$count" <<<"|$setup" | tr '|' '\n' | sed '/^$/d; s/$/\r/' >commands
        printf 'QuIt \r\n' >>commands
        talk <commands >out
        [[ $(tail -n 1 out) == "221 2.0.0 mail.example.com"* ]]
        [ "$(wc -l <out)" -eq $(($(wc -l <commands) + 1)) ]
    done
    files mail 0
}

@test "RFC 5321 4.1.1.10: after QUIT nothing more is obeyed" {
    printf '%s\r\n' 'HELO me' QUIT NOOP 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' \
        DATA x . QUIT >.asked
    talk <.asked >out
    [ "$(cut -c 1-3 out | xargs)" = "220 250 221" ]
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
    { for _ in {1..19}; do printf '%s\r\n' FOOBAR NOOP; done; printf 'QUIT\r\n'; } >.asked
    talk <.asked >out
    [ "$(grep -c '^500 5.5.1 ' out)" -eq 19 ]
    [[ $(tail -n 1 out) == "221 2.0.0 "* ]]
    { for _ in {1..25}; do printf '%s\r\n' FOOBAR NOOP; done; printf 'QUIT\r\n'; } >.asked
    talk <.asked >out
    # The 20th has its own reply, for each command has one.
    [ "$(grep -c '^500 5.5.1 ' out)" -eq 20 ]
    [ "$(grep -c '^250 2.0.0 ' out)" -eq 19 ]
    [[ $(tail -n 1 out) == "421 4.7.0 mail.example.com "* ]]
}

@test "RFC 5321 7.8: each of 500, 501, 502, 504 and 555 counts as a blunder" {
    while IFS='|' read -r code command; do
        { printf 'EHLO me\r\n'; for _ in {1..21}; do printf '%s\r\n' "$command"; done; } |
            talk >out
        # Ours, and the greeting and the 7 lines of EHLO before, one after.
        [ "$(grep -c "^$code 5" out)" -eq 20 ]
        [ "$(wc -l <out)" -eq 29 ]
        [[ $(tail -n 1 out) == "421 4.7.0 mail.example.com "* ]]
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
    { printf 'EHLO me\r\n'; for _ in {1..4}; do
        printf '%s\r\n' FOOBAR EHLO TURN 'HELP x' NOOP 'MAIL FROM:<> FOO'
    done; printf 'NOOP\r\n'; } | talk >out
    [ "$(cut -c 1-3 out | tail -n 7 | xargs)" = "500 501 502 504 250 555 421" ]
}

@test "RFC 5321 3.8: 503 is no blunder: pipelined behind a refused MAIL there are many" {
    group=('MAIL FROM:<> SIZE=99999999999')
    for _ in {1..25}; do group+=('RCPT TO:<bob@localhost>'); done
    good=('MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA x .)
    printf '%s\r\n' 'EHLO me' "${group[@]}" DATA "${group[@]}" DATA "${good[@]}" QUIT >.asked
    talk <.asked >out
    [ "$(grep -c '^503 5\.5\.1 ' out)" -eq 52 ]
    mails bob 1
    [[ $(tail -n 1 out) == "221 2.0.0 "* ]]
    # Nor where something else came between, or nothing before.
    printf '%s\r\n' "${group[@]:1}" 'EHLO me' "${group[0]}" NOOP "${group[@]:1}" QUIT >.asked
    talk <.asked >out
    [ "$(grep -c '^503 5\.5\.1 ' out)" -eq 50 ]
    [[ $(tail -n 1 out) == "221 2.0.0 "* ]]
}

@test "RFC 5321 7.8: refusals of mail are no blunders" {
    mkdir -p mail/bob
    { printf 'EHLO me\r\n'
    for _ in {1..25}; do
        printf '%s\r\n' $'MAIL FROM:<\xC3\xA9@b.example>' 'MAIL FROM:<> SIZE=99999999999' \
            'MAIL FROM:<>' 'RCPT TO:<bob@elsewhere.example>' 'RCPT TO:<carol@localhost>' \
            DATA RSET
    done; printf 'QUIT\r\n'; } | talk -s >out
    for code in '553 5.6.7' '552 5.3.4' '550 5.7.1' '550 5.1.1' '503 5.5.1'; do
        [ "$(grep -c "^$code " out)" -eq 25 ]
    done
    [[ $(tail -n 1 out) == "221 2.0.0 "* ]]
}

@test "RFC 5321 7.8: blunders are forgotten when a message is kept, and not before" {
    blunders=() && for _ in {1..19}; do blunders+=(FOOBAR); done
    group=('MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA)
    answers 'HELO me' "${blunders[@]}" "${group[@]}" . "${blunders[@]}" "${group[@]}" . \
        "${blunders[@]}" NOOP FOOBAR NOOP >said
    [ "${codes[*]:(-3)}" = '250 2.0.0 500 5.5.1 421 4.7.0' ]
    mails bob 2
    # A message that is refused, or not sent to its end, is none.
    printf '%s\r\n' 'HELO me' "${blunders[@]}" "${group[@]}" $'a\rb' . RSET 'HELO you' \
        "${group[@]:0:2}" RSET FOOBAR >session
    tell session
    [ "${codes[*]:(-2)}" = '500 5.5.1 421 4.7.0' ]
    [[ ${codes[*]} == *'354 554 5.6.0 250 2.0.0 250 250 2.1.0 250 2.1.5 250 2.0.0 '* ]]
}

@test "RFC 5321 7.8: after 1,000 refusals of any kind the session ends, whatever was kept" {
    # Six a turn, none of them a blunder.
    { printf 'EHLO me\r\n'
    for _ in {1..166}; do
        printf '%s\r\n' DATA $'MAIL FROM:<\xC3\xA9@b.example>' 'MAIL FROM:<> SIZE=99999999999' \
            'MAIL FROM:<>' 'RCPT TO:<bob@elsewhere.example>' 'MAIL FROM:<>' DATA \
            'RCPT TO:<bob@localhost>' DATA .
    done
    printf '%s\r\n' DATA DATA DATA; } >most
    { cat most && printf '%s\r\n' NOOP QUIT; } >session
    tell session
    [ "${codes[*]:(-3)}" = '503 5.5.1 250 2.0.0 221 2.0.0' ]
    mails bob 166
    { cat most && printf '%s\r\n' NOOP DATA NOOP QUIT; } >session
    tell session
    [ "${codes[*]:(-4)}" = '503 5.5.1 250 2.0.0 503 5.5.1 421 4.7.0' ]
    [[ $last == '421 4.7.0 mail.example.com '* ]]
}

@test "RFC 5321 7.8: the last words reach a client that goes on sending" {
    serve
    # Much more than a socket's buffers hold is still to be sent when the
    # server closes: it must read that away, or a reset would eat the 421.
    { for _ in {1..40}; do printf 'FOOBAR\r\n'; done; head -c 3000000 /dev/zero; } |
        send_raw >out
    [ "$(grep -c '^500 5.5.1 ' out)" -eq 20 ]
    [[ $(tail -n 1 out) == "421 4.7.0 mail.example.com "* ]]
}

@test "RFC 5321 3.8: after the client's end of file all it said is still answered" {
    serve
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA x . NOOP |
        send_raw >out
    [ "$(cut -c 1-3 out | xargs)" = "220 250 250 250 354 250 250" ]
    mails bob 1
    session_ended
}

@test "RFC 5321 3.8: a command cut off by the end of file is not obeyed" {
    printf 'HELO me\r\nNOOP' >.asked
    talk <.asked >out
    [ "$(cut -c 1-3 out | xargs)" = "220 250" ]
    # Nor is one whose CRLF is only half there.
    printf 'HELO me\r\nNOOP\r' >.asked
    talk <.asked >out
    [ "$(cut -c 1-3 out | xargs)" = "220 250" ]
    run -0 talk </dev/null
    [[ ${#lines[@]} -eq 1 && $output == "220 "* ]]
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
    [ "$(tail -n 1 mail/bob/new/*)" = first ]
}

@test "RFC 5321 4.1.1.10: a client that was cut off and sends again is kept once" {
    serve
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA 'Subject: again' |
        send_raw >out
    [ "$(tail -n 1 out | cut -c 1-3)" = 354 ]
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA 'Subject: again' . |
        send_raw >out
    [ "$(tail -n 1 out | cut -c 1-3)" = 250 ]
    wait_until no_sessions
    files mail 1
    mails bob 1
}
