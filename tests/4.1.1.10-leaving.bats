#!/usr/bin/env bats
# Clients that leave: RFC 5321 4.1.1.5 and 4.1.1.10 on lost connections; and that
# the last replies reach those that are told to go.

load helpers

# Python, with the clients of slow.py.
clients() { "$PYTHON" -EsB "$ROOT/tests/slow.py"; }

# All sessions have ended, none of them badly, and no message lies anywhere but
# in dan's mailbox; and the next client is served.
all_over() {
    wait_until no_sessions
    if holds log 'ended by signal'; then cat log && false; fi
    local dan=(mail/dan/new/*)
    [ -e "${dan[0]}" ] || dan=()
    files mail ${#dan[@]}
    dialogue <<'END'
S: 220 ...
C: QUIT
S: 221 2.0.0 ...
END
}

@test "after the client's end of file every complete command is answered, no other" {
    serve
    clients <<'END'
said = b'HELO me\r\nNOOP\r\n' + envelope('dan') + b'one\r\n.\r\nRSET\r\n'
for last in b'', b'NOO', b'QUIT', b'QUIT\r', b'\r', b'0' * 2000, b'NOOP\0':
    c = Client()
    c.send(said + last)
    c.socket.shutdown(socket.SHUT_WR)
    same(c.rest(), ['220', '250', '250 2.0.0'] + KEPT + ['250 2.0.0'], last)
END
    all_over
    mails dan 7
}

@test "RFC 5321 4.1.1.10: a message whose dot never comes is not kept" {
    serve
    clients <<'END'
for text in b'', b'one', b'one\r', b'one\r\n', b'one\r\n.', b'one\r\n.\r', b'one\n.\n', b'.', \
        b'.\r', b'0' * 200000 + b'\r\n':
    c = Client()
    c.send(b'HELO me\r\n' + envelope() + text)
    c.socket.shutdown(socket.SHUT_WR)
    same(c.rest(), ['220', '250'] + ASKED, text)
END
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
    mails dan 3
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

@test "RFC 5321 3.8: SIGTERM while replies wait: no line is cut and another put behind it" {
    # What is cut is the end of the stream, when it has taken none for two seconds.
    clients <<'END'
s = Inetd('-t', '120', small=True)
s.deafen(b'HELP\r\n' * 100)
s.process.terminate()
time.sleep(3.5)
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
    grep -q ' lost: the client takes no replies' log
}
