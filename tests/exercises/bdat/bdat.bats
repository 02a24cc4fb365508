#!/usr/bin/env bats
# Exercise bdat: RFC 3030, the message in counted chunks.
# shellcheck disable=SC2059

SMTPD=${SMTPD:-$BATS_TEST_DIRNAME/../../../smtpd}
load ../../helpers

# Up to here each dialogue is the same.
LETTER='S: 220 ...
C: EHLO me
S*: 250-CHUNKING
C: MAIL FROM:<alice@example.org>
S: 250 2.1.0 ...
C: RCPT TO:<bob@example.com>
S: 250 2.1.5 ...'

BYE='C: QUIT
S: 221 2.0.0 ...'

# What talk prints after these commands, without the greeting and EHLO's lines.
answers() { # PRINTF-FORMAT
    {
        printf 'EHLO me\r\nMAIL FROM:<alice@example.org>\r\nRCPT TO:<bob@example.com>\r\n'
        printf "$1"
    } | talk -b | tr -d '\r' | sed '1,/^250 HELP/d' | cut -c 1-9 | sed 1,2d | xargs
}

# What stands behind our own fields.
sent() { sed '1,/^\t[A-Z][a-z][a-z], /d' mail/bob/new/*; }

nothing_kept() { [ -z "$(find mail -type f 2>/dev/null)" ]; }

@test "RFC 3030 2: bdat: with -b EHLO offers CHUNKING, and HELP knows BDAT" {
    printf 'EHLO me\r\n' | talk -b | grep $'^250-CHUNKING\r'
    printf 'HELP bdat\r\n' | talk -b | grep $'^214 2\.0\.0 .*RFC 3030 2\r'
}

@test "RFC 5321 4.2.4: bdat: without -b it is not offered, as before" {
    printf 'EHLO me\r\n' >.asked
    talk <.asked >out
    run -1 grep CHUNKING out
    printf 'BDAT 0 LAST\r\n' | talk | grep '^502 5\.5\.1 '
}

@test "RFC 3030 4.1: bdat: a message in one chunk" {
    serve -b
    dialogue <<OVER
$LETTER
X: BDAT 20 LAST\r\nSubject: x\r\n\r\ntext\r\n
S: 250 2.0.0 ...
$BYE
OVER
    [ "$(sent)" = $'Subject: x\n\ntext' ]
}

@test "RFC 3030 4.2: bdat: in several, the last of them empty" {
    serve -b
    dialogue <<OVER
$LETTER
X: BDAT 14\r\nSubject: x\r\n\r\n
S: 250 2.0.0 ...
X: BDAT 0\r\n
S: 250 2.0.0 ...
X: bdat 6\r\ntext\r\n
S: 250 2.0.0 ...
\$: mails bob 0
C: BDAT 0 last
S: 250 2.0.0 ...
$BYE
OVER
    [ "$(sent)" = $'Subject: x\n\ntext' ]
}

@test "RFC 3030 4.2: bdat: pipelined, commands and chunks in one packet" {
    [ "$(answers 'BDAT 14\r\nSubject: x\r\n\r\nBDAT 6\r\ntext\r\nBDAT 0 LAST\r\nNOOP\r\nQUIT\r\n')" = \
        '250 2.0.0 250 2.0.0 250 2.0.0 250 2.0.0 221 2.0.0' ]
    [ "$(sent)" = $'Subject: x\n\ntext' ]
}

@test "RFC 3030 2: bdat: only the count ends a chunk: neither a dot nor a command in it does" {
    [ "$(answers 'BDAT 34 LAST\r\n.\r\n..\r\n.x\r\nQUIT\r\nRSET\r\n\r\n.\r\nMAIL\r\nNOOP\r\n')" = \
        '250 2.0.0 250 2.0.0' ]
    [ "$(sent)" = $'.\n..\n.x\nQUIT\nRSET\n\n.\nMAIL' ]
}

@test "RFC 3030 2: bdat: cut at any octet, the message is the same" {
    text='Subject: x\r\nReturn-Path: <y>\r\n z\r\nTo: z\r\n\r\n.text\r\n\r\n'
    size=$(printf "$text" | wc -c)
    for ((i = 0; i <= size; i++)); do
        printf 'MAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\nBDAT %d\r\n' "$i"
        printf "$text" | head -c "$i"
        printf 'BDAT %d LAST\r\n' "$((size - i))"
        printf "$text" | tail -c "+$((i + 1))"
    done >commands
    { printf 'EHLO me\r\n' && cat commands; } >.asked
    talk -b <.asked >out
    mails bob $((size + 1))
    for each in mail/bob/new/*; do
        sed '1,/^\t[A-Z][a-z][a-z], /d' "$each"
        echo END
    done | sort | uniq -c | awk '{ print $1 }' | sort -u >counts
    # Each line as often as there are messages, the two empty ones twice.
    [ "$(xargs <counts)" = "$((size + 1)) $((2 * (size + 1)))" ] ||
        [ "$(xargs <counts)" = "$((2 * (size + 1))) $((size + 1))" ]
    run -1 grep -h 'Return-Path: <y>' mail/bob/new/*
}

@test "RFC 3030 2: bdat: lines around the sizes of buffers, octet for octet" {
    py >text <<'OVER'
import random, sys
random.seed(1)
out = b"Subject: x\r\n\r\n"
for n in [998, 999, 1000, 1001, 1002, 1999, 2000, 2001, 65535, 65536, 65537, 200000]:
    out += b"".join(bytes([random.randrange(32, 256)]) for i in range(n)) + b"\r\n"
sys.stdout.buffer.write(out)
OVER
    {
        printf 'EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\n'
        printf 'BDAT %d LAST\r\n' "$(wc -c <text)"
        cat text
        printf 'QUIT\r\n'
    } | talk -b | tail -n 2 | cut -c 1-9 | xargs | grep -x '250 2.0.0 221 2.0.0'
    sent >kept
    tr -d '\r' <text | cmp - kept
}

@test "bdat: a message may end inside a line, and be empty" {
    answers 'BDAT 16 LAST\r\nSubject: x\r\n\r\nhi'
    [ "$(tail -c 2 mail/bob/new/*)" = hi ]
    [ "$(answers 'BDAT 0 LAST\r\n')" = '250 2.0.0' ]
    mails bob 2
}

@test "RFC 3030 2: bdat: nothing after LAST: 503, and its octets are no commands" {
    [ "$(answers 'BDAT 2 LAST\r\n\r\nBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nRSET\r\nNOOP\r\n')" = \
        '250 2.0.0 503 5.5.1 503 5.5.1 250 2.0.0' ]
    mails bob 1
}

@test "RFC 3030 2: bdat: out of order, the chunk is read and thrown away" {
    for before in '' 'EHLO me\r\n' 'EHLO me\r\nMAIL FROM:<>\r\n'; do
        printf "${before}"'BDAT 6 LAST\r\nQUIT\r\nBDAT 6\r\nQUIT\r\nNOOP\r\n' |
            talk -b | tr -d '\r' | tail -n 3 | cut -c 1-9 | xargs >out
        [ "$(cat out)" = '503 5.5.1 503 5.5.1 250 2.0.0' ]
    done
    nothing_kept
}

@test "RFC 5321 3.3: bdat: all recipients refused: 503, and the chunk goes" {
    [ "$(answers 'RSET\r\nMAIL FROM:<>\r\nRCPT TO:<x@elsewhere.example>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n')" = \
        '250 2.0.0 250 2.1.0 550 5.7.1 503 5.5.1 250 2.0.0' ]
}

@test "RFC 3030 2: bdat: DATA, RCPT and MAIL after a chunk get 503, and the message can go on" {
    serve -b
    dialogue <<OVER
$LETTER
X: BDAT 14\r\nSubject: x\r\n\r\n
S: 250 2.0.0 ...
C: DATA
S: 503 5.5.1 ...
C: RCPT TO:<carol@example.com>
S: 503 5.5.1 ...
C: MAIL FROM:<>
S: 503 5.5.1 ...
C: NOOP
S: 250 2.0.0 ...
X: BDAT 6 LAST\r\ntext\r\n
S: 250 2.0.0 ...
$BYE
OVER
    [ "$(sent)" = $'Subject: x\n\ntext' ]
}

@test "RFC 3030 2: bdat: RSET and EHLO clear the chunks" {
    big=$(printf 'x%.0s' {1..70}) # more than the buffers hold, so that a file is made
    for clear in 'RSET\r\n' 'HELO me\r\n'; do
        {
            printf 'EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\nBDAT 144000\r\n'
            for _ in {1..2000}; do printf '%s\r\n' "$big"; done
            printf "$clear"'BDAT 3 LAST\r\nx\r\n'
            printf 'MAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\nBDAT 5 LAST\r\nnew\r\n'
        } | talk -b | tail -n 1 | grep '^250 2\.0\.0 '
        files mail 1
        [ "$(sent)" = new ]
        rm -r mail
    done
}

@test "RFC 5321 4.1.1.5: bdat: a client that leaves between or in chunks leaves nothing" {
    for end in '' 'BDAT 100 LAST\r\nx\r\n' 'QUIT\r\n'; do
        {
            printf 'EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\nBDAT 140000\r\n'
            head -c 140000 /dev/zero | tr '\0' x
            printf "$end"
        } >.asked
        talk -b <.asked
        nothing_kept
    done
}

@test "RFC 3030 2: bdat: what is no size gets 501, and nothing is waited for" {
    [ "$(answers 'BDAT\r\nBDAT x\r\nBDAT -1\r\nBDAT 1 FIRST\r\nBDAT LAST\r\nBDAT 0 LAST x\r\nBDAT 0x0\r\nNOOP\r\n')" = \
        '501 5.5.4 501 5.5.4 501 5.5.4 501 5.5.4 501 5.5.4 501 5.5.4 501 5.5.4 250 2.0.0' ]
}

@test "RFC 1870 6.3: bdat: over the limit: 552 after the chunk, and the rest is not taken" {
    {
        printf 'EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\nBDAT 40000\r\n'
        head -c 40000 /dev/zero | tr '\0' x
        printf 'BDAT 40000\r\n'
        head -c 40000 /dev/zero | tr '\0' x
        printf 'BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n'
    } | talk -b -z 65536 | tail -n 4 | cut -c 1-9 | xargs >out
    [ "$(cat out)" = '250 2.0.0 552 5.3.4 503 5.5.1 250 2.0.0' ]
    nothing_kept
}

@test "bdat: a size without end sizes no memory" {
    {
        printf 'EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\nBDAT 99999999999999999999 LAST\r\n'
        head -c 30000000 /dev/zero | tr '\0' x
    } >input
    grep -q __asan "$SMTPD" && skip "sanitizers need more memory than that"
    (ulimit -v 100000 && talk -b <input)
    nothing_kept
}

@test "RFC 5321 2.3.8: bdat: bare CR, bare LF and NUL get 554, and the chunk is read to its end" {
    for text in 'a\nb\r\n' 'a\rb\r\n' 'a\0b\r\n' 'ab\n\r\n' 'abc\r\r\n' 'abcd\r' 'abcd\n' '\n\n\n\n\n'; do
        size=$(printf "$text" | wc -c)
        [ "$(answers "BDAT $size LAST\r\n${text}NOOP\r\n")" = '554 5.6.0 250 2.0.0' ]
    done
    nothing_kept
}

@test "RFC 3030 2: bdat: a failed chunk, and those already on their way, are not obeyed" {
    [ "$(answers 'BDAT 4\r\na\nb\nBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nRSET\r\n')" = \
        '554 5.6.0 503 5.5.1 503 5.5.1 250 2.0.0' ]
    nothing_kept
}

@test "RFC 5321 6.3: bdat: Received fields are counted over all chunks" {
    {
        printf 'EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\n'
        for _ in {1..101}; do printf 'BDAT 13\r\nReceived: x\r\n'; done
        printf 'BDAT 0 LAST\r\n'
    } | talk -b | grep '^554 5\.4\.6 '
    nothing_kept
}

@test "RFC 3030 2: bdat: DATA is there as before, in the same session too" {
    serve -b
    dialogue <<OVER
$LETTER
X: BDAT 5 LAST\r\none\r\n
S: 250 2.0.0 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@example.com>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: ..two
C: .
S: 250 2.0.0 ...
$BYE
OVER
    mails bob 2
    [ "$(tail -qn 1 mail/bob/new/* | sort | xargs)" = '.two one' ]
}

@test "SIGTERM: bdat: in a chunk as in DATA: 421 at once, and nothing is kept" {
    serve -b
    dialogue <<OVER
$LETTER
X: BDAT 5\r\non
\$: kill -s TERM "\$SERVER"
S: 421 4.3.2 ...
OVER
    end_server 0
    nothing_kept
}
