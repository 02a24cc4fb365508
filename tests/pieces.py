"""What the Python programs in the tests share: clients that decide which octets
the server reads together, that stand still or leave, and what is made of replies.

pieces.py is imported by the function pieces in helpers: that reads a program from
standard input, and runs it with all the names of this file."""
import fcntl, glob, os, re, select, socket, struct, subprocess, sys, termios, threading, time

COMMAND = [os.environ.get('SMTPD', 'smtpd'), '-i', '-m', 'mail', '-n', 'mail.example.com']
LOCALHOST = '127.0.0.1'


def run(names):
    """Run the program on standard input with the names of this file and these."""
    program = compile(sys.stdin.read(), 'the program in the test', 'exec')
    exec(program, {**globals(), **names})


def codes(octets):
    """'250 2.1.0' or '354' for each reply; they must be lines as RFC 5321 4.2
    has them, ended by CRLF, of printable ASCII."""
    assert re.fullmatch(rb'(\d{3}[ -][ -~]{0,506}\r\n)*', octets), octets
    return [line.decode() for line in
            re.findall(rb'^(\d{3}(?: \d\.\d\.\d)?)(?= )', octets, re.M)]


def envelope(user='bob', end=b'\r\n'):
    lines = b'MAIL FROM:<>', b'RCPT TO:<%s@localhost>' % user.encode(), b'DATA'
    return b''.join(line + end for line in lines)


# The replies to an envelope, and to a message that is kept, its envelope before it.
ASKED = ['250 2.1.0', '250 2.1.5', '354']
KEPT = ASKED + ['250 2.0.0']


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


def forget():
    """Remove what is stored."""
    for name in glob.glob('mail/*/new/*'):
        os.remove(name)


def same(got, wanted, what):
    if got != wanted:
        sys.exit('%.400s:\nwanted %.400r\ngot    %.400r' % (what, wanted, got))


