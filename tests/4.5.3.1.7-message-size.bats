#!/usr/bin/env bats
# How large a message may be: RFC 5321 4.5.3.1.7, and RFC 1870, which says how
# its size is counted.

# shellcheck disable=SC2034,SC2154
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
    {
        printf 'EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\nRCPT TO:<carol@localhost>\r\n'
        printf 'DATA\r\n%0300000d\r\n.\r\n' 0
        # The buffers are cleared: RFC 5321 4.1.1.4.
        printf 'RCPT TO:<bob@localhost>\r\nDATA\r\n'
        printf 'MAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\nsmall\r\n.\r\nQUIT\r\n'
    } >.asked
    send_raw <.asked >out
    heard out
    [ "${codes[*]:5}" = '552 5.3.4 503 5.5.1 503 5.5.1 250 2.1.0 250 2.1.5 354 250 2.0.0 221 2.0.0' ]
    look mail/bob/new/*
    [ "$rest" = $'small\n' ]
    files mail 1
}

@test "RFC 5321 4.5.3.1.7: commands in a message too large are not obeyed" {
    serve -z 65536
    {
        printf 'HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\n'
        printf 'RSET\r\nQUIT\r\n..\r\n%.0s' {1..5000}
        printf '.\r\nQUIT\r\n'
    } >.asked
    send_raw <.asked >out
    heard out
    [ "${codes[*]}" = '250 250 2.1.0 250 2.1.5 354 552 5.3.4 221 2.0.0' ]
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
    heard out
    [ "${codes[*]:4}" = '552 5.3.4 221 2.0.0' ]
}

@test "RFC 5321 4.5.3.1.7: 64K are taken whatever the options" {
    local size
    mkdir -p mail/bob
    { printf 'HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\n'
        printf 'Subject: x\r\n\r\n%065520d\r\n.\r\n' 0; } >session
    for size in '' '-z 65536' '-z 26214400' '-s'; do
        read -r -a options <<<"$size"
        tell session
        [ "$code" = '250 2.0.0' ]
        look mail/bob/new/*
        [ "${#text}" -eq 65521 ]
        rm mail/bob/new/*
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
    look "$(grep -l longer mail/bob/new/*)"
    [ "$text" = $'and more\n' ]
}

@test "RFC 1870 6.1: a message too large for -z is refused, whatever SIZE= said" {
    {
        printf 'EHLO me\r\nMAIL FROM:<> SIZE=100\r\nRCPT TO:<bob@localhost>\r\nDATA\r\n'
        printf '%070000d\r\n.\r\nQUIT\r\n' 0
    } >.asked
    options=(-z 65536)
    tell .asked
    [ "${codes[*]}" = '250 250 2.1.0 250 2.1.5 354 552 5.3.4 221 2.0.0' ]
    files mail 0
}

@test "RFC 5321 4.5.3.1: the least sizes of all kinds in one session" {
    # 512 octets of command, 255 of domain, 256 of path, 64 of local-part.
    domain=${xs:0:80}.${xs:0:80}.${xs:0:93}
    longest="<${xs:0:64}@${xs:0:90}.${xs:0:98}>"
    [ "${#domain} ${#longest}" = '255 256' ]
    # A text line of 1000 octets with its CRLF, and one with a dot doubled.
    lines=('Subject: least' '' "${xs:0:998}" "..${xs:0:997}")
    for n in {1..99}; do recipients+=("RCPT TO:<u$n@localhost>"); done
    for _ in {1..63}; do lines+=("${xs:0:998}"); done
    lines+=("${xs:0:516}")
    # All in all 65536 octets, one dot more and a line end of two.
    printf -v wanted '%s\n' "${lines[@]}"
    wanted=${wanted/$'\n..'/$'\n.'}
    [ $((${#wanted} + ${#lines[@]})) -eq 65536 ]
    ask "EHLO $domain" "NOOP ${xs:0:505}" "MAIL FROM:$longest" "RCPT TO:<${xs:0:64}@localhost>" \
        "${recipients[@]}" DATA "${lines[@]}" . QUIT
    [ "${codes[*]:0:3}" = '250 250 2.0.0 250 2.1.0' ]
    count 100 '250 2.1.5'
    [ "${codes[*]:103}" = '354 250 2.0.0 221 2.0.0' ]
    files mail 100
    look mail/u99/new/*
    [ "$rest" = "$wanted" ]
}
