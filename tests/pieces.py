# What comes before the Python programs that a test gives to pieces (see
# pieces.bash): a client that decides which octets the server reads together.
import fcntl, glob, os, re, select, subprocess, sys, termios, time

COMMAND = [os.environ['SMTPD'], '-i', '-m', 'mail', '-n', 'mail.example.com']


def codes(octets):
    """'250 2.1.0' or '354' for each reply; they must be lines as RFC 5321 4.2
    has them, ended by CRLF, of printable ASCII."""
    assert re.fullmatch(rb'(\d{3}[ -][ -~]{0,506}\r\n)*', octets), octets
    return [line.decode() for line in
            re.findall(rb'^(\d{3}(?: \d\.\d\.\d)?)(?= )', octets, re.M)]


def envelope(user='bob', end=b'\r\n'):
    lines = b'MAIL FROM:<>', b'RCPT TO:<%s@localhost>' % user.encode(), b'DATA'
    return b''.join(line + end for line in lines)


def message(number, body, end=b'\r\n'):
    """One that stored() will find again."""
    return b'Subject: %d' % number + end + end + body


def stored(user='bob'):
    """The bodies of a user's messages by the number in their Subject."""
    found = {}
    for name in glob.glob('mail/%s/new/*' % user):
        with open(name, 'rb') as file:
            head, body = file.read().split(b'\n\n', 1)
        number = int(head.rsplit(b'\nSubject: ', 1)[1])
        assert number not in found, 'message %d is there twice' % number
        found[number] = body
    return found


def same(got, wanted, what):
    if got != wanted:
        sys.exit('%.400s:\nwanted %.400r\ngot    %.400r' % (what, wanted, got))


def pour(octets, *options, **environment):
    """The replies to a session that comes from a file: each read of the
    server's is then as long as the server asks for."""
    with open('poured', 'wb') as file:
        file.write(octets)
    with open('poured', 'rb') as file, open('log', 'ab') as log:
        return subprocess.run(COMMAND + list(options), stdin=file, stderr=log,
                              stdout=subprocess.PIPE, timeout=60, check=True,
                              env={**os.environ, **environment}).stdout


class Session:
    """smtpd -i on two pipes; with the environment given, as tcpserver does."""

    def __init__(self, *options, **environment):
        theirs, self.ours = os.pipe()
        with open('log', 'ab') as log:
            self.process = subprocess.Popen(
                COMMAND + list(options), stdin=theirs, stderr=log,
                stdout=subprocess.PIPE, env={**os.environ, **environment})
        self.theirs = theirs    # kept, to see what has not been read
        self.heard = b''
        self.reply()

    def send(self, *pieces):
        """Send these; each is sent when all before it have been read."""
        for piece in pieces:
            os.write(self.ours, piece)
            end = time.monotonic() + 10
            while self.unread() and self.process.poll() is None:
                assert time.monotonic() < end, 'the server reads no more'
                time.sleep(0.0001)

    def unread(self):
        return fcntl.ioctl(self.theirs, termios.FIONREAD, bytes(4)) != bytes(4)

    def hear(self):
        ready, _, _ = select.select([self.process.stdout], [], [], 10)
        assert ready, 'no reply in time, after %r' % self.heard
        octets = os.read(self.process.stdout.fileno(), 65536)
        self.heard += octets
        return octets

    def reply(self):
        """The next reply, all its lines."""
        while True:
            found = re.match(rb'(?:\d{3}-.*\r\n)*\d{3} .*\r\n', self.heard)
            if found:
                self.heard = self.heard[found.end():]
                return found[0]
            assert self.hear(), 'the session ended after %r' % self.heard

    def code(self):
        return codes(self.reply())[0]

    def end(self):
        """End our input; the codes of what is said until the server ends."""
        os.close(self.ours)
        os.close(self.theirs)
        while self.hear():
            pass
        self.process.stdout.close()
        same(self.process.wait(10), 0, 'the exit status')
        return codes(self.heard)
