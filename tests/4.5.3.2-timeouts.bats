#!/usr/bin/env bats
# Clients that are slow, or leave: RFC 5321 4.5.3.2, and 4.1.1.5 and 4.1.1.10 on
# lost connections. Here a client may take a second (-t 1), since a test can't
# wait for five minutes.

load helpers
load pieces

# Python: clients of the server on $PORT, each in a thread of its own.
CLIENTS='
import socket, struct, threading

STATES = {  # what brings a session there, and the code that shows it is there
    "greeted": (b"", b"220"),
    "named": (b"EHLO me\r\n", b"250 "),
    "mail given": (b"HELO me\r\nMAIL FROM:<>\r\n", b"250 2.1.0"),
    "rcpt given": (b"HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\n", b"250 2.1.5"),
    "all refused": (b"HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@elsewhere.example>\r\n", b"550 5.7.1"),
    "in data": (b"HELO me\r\n" + envelope(), b"354"),
    "message kept": (b"HELO me\r\n" + envelope("dan") + b"one\r\n.\r\n", b"250 2.0.0"),
    "line begun": (b"NOOP\r\nNOO", b"250 2.0.0"),
    "line all but ended": (b"NOOP\r\nNOOP\r", b"250 2.0.0"),
    "long line": (b"NOOP\r\n" + b"x" * 5000, b"250 2.0.0"),
    "behind a bare LF": (b"HELO me\r\nNOOP\nNOOP", b"500 5.5.2"),
}


class Client:
    def __init__(self, state="greeted", small=False):
        self.socket = socket.socket()
        self.socket.settimeout(20)
        if small:   # take in little that is not read
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", int(os.environ["PORT"])))
        self.heard = b""
        self.send(STATES[state][0])
        while not re.search(b"^" + STATES[state][1], self.heard, re.M):
            octets = self.socket.recv(65536)
            assert octets, "%s: closed after %r" % (state, self.heard)
            self.heard += octets
        self.heard = b""
        self.began = time.monotonic()

    def age(self):
        return time.monotonic() - self.began

    def send(self, octets):
        self.socket.sendall(octets)

    def closed(self):
        """Has the server closed? What it has said by now is in heard."""
        while select.select([self.socket], [], [], 0)[0]:
            octets = self.socket.recv(65536)
            if not octets:
                return True
            self.heard += octets
        return False

    def rest(self):
        """The codes of all that the server says until it closes."""
        while True:
            octets = self.socket.recv(65536)
            if not octets:
                return codes(self.heard)
            self.heard += octets

    def drip(self, octets, pause):
        """Send these again and again until the server closes."""
        while not self.closed():
            assert self.age() < 15, "not closed"
            try:
                self.send(octets)
            except OSError:
                break
            time.sleep(pause)
        return codes(self.heard)

    def leave(self, how):
        if how == "reset":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how == "half-close":
            self.socket.shutdown(socket.SHUT_WR)
            self.rest()
        self.socket.close()


def together(*jobs):
    """Run these at the same time; all must do well."""
    faults = []
    def run(job):
        try:
            job()
        except BaseException as fault:
            faults.append(fault)
    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


def until(condition, what):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "waited in vain for " + what
        time.sleep(0.01)


def small(*options):
    """A server on a socket that holds little, so that it waits for us to read."""
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours.settimeout(20)
    with open("log", "ab") as log:
        server = subprocess.Popen(COMMAND + list(options), stdin=theirs, stdout=theirs, stderr=log)
    theirs.close()
    return ours, server


def rest(ours, size=65536, pause=0):
    heard = b""
    while octets := ours.recv(size):
        heard += octets
        time.sleep(pause)
    return heard
'

clients() { { echo "$CLIENTS" && cat; } | pieces; }

# All sessions have ended, none of them badly, and no message lies anywhere but
# in dan's mailbox; and the next client is served.
all_over() {
    wait_until no_sessions
    run ! grep -q 'ended by signal' log
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
def stop(state, then=b''):
    c = Client(state)
    c.send(then)
    same(c.rest(), ['421 4.4.2'], state)
    same(0.9 < c.age() < 8, True, '%s: %.1f seconds' % (state, c.age()))

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
c = Client()
for line in b'NOOP', b'nonsense', b'HELO me', b'MAIL FROM:<>':
    time.sleep(0.6)
    c.send(line + b'\r\n')
time.sleep(0.6)
c.send(b'QUIT\r\n')
same(c.rest(), ['250 2.0.0', '500 5.5.1', '250', '250 2.1.0', '221 2.0.0'], 'the replies')
END
}

