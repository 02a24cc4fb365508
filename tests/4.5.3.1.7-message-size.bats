#!/usr/bin/env bats
# How large a message may be: RFC 5321 4.5.3.1.7, and RFC 1870, which says how
# its size is counted.

load helpers

@test "RFC 5321 4.5.3.1.7: a message of exactly -z octets is taken, one more refused" {
    # Lines of many lengths: each CRLF counts two, RFC 1870 5.
    pieces <<'END'
session, wanted, number = b'HELO me\r\n', {}, 0
for size in 65534, 65535, 65536, 65537, 65538, 70000:
    for width in 2, 3, 72, 1000, 1 << 20:
        text = message(number, b'')
        text += (b'x' * (width - 2) + b'\r\n') * ((size - len(text) - 2) // width)
        text += b'y' * (size - len(text) - 2) + b'\r\n'
        same(len(text), size, 'my own size')
        session += envelope() + text + b'.\r\n'
        wanted[number] = '250 2.0.0' if size <= 65536 else '552 5.3.4'
        number += 1
said = codes(pour(session + b'QUIT\r\n', '-z', '65536'))
same(said[5:-1:4], list(wanted.values()), 'replies to the messages')
same(said[-1], '221 2.0.0', 'the end')
same(sorted(stored()), [n for n in wanted if wanted[n][0] == '2'], 'what is kept')
END
    files mail/bob/tmp 0
}

@test "RFC 1870 5: dots doubled, and the last one, do not count" {
    pieces <<'END'
session = b'HELO me\r\n'
for number, size in enumerate([65536, 65537]):
    text = message(number, b'')
    while len(text) < size - 100:
        text += b'.\r\n.x\r\n...\r\n'
    text += b'.' * (size - len(text) - 2) + b'\r\n'
    same(len(text), size, 'my own size')
    session += envelope() + re.sub(rb'^\.', b'..', text, flags=re.M) + b'.\r\n'
said = codes(pour(session + b'QUIT\r\n', '-z', '65536'))
same(said[5:-1:4], ['250 2.0.0', '552 5.3.4'], 'replies to the messages')
same(list(stored()), [0], 'what is kept')
END
}

@test "RFC 1870 5: what we add, or leave out, changes nothing" {
    # Return-Path: fields of the sender's are not kept, but they were sent.
    pieces <<'END'
session = b'HELO me\r\n'
for number, size in enumerate([65536, 65537]):
    text = b'Return-Path: <me@example.org>\r\n folded\r\n' + message(number, b'')
    text += b'x' * (size - len(text) - 2) + b'\r\n'
    session += envelope() + text + b'.\r\n'
said = codes(pour(session + b'QUIT\r\n', '-z', '65536'))
same(said[5:-1:4], ['250 2.0.0', '552 5.3.4'], 'replies to the messages')
END
}

@test "RFC 5321 4.5.3.1.7: a refused message leaves nothing, and the session goes on" {
    serve -z 100000
    head -c 300000 /dev/zero | tr '\0' a >large
    {
        printf 'EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\nRCPT TO:<carol@localhost>\r\nDATA\r\n'
        cat large && printf '\r\n.\r\n'
        # The buffers are cleared: RFC 5321 4.1.1.4.
        printf 'RCPT TO:<bob@localhost>\r\nDATA\r\n'
        printf 'MAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\nsmall\r\n.\r\nQUIT\r\n'
    } >.asked
    send_raw <.asked >out
    [ "$(grep -v ^250- out | cut -c 1-9 | tail -n +7 | tr '\n' ,)" = \
        '552 5.3.4,503 5.5.1,503 5.5.1,250 2.1.0,250 2.1.5,354 Start,250 2.0.0,221 2.0.0,' ]
    [ "$(tail -n 1 mail/bob/new/*)" = small ]
    files mail 1
}

@test "RFC 5321 4.5.3.1.7: commands in a message too large are not obeyed" {
    serve -z 65536
    {
        printf 'HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\n'
        yes $'RSET\r\nQUIT\r\n..\r' | head -n 15000
        printf '.\r\nQUIT\r\n'
    } >.asked
    send_raw <.asked >out
    [ "$(cut -c 1-9 out | tail -n +4 | tr '\n' ,)" = '250 2.1.5,354 Start,552 5.3.4,221 2.0.0,' ]
    files mail 0
}

@test "RFC 5321 4.5.3.1.7: what is too large does not fill the disk" {
    serve -z 65536
    mkfifo pipe
    send_raw <pipe >out &
    client=$!
    exec 8>pipe
    printf 'HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\n' >&8
    head -c 20000000 /dev/zero | tr '\0' a >&8
    # All but what lies in the connection has been read by now.
    [ "$(du -sk mail | cut -f 1)" -lt 1000 ]
    printf '\r\n.\r\nQUIT\r\n' >&8
    exec 8>&-
    wait "$client"
    [ "$(cut -c 1-9 out | tail -n 2)" = $'552 5.3.4\n221 2.0.0' ]
}

@test "RFC 5321 4.5.3.1.7: 64K are taken whatever the options" {
    for options in '' '-z 65536' '-z 26214400' '-s'; do
        mkdir -p mail/bob
        {
            printf 'HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\n'
            printf 'Subject: x\r\n\r\n%065520d\r\n.\r\n' 0
        } >session
        # shellcheck disable=SC2086
        talk $options <session >out
        [ "$(tail -n 1 out | cut -c 1-9)" = '250 2.0.0' ]
        [ "$(body mail/bob/new/* | wc -c)" -eq 65521 ]
        rm -r mail
    done
}

@test "RFC 5321 4.5.3.1.7: with nothing said, 25 MB are taken and 26214401 octets are not" {
    serve
    for size in 26214400 26214401; do
        {
            printf 'HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\nSubject: x\r\n\r\n'
            yes "$(printf %070d 0)"$'\r' | head -c $((size - 14 - 2))
            printf '\r\n.\r\nQUIT\r\n'
        } | send_raw | tail -n 2 | cut -c 1-9 >>out
    done
    [ "$(tr '\n' , <out)" = '250 2.0.0,221 2.0.0,552 5.3.4,221 2.0.0,' ]
    # What is kept is that, less the CRs.
    body mail/bob/new/* >got
    yes "$(printf %070d 0)" | head -n $((26214384 / 72)) >wanted
    printf "%0$((26214384 % 72))d\n" 0 >>wanted
    cmp got wanted
}

@test "RFC 1870 6.1: SIZE= over the limit gets 552 at once, and begins nothing" {
    serve -z 65536
    dialogue <<'END'
S: 220 ...
C: EHLO me
S*: 250-SIZE 65536
C: MAIL FROM:<> SIZE=65537
S: 552 5.3.4 ...
C: MAIL FROM:<> SIZE=99999999999999999999
S: 552 5.3.4 ...
C: MAIL FROM:<> SIZE=18446744073709551617
S: 552 5.3.4 ...
C: RCPT TO:<bob@localhost>
S: 503 5.5.1 ...
C: MAIL FROM:<> SIZE=00000000000000065536
S: 250 2.1.0 ...
C: RSET
S: 250 2.0.0 ...
C: MAIL FROM:<> SIZE=0
S: 250 2.1.0 ...
C: QUIT
S: 221 2.0.0 ...
END
}

@test "RFC 1870 6.3: SIZE= is an estimate: the message may be smaller, or larger" {
    # RFC 1870 6: "Servers MUST NOT use the SIZE parameter to determine end of
    # content in the DATA command."
    serve -z 65536
    dialogue <<'END'
S: 220 ...
C: EHLO me
S*: 250 ...
C: MAIL FROM:<> SIZE=10
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: Subject: longer than ten octets
C:
C: and more
C: .
S: 250 2.0.0 ...
C: MAIL FROM:<> SIZE=60000
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: short
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
    mails bob 2
    [ "$(body "$(grep -l longer mail/bob/new/*)")" = 'and more' ]
}

@test "RFC 1870 6.1: a message too large for -z is refused, whatever SIZE= said" {
    {
        printf 'EHLO me\r\nMAIL FROM:<> SIZE=100\r\nRCPT TO:<bob@localhost>\r\nDATA\r\n'
        printf '%070000d\r\n.\r\nQUIT\r\n' 0
    } >.asked
    talk -z 65536 <.asked >out
    [ "$(cut -c 1-9 out | tail -n 3 | tr '\n' ,)" = '354 Start,552 5.3.4,221 2.0.0,' ]
    files mail 0
}

@test "RFC 5321 4.5.3.1: the least sizes of all kinds in one session" {
    # 512 octets of command, 255 of domain, 256 of path, 64 of local-part.
    domain=$(x 80).$(x 80).$(x 93)
    path="<$(x 64)@$(x 90).$(x 98)>"
    [ "${#domain} ${#path}" = '255 256' ]
    noop="NOOP $(x 505)"
    # A text line of 1000 octets with its CRLF, and one with a dot doubled.
    text=$(x 998)
    {
        printf '%s\r\n' "EHLO $domain" "$noop" "MAIL FROM:$path" "RCPT TO:<$(x 64)@localhost>"
        printf 'RCPT TO:<u%s@localhost>\r\n' {1..99}
        printf '%s\r\n' DATA 'Subject: least' '' "$text" "..${text#?}"
        # All in all 65536 octets.
        for _ in {1..63}; do printf '%s\r\n' "$text"; done
        printf '%s\r\n' "$(x 516)" . QUIT
    } >session
    sed '1,/^DATA/d; /^\.\r$/,$d; s/^\.//' session >message
    [ "$(wc -c <message)" -eq 65536 ]
    talk <session >out
    [ "$(grep -v ^250- out | sed 1,2d | cut -c 1-9 | uniq -c | xargs)" = \
        '1 250 2.0.0 1 250 2.1.0 100 250 2.1.5 1 354 Start 1 250 2.0.0 1 221 2.0.0' ]
    [ "$(find mail -path '*/new/*' | wc -l)" -eq 100 ]
    body mail/u99/new/* | cmp - <(sed '1,/^\r$/d' message | tr -d '\r')
}