def until(condition, what, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain for ' + what
        time.sleep(0.01)


def together(*jobs):
    """Run these at the same time; all must do well."""
    faults = []

    def attempt(job):
        try:
            job()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=attempt, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


def contents(name):
    """What a file of /proc says; '' where its process has gone just now."""
    try:
        with open(name) as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ''


def children(of=None):
    """The states, as ps has them, of a process's children: of the server's."""
    parent = str(of or os.environ['SERVER'])
    if not os.path.exists('/proc/self/task/%d/children' % os.getpid()):
        with os.popen('ps -A -o ppid= -o stat=') as list_of_all:
            return [line.split()[1] for line in list_of_all if line.split()[0] == parent]
    states = []
    for pid in contents('/proc/%s/task/%s/children' % (parent, parent)).split():
        states += contents('/proc/%s/stat' % pid).rpartition(')')[2].split()[:1]
    return states


def idle():
    """Has each session of the server ended?"""
    return all(state.startswith('Z') for state in children())


# A whole session, two messages in it, and how it must be answered.
SESSION = (b'EHLO me\r\n' + envelope() + message(1, b'one\r\n.\r\n') +
           b'NOOP\r\n' + envelope('carol') + message(2, b'two\r\n.\r\n') + b'QUIT\r\n')
ANSWERS = ('220|250|250 2.1.0|250 2.1.5|354|250 2.0.0|250 2.0.0|'
           '250 2.1.0|250 2.1.5|354|250 2.0.0|221 2.0.0').split('|')


# Lines of dots, as they are sent behind some text, and what is to be kept of them.
DOTS = b'..\r\n..x\r\n.y\r\n...\r\n\r\n.\r\n'
DOTS_KEPT = b'.\n.x\ny\n..\n\n'


def both_kept():
    same(stored(), {1: b'one\n'}, 'what bob has got')
    same(stored('carol'), {2: b'two\n'}, 'what carol has got')


def pour(octets, *options, **environment):
    """The replies to a session that comes from a file: each read of the
    server's is then as long as the server asks for."""
    with open('poured', 'wb') as file:
        file.write(octets)
    with open('poured', 'rb') as file, open('log', 'ab') as log:
        return subprocess.run(COMMAND + list(options), stdin=file, stderr=log,
                              stdout=subprocess.PIPE, timeout=60, check=True,
                              env={**os.environ, **environment}).stdout


def started(log, reader, *options, **streams):
    """A server that logs there, to be read here: and from now on clients go to it."""
    server = subprocess.Popen([COMMAND[0], '-p', '0', '-l', LOCALHOST, '-m', 'mail', *options],
                              stderr=log, **{'stdin': subprocess.DEVNULL, **streams})
    assert select.select([reader], [], [], 10)[0], 'the server says nothing'
    os.environ['PORT'] = re.search(rb'port (\d+)', os.read(reader, 4096))[1].decode()
    return server


class Wire:
    """A session as its client has it. What follows says how octets go and come:
    with send(), and with hear(), which returns them and adds them to heard."""

    heard = b''

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

    def hears(self, *wanted):
        """The next replies have these codes."""
        for code in wanted:
            same(self.code(), code, 'the next reply')

    def says(self, line, *wanted):
        self.send(line.encode() + b'\r\n')
        self.hears(*wanted)

    def begins(self, *users):
        """A message to these users, up to its first octet."""
        self.says('HELO me', '250')
        self.says('MAIL FROM:<>', '250 2.1.0')
        for user in users:
            self.says('RCPT TO:<%s@localhost>' % user, '250 2.1.5')
        self.says('DATA', '354')

    def sends(self, *users, text='text'):
        self.begins(*users)
        self.says(text + '\r\n.', '250 2.0.0')

    def rest(self, size=65536, pause=0):
        """The codes of all that the server says until it closes."""
        while self.hear(size):
            time.sleep(pause)
        return codes(self.heard)


class Session(Wire):
    """smtpd -i on two pipes; with the environment given, as tcpserver does."""

    def __init__(self, *options, **environment):
        theirs, self.ours = os.pipe()
        with open('log', 'ab') as log:
            self.process = subprocess.Popen(
                COMMAND + list(options), stdin=theirs, stderr=log,
                stdout=subprocess.PIPE, env={**os.environ, **environment})
        self.theirs = theirs    # kept, to see what has not been read
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

    def hear(self, size=65536):
        ready, _, _ = select.select([self.process.stdout], [], [], 10)
        assert ready, 'no reply in time, after %r' % self.heard
        octets = os.read(self.process.stdout.fileno(), size)
        self.heard += octets
        return octets

    def end(self):
        """End our input; the codes of what is said until the server ends."""
        os.close(self.ours)
        os.close(self.theirs)
        said = self.rest()
        self.process.stdout.close()
        same(self.process.wait(10), 0, 'the exit status')
        return said


class Client(Wire):
    """A connection to the server on $PORT."""

    def __init__(self, *wanted, source=None, small=False, port=None):
        """What the server says first has the codes that are wanted."""
        self.socket = socket.socket()
        self.socket.settimeout(20)
        if small:   # take in little that is not read
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect((LOCALHOST, int(port or os.environ['PORT'])))
        self.began = time.monotonic()
        self.hears(*wanted)

    def age(self):
        return time.monotonic() - self.began

    def send(self, octets):
        self.socket.sendall(octets)

    def hear(self, size=65536):
        octets = self.socket.recv(size)
        self.heard += octets
        return octets

    def closed(self):
        """Has the server closed? What it has said by now is in heard."""
        while select.select([self.socket], [], [], 0)[0]:
            if not self.hear():
                return True
        return False

    def drip(self, octets, pause):
        """Send these again and again until the server closes."""
        while not self.closed():
            assert self.age() < 15, 'not closed'
            try:
                self.send(octets)
            except OSError:
                break
            time.sleep(pause)
        return codes(self.heard)

    def deafen(self, octets):
        """Send these, and read nothing, until nobody takes in any more. Returns
        False where the server closed instead."""
        self.socket.settimeout(0.5)
        sent = 0
        try:
            while True:
                sent += self.socket.send(octets)
                assert sent < 50_000_000, 'it takes whatever comes'
        except OSError as fault:
            self.socket.settimeout(20)
            return isinstance(fault, TimeoutError)

    def leave(self, how='close'):
        if how == 'reset':
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        if how == 'half-close':
            self.socket.shutdown(socket.SHUT_WR)
            self.rest()
        self.socket.close()


class Inetd(Client):
    """smtpd -i on one socket. With SOCK_SEQPACKET each write is one packet; with
    small=True it holds little, so that the server waits for us to read."""

    def __init__(self, *options, kind=socket.SOCK_STREAM, small=False, pair=None):
        self.socket, theirs = pair or socket.socketpair(socket.AF_UNIX, kind)
        self.socket.settimeout(20)
        if small:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with open('log', 'ab') as log:
            self.process = subprocess.Popen(COMMAND + list(options), stdin=theirs,
                                            stdout=theirs, stderr=log)
        theirs.close()
        self.began = time.monotonic()

    def packet(self):
        """The codes in the next packet; none at the end."""
        return codes(self.socket.recv(65536))

    def end(self):
        self.socket.close()
        same(self.process.wait(20), 0, 'the exit status')


def served(user='bob'):
    """The server on $PORT serves, at once."""
    c = Client('220')
    c.sends(user)
    c.send(b'QUIT\r\n')
    same(c.rest(), ['221 2.0.0'], 'the end of the session')
    same(c.age() < 2, True, 'at once')


def alone():
    same(children(), [], 'the children of the server')
