"""Clients that are slow, or leave, for 4.5.3.2-timeouts.bats, 7.8-slow-readers.bats
and 4.1.1.10-leaving.bats. The server on $PORT gives them a second (-t 1), or two.
The program on standard input may use all of this."""
import re, select, socket, time
from pieces import Client, codes, envelope, message, run, same

STATES = {  # what brings a session there, and the code that shows it is there
    'greeted': (b'', b'220'),
    'named': (b'EHLO me\r\n', b'250 '),
    'mail given': (b'HELO me\r\nMAIL FROM:<>\r\n', b'250 2.1.0'),
    'rcpt given': (b'HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\n', b'250 2.1.5'),
    'all refused': (b'HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@elsewhere.example>\r\n',
                    b'550 5.7.1'),
    'in data': (b'HELO me\r\n' + envelope(), b'354'),
    'message kept': (b'HELO me\r\n' + envelope('dan') + b'one\r\n.\r\n', b'250 2.0.0'),
    'line begun': (b'NOOP\r\nNOO', b'250 2.0.0'),
    'line all but ended': (b'NOOP\r\nNOOP\r', b'250 2.0.0'),
    'long line': (b'NOOP\r\n' + b'x' * 5000, b'250 2.0.0'),
    'line with a CR': (b'NOOP\r\nNOOP\rNOOP', b'250 2.0.0'),
}


def reach(state, **how):
    """A client whose session is in this state, since now."""
    client = Client(**how)
    words, code = STATES[state]
    client.send(words)
    while not re.search(b'^' + code, client.heard, re.M):
        assert client.hear(), '%s: closed after %r' % (state, client.heard)
    client.heard = b''
    client.began = time.monotonic()
    return client


def stop(state, then=b''):
    """Say this, and no more: there is 421, in its time, not before."""
    c = reach(state)
    c.send(then)
    same(c.rest(), ['421 4.4.2'], state)
    same(0.9 < c.age() < 8, True, '%s: %.1f seconds' % (state, c.age()))


def drip(state, octets, pause=0.2, least=0.9, most=8):
    """Say this again and again: there is 421 too."""
    c = reach(state)
    same(c.drip(octets, pause), ['421 4.4.2'], (state, octets))
    same(least < c.age() < most, True, '%s: %.1f seconds' % (state, c.age()))


def steady():
    """A message at a steady 1000 octets a second."""
    c = reach('in data')
    c.send(message(1, b''))
    while c.age() < 4:
        c.send(b'x' * 98 + b'\r\n')
        time.sleep(0.1)
    c.send(b'.\r\n')
    time.sleep(0.6)     # and then the next command has its whole second
    c.send(b'QUIT\r\n')
    same(c.rest(), ['250 2.0.0', '221 2.0.0'], 'steady')


def on_the_whole():
    """Nothing for most of two seconds (-t 2), then what makes up for it; and again."""
    c = reach('in data')
    c.send(message(2, b''))
    for _ in range(3):
        time.sleep(1.5)
        c.send(b'x' * 998 + b'\r\n')
    c.send(b'.\r\nQUIT\r\n')
    same(c.rest(), ['250 2.0.0', '221 2.0.0'], 'on the whole')


def no_stock():
    """Much at first buys no more than a second from then: there is 421."""
    c = reach('in data')
    c.send(b'x' * 50000)
    same(c.drip(b'x', 0.3), ['421 4.4.2'], 'much at first, then little')
    same(0.9 < c.age() < 6, True, '%.1f seconds' % c.age())


def goes_on(state, octets, wanted):
    """Say what ends the session, and go on: nothing of the answer is lost."""
    c = reach(state)
    c.send(octets)
    c.send(b'NOOP\r\n' * 20000)
    while not c.closed() and c.age() < 1.5:
        c.send(b'and so on\r\n')    # it fails where the server resets
        time.sleep(0.1)
    same(codes(c.heard), wanted, octets)
    c.socket.shutdown(socket.SHUT_WR)
    same(c.rest(), wanted, octets)  # and so does this


def late():
    """Go on when the time is over: the 421 is not lost."""
    c = reach('named')
    select.select([c.socket], [], [], 10)
    for _ in range(10):     # it has not seen the 421 yet
        c.send(b'NOOP\r\n' * 1000)
        time.sleep(0.1)
    same(c.rest(), ['421 4.4.2'], 'after a timeout')


if __name__ == '__main__':
    run(globals())
