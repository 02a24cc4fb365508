#!/usr/bin/env bats
# How long a command may be: RFC 5321 4.5.3.1.4 asks for 512 octets with the
# CRLF, and here 1024 are taken.

# shellcheck disable=SC2154
load helpers

# A line of so many octets, its CRLF among them: what is given, then 0's.
line() { # OCTETS WORDS
    printf '%s%0*d\r\n' "$2" $(($1 - 2 - ${#2})) 0
}

@test "RFC 5321 4.5.3.1.4: a command line of 512 octets is taken" {
    {
        printf 'EHLO me\r\n'
        line 512 'NOOP '
        line 512 'VRFY '
        # Parameters may lengthen it: RFC 1870 3 by 26 octets, RFC 6531 3.2 by 10.
        printf 'MAIL FROM:<%s@%s.example.org> SIZE=%020d BODY=8BITMIME SMTPUTF8%512s\r\n' \
            "${xs:0:64}" "${xs:0:63}" 65536 ''
        printf 'QUIT\r\n'
    } >.asked
    tell .asked
    [ "${codes[*]}" = '250 250 2.0.0 252 2.0.0 250 2.1.0 221 2.0.0' ]
}

@test "RFC 5321 4.5.3.1.4: 1024 octets are the most, and a longer line gets one 500" {
    for size in 1022 1023 1024 1025 1026 1027 2047 2048 4096 8192 65535 65536 65537 131072; do
        { line "$size" 'NOOP ' && printf 'RSET\r\nQUIT\r\n'; } >.asked
        tell .asked
        wanted='250 2.0.0'
        [ "$size" -le 1024 ] || wanted='500 5.5.2'
        echo "with $size octets: ${codes[*]}"
        [ "${codes[*]}" = "$wanted 250 2.0.0 221 2.0.0" ]
    done
}

@test "RFC 5321 4.5.3.1.4: no part of a longer line is obeyed, neither its start nor its end" {
    # What would be a good command if the line were cut anywhere near 1024.
    {
        printf 'HELO me\r\nMAIL FROM:<>\r\n'
        printf 'RSET%1100s\r\n' ''
        printf '%1022sRSET\r\n' ''
        printf '%1023sRSET\r\n' ''
        printf '%1024sRSET\r\n' ''
        printf '%1025sRSET\r\n' ''
        printf 'RSET%1020sRSET\r\n' ''
        # The message is begun still.
        printf 'RCPT TO:<bob@localhost>\r\nQUIT\r\n'
    } >.asked
    tell .asked
    count 6 '500 5.5.2'
    [ "${codes[*]:0:2} ${codes[*]:8}" = '250 250 2.1.0 250 2.1.5 221 2.0.0' ]
}

@test "RFC 5321 4.5.3.1.4: a longer line ends at its CRLF, wherever its CRs and packets are" {
    pieces <<'END'
s = Session()
for size in 1020, 1021, 1022, 1023, 1024, 1025, 1026:
    # A CR at the limit, the LF much later, or in a packet of its own.
    bad = b'NOOP ' + b'x' * (size - 5)
    for rest in (b'\rx' + b'x' * 2000 + b'\r\n',), (b'x' * 99, b'\r\r\r', b'\n'), \
            (b'\0' * 99 + b'\r', b'\n'), (b'x' * 99,) + (b'x',) * 9 + (b'\r', b'\n'):
        s.send(b'HELO me\r\n')
        s.code()
        s.send(bad, *rest)
        s.send(b'NOOP\r\n')
        same((s.code(), s.code()), ('500 5.5.2', '250 2.0.0'), (size, rest[-2:]))
        if s.unread() or s.heard:
            sys.exit('more was said: %r' % s.heard)
        s.end()
        s = Session()
END
}

@test "RFC 5321 4.5.3.1.4: white space at the end counts" {
    {
        printf 'NOOP%1018s\r\nNOOP%1019s\r\n' '' ''
        printf 'NOOP%1017s\t\r\nNOOP%1018s\t\r\nQUIT\r\n' '' ''
    } >.asked
    tell .asked
    [ "${codes[*]}" = '250 2.0.0 500 5.5.2 250 2.0.0 500 5.5.2 221 2.0.0' ]
}

@test "RFC 5321 4.5.3.1.4: a line of 10 MB gets one 500, and the session goes on" {
    serve
    {
        printf 'EHLO me\r\nMAIL FROM:<'
        printf %010000000d 0
        printf '@example.org>\r\nNOOP\r\nQUIT\r\n'
    } >.asked
    send_raw <.asked >out
    heard out
    [ "${codes[*]}" = '250 500 5.5.2 250 2.0.0 221 2.0.0' ]
    # What is thrown away is not kept anywhere: not in the log, even.
    IFS= read -r -d '' text <log || :
    [ ${#text} -lt 10000 ]
}

@test "RFC 5321 4.5.3.1.4: 10 MB without an end get nothing, and end with the client" {
    serve
    printf %010000000d 0 >long
    send_raw <long >out
    heard out
    [ ${#said[@]} -eq 1 ]
    [[ $last == '220 mail.'* ]]
    wait_until no_sessions
}

@test "RFC 5321 4.5.3.1.4: the longest path that may be fits a command line" {
    serve
    label=${xs:0:62}
    # 256 octets with < and >: RFC 5321 4.5.3.1.3.
    path="<${xs:0:64}@$label.$label.${xs:0:61}.b>"
    [ ${#path} -eq 256 ]
    dialogue <<END
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:$path
S: 250 2.1.0 ...
C: RCPT TO:$path
S: 550 5.7.1 ...
C: QUIT
S: 221 2.0.0 ...
END
}

@test "RFC 5321 2.3.8: a bare LF in a longer line gets one 500, at once, and ends the session" {
    serve
    long=${xs:0:2000}
    dialogue <<END
S: 220 ...
C: HELO me
S: 250 ...
X: $long\n
S: 500 5.5.2 ...LF...
E:
END
    printf 'HELO me\r\nNOOP\n%s\n%s\r\nQUIT\r\n' "$long" "$long" >.asked
    tell .asked
    [ "${codes[*]}" = '250 500 5.5.2' ]
}
