"""A log that nobody reads, for log-unread.bats: what holds it, and a server that has
it full. The program on standard input may use all of this."""
import os, time
from pieces import Client, run, same, started, until


def fill(log):
    """Write until no more fits. A terminal may have room once more a little later."""
    os.set_blocking(log, False)
    for line in 5 * [b'x' * 1023 + b'\n', b'x']:
        try:
            while True:
                os.write(log, line)
        except BlockingIOError:
            time.sleep(0.01)
    os.set_blocking(log, True)


def lines(reader):
    """What is in the log by now, of which it then has room for as much again."""
    text = b''
    os.set_blocking(reader, False)
    try:
        while True:
            text += os.read(reader, 65536)
    except BlockingIOError:
        return text.replace(b'\r\n', b'\n').decode().split('\n')[:-1]


def lost(client, number):
    """Send bob so many messages: the seconds of those that took over half a second."""
    seconds = 0
    for _ in range(number):
        begun = time.monotonic()
        client.sends('bob')
        took = time.monotonic() - begun
        seconds += took if took > 0.5 else 0
    return seconds


class Unread:
    """A server whose log is full."""

    def __init__(self, pair, *options):
        self.reader, writer = pair
        self.server = started(writer, self.reader, *options)
        self.port = os.environ['PORT']
        fill(writer)

    def holds_up(self):
        """A client waits, once, and for no more than two seconds. Then nothing is
        logged for some seconds, and then all is again."""
        self.client = c = Client('220', port=self.port)
        c.sends('bob')
        first = c.age()
        same(0.9 < first < 2.9, True, 'seconds until a message is kept: %.1f' % first)
        for _ in range(20):
            c.sends('bob')
        same(c.age() - first < 0.9, True, 'no more than that: %.1f' % c.age())
        same(lines(self.reader) != [], True, 'the log was full')
        c.says('DATA', '503 5.5.1')
        time.sleep(0.2)
        same(lines(self.reader), [], 'the log after a line was lost')
        until(self.logs, 'lines in the log', 14)
        self.server.terminate()
        same(self.server.wait(10), 0, 'the exit status')

    def logs(self):
        """Does it log what the client does now? It has whole lines then."""
        self.client.says('DATA', '503 5.5.1')
        time.sleep(0.2)
        found = lines(self.reader)
        for line in found:
            same(line.startswith('smtpd['), True, 'a line of the log: ' + line)
        return any(' refused: 503 5.5.1 ' in line for line in found)


if __name__ == '__main__':
    run(globals())
