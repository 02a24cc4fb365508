#!/usr/bin/env bats
# Clients that are slow, or leave: RFC 5321 4.5.3.2, and 4.1.1.5 and 4.1.1.10 on
# lost connections. Here a client may take a second (-t 1), since a test can't
# wait for five minutes.

load helpers

# Python, with the clients of slow.py.
clients() { "$PYTHON" -EsB "$ROOT/tests/slow.py"; }

# All sessions have ended, none of them badly, and no message lies anywhere but
# in dan's mailbox; and the next client is served.
all_over() {
    wait_until no_sessions
    run -1 grep -q 'ended by signal' log
    [ -z "$(find mail -type f ! -path 'mail/dan/new/*')" ]
    dialogue <<'END'
S: 220 ...
C: QUIT
S: 221 2.0.0 ...
END
}

@test "RFC 5321 4.5.3.2.7: with nothing said, a client may take five minutes" {
    "$SMTPD" -h | grep -e '-t SECONDS.*(300)'
}

@test "RFC 5321 4.5.3.2.7: a client that says nothing gets 421" {
    serve -t 1
    dialogue <<'END'
S: 220 ...
S: 421 4.4.2 mail.example.com ...
E:
END
    all_over
}

@test "RFC 5321 4.5.3.2.7: so too on pipes" {
    dialogue --to "$SMTPD" -i -m mail -n mail.example.com -t 1 <<'END'
S: 220 ...
C: NOOP
S: 250 2.0.0 ...
S: 421 4.4.2 mail.example.com ...
E:
END
}

@test "RFC 5321 4.5.3.2.7: a client that stops anywhere gets 421, in its time, not before" {
    serve -t 1
    clients <<'END'
jobs = [lambda state=state: stop(state) for state in STATES]
# Inside mail data, with much of them on disk.
for text in b'half a line', b'a line\r\n', b'.', b'.\r', b'x\r\n.\r', b'x' * 300000, b'x\r\n' * 100000:
    jobs.append(lambda text=text: stop('in data', text))
together(*jobs)
END
    all_over
}

@test "RFC 5321 4.5.3.2: each command has the time anew" {
    serve -t 1
    clients <<'END'
c = Client('220')
for line in b'NOOP', b'nonsense', b'HELO me', b'MAIL FROM:<>', b'QUIT':
    time.sleep(0.6)
    c.send(line + b'\r\n')
same(c.rest(), ['250 2.0.0', '500 5.5.1', '250', '250 2.1.0', '221 2.0.0'], 'the replies')
END
}

@test "RFC 5321 4.5.3.2.7: octets now and then don't stretch the time for a command" {
    serve -t 1
    clients <<'END'
together(lambda: drip('greeted', b'x'), lambda: drip('named', b' '), lambda: drip('line begun', b'P'),
         lambda: drip('long line', b'x'), lambda: drip('behind a bare LF', b'\n'),
         lambda: drip('behind a bare LF', b'x\r'), lambda: drip('rcpt given', b'\0'))
END
    all_over
}

@test "RFC 5321 7.8: mail data slower than 500 octets a second get 421" {
    serve -t 1
    clients <<'END'
# One octet, a line of one octet, and half of 500 octets a second, which uses up
# the first second by the end of the next.
together(lambda: drip('in data', b'x', 0.1), lambda: drip('in data', b'x\r\n', 0.1),
         lambda: drip('in data', b'..', 0.1),
         lambda: drip('in data', b'x' * 23 + b'\r\n', 0.1, least=1.3, most=10))
END
    all_over
}

@test "RFC 5321 7.8: mail data at 500 octets a second and better are taken, however long it takes" {
    serve -t 1
    clients <<'END'
together(steady, on_the_whole)
same(sorted(stored()), [1, 2], 'what is kept')
END
}

@test "RFC 5321 7.8: a client that reads no replies loses its session" {
    serve -t 1
    clients <<'END'
c = Client(small=True)
c.deafen(b'HELP\r\n' * 1000)
until(idle, "the session's end")
END
    all_over
}

@test "RFC 5321 7.8: a client that reads its replies slowly keeps its session" {
    # On a socket that holds little: it takes far longer than a second to read
    # these replies, but never a second to read some.
    clients <<'END'
s = Inetd('-t', '1', small=True)
s.send(b'HELP\r\n' * 600 + b'QUIT\r\n')
while s.age() < 3:
    same(s.hear(2000) != b'', True, 'it takes its time')
    time.sleep(0.1)
same(s.rest(), ['220'] + ['214 2.0.0'] * 600 + ['221 2.0.0'], 'the replies')
s.end()
END
}

@test "RFC 5321 7.8: who is slow to read is still sent all replies before the last" {
    # Three seconds, which is longer than the client has to take the last words alone.
    clients <<'END'
ends = {b'QUIT\r\n': ['221 2.0.0'], b'x\r\n' * 20: ['500 5.5.1'] * 20 + ['421 4.7.0'],
        b'GET / HTTP/1.1\r\n': ['502 5.5.1']}
sessions = {commands: Inetd('-t', '10', small=True) for commands in ends}
for commands, s in sessions.items():
    s.send(b'HELP\r\n' * 16 + b'NOOP\r\n' * 4 + commands)
time.sleep(3)
for commands, s in sessions.items():
    same(s.rest(), ['220'] + ['214 2.0.0'] * 16 + ['250 2.0.0'] * 4 + ends[commands], commands)
    s.end()
END
}