@test "RFC 5321 4.5.3.2.7: octets now and then don't stretch the time for a command" {
    serve -t 1
    clients <<'END'
def drip(state, octets):
    c = Client(state)
    same(c.drip(octets, 0.2), ['421 4.4.2'], (state, octets))
    same(0.9 < c.age() < 8, True, '%s: %.1f seconds' % (state, c.age()))

together(lambda: drip('greeted', b'x'), lambda: drip('named', b' '), lambda: drip('line begun', b'P'),
         lambda: drip('long line', b'x'), lambda: drip('behind a bare LF', b'\n'),
         lambda: drip('behind a bare LF', b'x\r'), lambda: drip('rcpt given', b'\0'))
END
    all_over
}

@test "RFC 5321 7.8: mail data slower than 500 octets a second get 421" {
    serve -t 1
    clients <<'END'
def drip(octets, least, most):
    c = Client('in data')
    same(c.drip(octets, 0.1), ['421 4.4.2'], octets)
    same(least < c.age() < most, True, '%.1f seconds' % c.age())

# One octet, a line of one octet, and half of 500 octets a second, which uses up
# the first second by the end of the next.
together(lambda: drip(b'x', 0.9, 8), lambda: drip(b'x\r\n', 0.9, 8), lambda: drip(b'..', 0.9, 8),
         lambda: drip(b'x' * 23 + b'\r\n', 1.3, 10))
END
    all_over
}

@test "RFC 5321 7.8: mail data at 500 octets a second and better are taken, however long it takes" {
    serve -t 1
    clients <<'END'
def steady():
    c = Client('in data')
    c.send(message(1, b''))
    while c.age() < 3:
        c.send(b'x' * 98 + b'\r\n')
        time.sleep(0.1)
    c.send(b'.\r\n')
    time.sleep(0.6)     # and then the next command has its whole second
    c.send(b'QUIT\r\n')
    same(c.rest(), ['250 2.0.0', '221 2.0.0'], 'steady')

def on_the_whole():     # much at first, then little, but never nothing for a second
    c = Client('in data')
    c.send(message(2, b'x' * 5000))
    for _ in range(5):
        time.sleep(0.6)
        c.send(b'x')
    c.send(b'\r\n.\r\nQUIT\r\n')
    same(c.rest(), ['250 2.0.0', '221 2.0.0'], 'on the whole')

together(steady, on_the_whole)
same(sorted(stored()), [1, 2], 'what is kept')
END
}

@test "RFC 5321 7.8: a client that reads no replies loses its session" {
    serve -t 1
    clients <<'END'
c = Client(small=True)
c.socket.settimeout(0.5)
try:
    while True:     # until nobody takes in any more
        c.send(b'HELP\r\n' * 1000)
except OSError:
    pass
c.began = time.monotonic()
gone = lambda: not os.popen('ps -A -o ppid= -o stat= | grep "^ *%s [^Z]"' % os.environ['SERVER']).read()
until(gone, "the session's end")
END
    all_over
}

@test "RFC 5321 7.8: a client that reads its replies slowly keeps its session" {
    # On a socket that holds little: it takes far longer than a second to read
    # these replies, but never a second to read some.
    clients <<'END'
ours, server = small('-t', '1')
ours.sendall(b'HELP\r\n' * 600 + b'QUIT\r\n')
began, heard = time.monotonic(), b''
while True:
    octets = ours.recv(2000 if time.monotonic() < began + 3 else 65536)
    if not octets:
        break
    heard += octets
    time.sleep(0.1 if time.monotonic() < began + 3 else 0)
same(time.monotonic() > began + 3, True, 'it takes its time')
same(codes(heard), ['220'] + ['214 2.0.0'] * 600 + ['221 2.0.0'], 'the replies')
ours.close()
server.wait(10)
END
}

@test "RFC 5321 7.8: who is slow to read is still sent all replies before the last" {
    # Three seconds, which is longer than the client has to take the last words alone.
    clients <<'END'
ends = {'221 2.0.0': b'QUIT\r\n', '421 4.7.0': b'x\r\n' * 20}
sessions = []
for last, commands in ends.items():
    ours, server = small('-t', '10')
    ours.sendall(b'HELP\r\n' * 16 + b'NOOP\r\n' * 4 + commands)
    sessions.append((last, ours, server))
ours, server = small('-t', '10')                # HTTP ends it before EHLO
ours.sendall(b'HELP\r\n' * 16 + b'NOOP\r\n' * 4 + b'GET / HTTP/1.1\r\n')
sessions.append(('502 5.5.1', ours, server))
time.sleep(3)
for last, ours, server in sessions:
    before = ['220'] + ['214 2.0.0'] * 16 + ['250 2.0.0'] * 4
    before += ['500 5.5.1'] * 20 if last[0] == '4' else []
    same(codes(rest(ours)), before + [last], 'the replies')
    ours.close()
    server.wait(10)
END
}

