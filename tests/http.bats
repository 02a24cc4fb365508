#!/usr/bin/env bats
# A browser can be made to send a request to any port, with text of a stranger's
# choice in it. A session that begins as HTTP does must end there.

# shellcheck disable=SC2034,SC2154
load helpers

refusal='502 5.5.1 This is SMTP in the clear, not HTTP and not TLS'

# What is said to these lines must be the greeting, the refusal, and no more.
refused() { # LINE...
    ask "$@"
    if [ "${#codes[@]}" -ne 1 ] || [[ $last != "$refusal"* ]]; then
        echo "$1:" && cat replies && return 1
    fi
}

@test "http: each method as first word, in any case, ends the session" {
    for method in GET HEAD POST PUT PATCH DELETE OPTIONS CONNECT TRACE; do
        refused "$method / HTTP/1.1" NOOP
        refused "$method" NOOP
    done
    for method in get Post oPTIONS patch Trace; do
        refused "$method / HTTP/1.1" NOOP
    done
}

@test "http: over a connection the refusal arrives and the connection is closed" {
    serve
    dialogue <<'END'
S: 220 ...
C: POST / HTTP/1.1
C: Host: localhost:2525
C: Content-Length: 1000000
S: 502 5.5.1 This is SMTP in the clear, not HTTP and not TLS (RFC 5321 7.8)
E:
END
    wait_until no_sessions
}

@test "http: HTTPS ends the session too, whatever its handshake holds" {
    # A browser sends back a session ticket, and that is the text of a stranger's choice.
    { printf '\026\003\001\002\000\001\000\001\374\003\003'
        printf '%s\r\n' '' 'EHLO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA x . QUIT; } >session
    tell session
    [ ${#said[@]} -eq 2 ]
    [[ $last == "$refusal"* ]]
    mails bob 0
    # In a session that has begun it is no more than an octet that nobody can type.
    gets '250 500 5.5.2 250 2.0.0' 'HELO me' $'\026\003' NOOP
}

@test "http: a form that holds a whole mail session is not obeyed" {
    serve
    {
        printf '%s\r\n' 'POST / HTTP/1.1' 'Host: 127.0.0.1' 'Content-Type: text/plain' \
            'Content-Length: 103' ''
        printf '%s\r\n' 'HELO evil' 'MAIL FROM:<a@b.example>' 'RCPT TO:<bob@localhost>' DATA \
            'Subject: posted' '' x . QUIT
    } >.asked
    send_raw <.asked >out
    mapfile -t heard <out
    [ ${#heard[@]} -eq 2 ]
    [[ ${heard[1]} == "$refusal"* ]]
    files mail 0
}

@test "http: a form with bare LF is not obeyed either" {
    # A first line that ends in a bare LF would be a person's, typing into nc.
    printf '%s\n' 'POST / HTTP/1.1' '' 'HELO evil' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' \
        DATA x . >session
    tell session
    [ ${#said[@]} -eq 2 ]
    [[ $last == "$refusal"* ]]
    files mail 0
}

@test "http: the line may be too long for a command" {
    for length in 1000 1024 1025 5000 200000; do
        printf -v long "%0${length}d" 0
        refused "POST /$long HTTP/1.1" NOOP
    done
}

@test "http: it need not be the first line, but come before HELO or EHLO" {
    gets '250 2.0.0 500 5.5.1 500 5.5.1 501 5.5.4 502 5.5.1' \
        NOOP '' FOOBAR 'EHLO' 'GET / HTTP/1.1' NOOP
    for hello in 'HELO me' 'EHLO me'; do
        gets '250 500 5.5.1 500 5.5.1 250 2.0.0' "$hello" 'GET / HTTP/1.1' 'POST x' NOOP
    done
}

@test "http: other words, and these as part of others, are only unknown" {
    rows=()
    for word in GETS XGET FORGET POSTER HEADER PATCHED XTRACE TRACER HTTP/1.1 Host: GET/; do
        rows+=("500 5.5.1|$word / HTTP/1.1" '250 2.0.0|NOOP')
    done
    rows+=('250 2.0.0|NOOP GET / HTTP/1.1' '250 2.0.0|NOOP')
    rows
}

@test "http: curl sees no HTTP and gives up" {
    need curl
    serve
    for arguments in "" "-I" "-d x=1" "-X DELETE" "--http0.9"; do
        # shellcheck disable=SC2086
        curl -s --noproxy '*' --max-time 10 $arguments "http://127.0.0.1:$PORT/" >>out || :
    done
    wait_until no_sessions
    [ "$(grep -c "$refusal" log)" -eq 5 ]
    files mail 0
}

@test "http: TLS is refused at its second octet, without an end of line" {
    serve
    # The beginning of a ClientHello.
    dialogue <<'END'
S: 220 ...
X: \x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03
S: 502 5.5.1 This is SMTP in the clear, not HTTP and not TLS (RFC 5321 7.8)
E:
END
    dialogue <<'END'
S: 220 ...
X: \x16\x03\x01\x02\x00\x01\x00\x0d\x0aNOOP\r\n
S: 502 5.5.1 ...not TLS...
E:
END
}

@test "http: TLS is known however its octets are cut, and 22 alone is not TLS" {
    pieces <<'END'
hello = b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + b'\r\nNOOP\r\n'
for cuts in [1], [2], [1, 2], [1, 2, 3, 4, 5], [11]:
    s = Session()
    s.send(*(hello[a:b] for a, b in zip([0] + cuts, cuts + [len(hello)])))
    same(s.end(), ['502 5.5.1'], cuts)
# Nothing is known of it, so nothing is said, before the second octet has come.
s = Session()
s.send(b'\x16')
same(select.select([s.process.stdout], [], [], 0.2)[0], [], 'what is said to 22')
s.send(b'\x03')
same(s.code(), '502 5.5.1', 'the refusal')
same(s.end(), [], 'the end')
END
}

@test "http: what only looks like TLS is a command, and no octet but 22 is waited behind" {
    pieces <<'END'
for other in b'N\x03', b'\x16', b'\x16NOOP', b'\x03\x16\x03', b'\x03', b'NOOP\x16\x03':
    for cut in 1, len(other):
        s = Session()
        s.send(other[:cut], other[cut:] + b'\r\nNOOP\r\n')
        same(s.end(), ['500 5.5.2', '250 2.0.0'], other)
# A person's Enter:
s = Session()
s.send(b'\n')
same(s.code(), '500 5.5.1', 'an empty line')
same(s.end(), [], 'the end')
END
}