@test "RFC 5321 4.5.3.2.7: the time a client takes to read is not its time to write" {
    # Half a command comes with the others, so its time runs while they are answered.
    clients <<'END'
s = Inetd('-t', '2', small=True)
s.send(b'HELP\r\n' * 60 + b'HE')
select.select([s.socket], [], [], 10)
time.sleep(0.1)
s.send(b'LP\r\nQUIT\r\n')
same(s.rest(1024, 0.3), ['220'] + ['214 2.0.0'] * 61 + ['221 2.0.0'], 'the replies')
s.end()
END
}

@test "RFC 5321 7.8: -i: a socket that holds little can't be used to stay for ever" {
    # Linux calls such a connection writable when less fits than is to be written.
    clients <<'END'
listener = socket.create_server(('127.0.0.1', 0))
ours = socket.socket()
ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
ours.connect(listener.getsockname())
theirs = listener.accept()[0]
theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
s = Inetd('-t', '1', pair=(ours, theirs))
s.deafen(b'HELP\r\n' * 1000)
same(s.process.wait(20), 0, 'the exit status')
END
    grep -q ' lost: the client takes no replies' log
}

@test "RFC 5321 3.8: SIGTERM while replies wait: no line is cut and another put behind it" {
    # What is cut is the end of the stream, when 30 seconds are over.
    hasty
    clients <<'END'
s = Inetd('-t', '120', small=True)
s.deafen(b'HELP\r\n' * 100)
s.process.terminate()
time.sleep(6)
while s.hear():
    pass
whole = s.heard[:s.heard.rindex(b'\r\n')].split(b'\r\n')
one = [line for line in whole[1:] if line.startswith(b'214')][:20]
for line in whole[1:-1]:
    assert line in one, line
assert whole[-1] in one or whole[-1].startswith(b'421 4.3.2 '), whole[-1]
s.socket.close()
s.process.wait(10)
END
}

@test "after the client's end of file every complete command is answered, no other" {
    serve
    for last in '' 'NOO' 'QUIT' 'QUIT\r' '\r' "$(printf %02000d 0)" 'NOOP\0'; do
        printf 'HELO me\r\nNOOP\r\nMAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\none\r\n.\r\nRSET\r\n%b' "$last" |
            send_raw >out
        [ "$(cut -c 1-9 out | tr '\n' ,)" = \
            '220 mail.,250 mail.,250 2.0.0,250 2.1.0,250 2.1.5,354 Start,250 2.0.0,250 2.0.0,' ]
    done
    wait_until no_sessions
    [ "$(mail_count bob)" -eq 7 ]
}

@test "RFC 5321 4.1.1.10: a message whose dot never comes is not kept" {
    serve
    for text in '' one 'one\r' 'one\r\n' 'one\r\n.' 'one\r\n.\r' 'one\n.\n' '.' '.\r' "$(printf %0200000d 0)\r\n"; do
        printf 'HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\n%b' "$text" | send_raw >out
        [ "$(cut -c 1-9 out | tail -n 1)" = '354 Start' ]
    done
    all_over
}

@test "RFC 5321 4.1.1.5: a lost connection is a QUIT, in any state, and undoes nothing" {
    serve
    clients <<'END'
for how in 'close', 'half-close', 'reset':
    for state in STATES:
        reach(state).leave(how)
END
    all_over
    [ "$(mail_count dan)" -eq 3 ]
}

@test "RFC 5321 4.1.1.10: clients that leave inside mail data leave nothing" {
    serve
    clients <<'END'
for how in 'close', 'half-close', 'reset':
    for text in b'', b'one', b'one\r\n.', b'one\r\n.\r', b'\0\n.\n':
        c = reach('in data')
        c.send(text)
        c.leave(how)
    # The same when a part is on disk already.
    c = reach('in data')
    c.send(b'x\r\n' * 100000)
    until(lambda: glob.glob('mail/bob/tmp/*'), 'a file in tmp')
    c.leave(how)
    until(lambda: not glob.glob('mail/bob/tmp/*'), 'its end')
END
    all_over
}

@test "no last reply is lost to a reset: to QUIT, to HTTP, to errors, to a timeout" {
    serve -t 1
    clients <<'END'
together(late, lambda: goes_on('named', b'QUIT\r\n', ['221 2.0.0']),
         lambda: goes_on('greeted', b'POST / HTTP/1.1\r\n', ['502 5.5.1']),
         lambda: goes_on('greeted', b'nonsense\r\n' * 25, ['500 5.5.1'] * 20 + ['421 4.7.0']))
END
}

@test "no last reply is lost, but a client that sends for ever is left after two seconds" {
    serve
    clients <<'END'
c = reach('named')
c.send(b'QUIT\r\n')
c.began = time.monotonic()
try:
    while c.age() < 15:
        c.send(b'x' * 1000)
        time.sleep(0.01)
except OSError:
    pass
same(1.5 < c.age() < 8, True, '%.1f seconds' % c.age())
END
    all_over
}

@test "a client that goes when it is told to is not waited for" {
    serve
    clients <<'END'
began = time.monotonic()
for _ in range(20):
    c = reach('named')
    c.send(b'QUIT\r\n')
    same(c.rest(), ['221 2.0.0'], 'the reply')
    c.leave('close')
until(idle, 'the last session')
same(time.monotonic() - began < 15, True, 'no two seconds each')
END
    all_over
}

@test "RFC 5321 4.5.3.2: a slow client holds up no other" {
    serve
    clients <<'END'
slow = [reach(state) for state in STATES] + [reach('in data') for _ in range(5)]
for c in slow[-5:]:
    c.send(b'half a line')
for number in range(3):
    c = Client('220')
    c.send(b'HELO me\r\n' + envelope('dan') + b'one\r\n.\r\nQUIT\r\n')
    same(c.rest(), ['250', '250 2.1.0', '250 2.1.5', '354', '250 2.0.0', '221 2.0.0'], 'the replies')
END
    all_over
}