@test "RFC 5321 4.5.3.2.7: the time a client takes to read is not its time to write" {
    # Half a command comes with the others, so its time runs while they are answered.
    clients <<'END'
ours, server = small('-t', '2')
ours.sendall(b'HELP\r\n' * 60 + b'HE')
until(lambda: select.select([ours], [], [], 0)[0], 'replies')
time.sleep(0.1)
ours.sendall(b'LP\r\nQUIT\r\n')
same(codes(rest(ours, 1024, 0.3)), ['220'] + ['214 2.0.0'] * 61 + ['221 2.0.0'], 'the replies')
ours.close()
server.wait(10)
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
with open('log', 'ab') as log:
    server = subprocess.Popen(COMMAND + ['-t', '1'], stdin=theirs, stdout=theirs, stderr=log)
theirs.close()
ours.settimeout(0.5)
try:
    while True:
        ours.send(b'HELP\r\n' * 1000)
except OSError:
    pass
same(server.wait(20), 0, 'the exit status')
ours.close()
END
}

@test "RFC 5321 3.8: SIGTERM while replies wait: no line is cut and another put behind it" {
    # What is cut is the end of the stream, when 30 seconds are over.
    clients <<'END'
ours, server = small('-t', '120')
try:
    ours.settimeout(0.5)
    while True:
        ours.send(b'HELP\r\n' * 100)
except OSError:
    ours.settimeout(20)
server.terminate()
time.sleep(33)
heard = rest(ours)
whole = heard[:heard.rindex(b'\r\n')].split(b'\r\n')
one = [line for line in whole[1:] if line.startswith(b'214')][:20]
for line in whole[1:-1]:
    assert line in one, line
assert whole[-1] in one or whole[-1].startswith(b'421 4.3.2 '), whole[-1]
ours.close()
server.wait(10)
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
        Client(state).leave(how)
END
    all_over
    [ "$(mail_count dan)" -eq 3 ]
}

@test "RFC 5321 4.1.1.10: clients that leave inside mail data leave nothing" {
    serve
    clients <<'END'
for how in 'close', 'half-close', 'reset':
    for text in b'', b'one', b'one\r\n.', b'one\r\n.\r', b'\0\n.\n':
        c = Client('in data')
        c.send(text)
        c.leave(how)
    # The same when a part is on disk already.
    c = Client('in data')
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
def goes_on(state, octets, wanted):
    c = Client(state)
    c.send(octets)
    c.send(b'NOOP\r\n' * 20000)
    while not c.closed() and c.age() < 1.5:
        c.send(b'and so on\r\n')    # it fails where the server resets
        time.sleep(0.1)
    same(codes(c.heard), wanted, octets)
    c.socket.shutdown(socket.SHUT_WR)
    same(c.rest(), wanted, octets)  # and so does this

def late():
    c = Client('named')
    select.select([c.socket], [], [], 10)
    for _ in range(10):     # it has not seen the 421 yet
        c.send(b'NOOP\r\n' * 1000)
        time.sleep(0.1)
    same(c.rest(), ['421 4.4.2'], 'after a timeout')

together(late, lambda: goes_on('named', b'QUIT\r\n', ['221 2.0.0']),
         lambda: goes_on('greeted', b'POST / HTTP/1.1\r\n', ['502 5.5.1']),
         lambda: goes_on('greeted', b'nonsense\r\n' * 25, ['500 5.5.1'] * 20 + ['421 4.7.0']))
END
}

@test "no last reply is lost, but a client that sends for ever is left after two seconds" {
    serve
    clients <<'END'
c = Client('named')
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
    c = Client('named')
    c.send(b'QUIT\r\n')
    same(c.rest(), ['221 2.0.0'], 'the reply')
    c.leave('close')
until(lambda: not os.popen('ps -A -o ppid= -o stat= | grep "^ *%s [^Z]"' % os.environ['SERVER']).read(),
      'the last session')
same(time.monotonic() - began < 15, True, 'no two seconds each')
END
    all_over
}

@test "RFC 5321 4.5.3.2: a slow client holds up no other" {
    serve
    clients <<'END'
slow = [Client(state) for state in STATES] + [Client('in data') for _ in range(5)]
for c in slow[-5:]:
    c.send(b'half a line')
for number in range(3):
    c = Client()
    c.send(b'HELO me\r\n' + envelope('dan') + b'one\r\n.\r\nQUIT\r\n')
    same(c.rest(), ['250', '250 2.1.0', '250 2.1.5', '354', '250 2.0.0', '221 2.0.0'], 'the replies')
for c in slow:
    c.socket.close()
END
    all_over
}
