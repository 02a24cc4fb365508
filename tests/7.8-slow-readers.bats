#!/usr/bin/env bats
# Clients that take no replies, or take them slowly: RFC 5321 7.8. Here they have a
# second or two (-t 1), since a test can't wait for five minutes.

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
while s.age() < 2.5:
    same(s.hear(2000) != b'', True, 'it takes its time')
    time.sleep(0.1)
same(s.rest(), ['220'] + ['214 2.0.0'] * 600 + ['221 2.0.0'], 'the replies')
s.end()
END
}

@test "RFC 5321 7.8: who is slow to read is still sent all replies before the last" {
    # This is longer than the client has to take the last words alone.
    clients <<'END'
ends = {b'QUIT\r\n': ['221 2.0.0'], b'x\r\n' * 20: ['500 5.5.1'] * 20 + ['421 4.7.0'],
        b'GET / HTTP/1.1\r\n': ['502 5.5.1']}
sessions = {commands: Inetd('-t', '10', small=True) for commands in ends}
for commands, s in sessions.items():
    s.send(b'HELP\r\n' * 28 + b'NOOP\r\n' * 4 + commands)
time.sleep(2.3)
for commands, s in sessions.items():
    same(s.rest(), ['220'] + ['214 2.0.0'] * 28 + ['250 2.0.0'] * 4 + ends[commands], commands)
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
same(s.rest(1024, 0.2), ['220'] + ['214 2.0.0'] * 61 + ['221 2.0.0'], 'the replies')
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

@test "RFC 5321 7.8: -i: so too on a pipe" {
    clients <<'END'
s = Session('-t', '1')
os.write(s.ours, b'HELP\r\n' * 1000)    # the replies are more than a pipe holds
began = time.monotonic()
same(s.process.wait(10), 0, 'the exit status')
same(0.9 < time.monotonic() - began < 4, True, 'in its time, not before')
END
    grep -q ' lost: the client takes no replies' log
}
