#!/usr/bin/env bats
# Lines of mail data: RFC 5321 4.5.3.1.6 asks for 1000 octets with the CRLF;
# here any length is taken, and kept octet for octet.

load helpers

@test "RFC 5321 4.5.3.1.6: text lines of any length are kept octet for octet" {
    # In one message each, and all together, since what is read at one time ends
    # elsewhere then.
    pieces <<'END'
sizes = [size for edge in (0, 72, 512, 998, 1000, 1024, 2048, 4096, 8192, 65536, 131072, 200000)
         for size in range(max(edge - 3, 0), edge + 4)]
bodies = [b'%d:' % size + b'x' * size + b'\r\nnext\r\n' for size in sizes]
bodies = bodies + [b''.join(bodies)]
session = b'HELO me\r\n'
for number, body in enumerate(bodies):
    session += envelope() + message(number, body + b'.\r\n')
said = codes(pour(session + b'QUIT\r\n'))
same(said[2:], KEPT * len(bodies) + ['221 2.0.0'], 'replies')
found = stored()
same(sorted(found), list(range(len(bodies))), 'messages')
for number, body in enumerate(bodies):
    same(found[number], body.replace(b'\r\n', b'\n'), 'message %d' % number)
END
}

@test "RFC 5321 4.5.3.1.6: so too when a line and its CRLF come in pieces" {
    pieces <<'END'
s, wanted = Session(), {}
s.says('HELO me', '250')
for size in 998, 999, 1000, 1001, 1002, 4096, 8192, 65535, 65536:
    for cut in 0, 1, 500, 997, 998, 999, 1000, size - 1:
        number = len(wanted)
        s.send(envelope())
        s.hears(*ASKED)
        line = bytes(97 + i % 26 for i in range(size))
        s.send(message(number, line[:cut]), line[cut:], b'\r', b'\n.', b'\r\n')
        same(s.code(), '250 2.0.0', (size, cut))
        wanted[number] = line + b'\n'
same(s.end(), [], 'at the end')
same(stored(), wanted, 'what is kept')
END
}

@test "RFC 5321 4.5.3.1.6: a leading dot doubled is not counted, at 1000 octets or any" {
    pieces <<'END'
session, wanted = b'HELO me\r\n', {}
for number, size in enumerate([1, 2, 996, 997, 998, 999, 1000, 1001, 4095, 4096, 65535, 65536]):
    line = b'.' + b'x' * (size - 1)
    session += envelope() + message(number, b'.' + line + b'\r\n.' + line + b'\r\n.\r\n')
    wanted[number] = line + b'\n' + line + b'\n'
same(codes(pour(session))[2:], KEPT * len(wanted), 'replies')
same(stored(), wanted, 'what is kept')
END
}

@test "RFC 5321 4.5.3.1.6: a line of 10 MB is kept octet for octet" {
    serve
    pieces <<'END'
body = b'a' * 9999990 + b'1234567890\r\nshort\r\n'
c = Client()
c.send(b'HELO me\r\n' + envelope() + message(1, body + b'.\r\nQUIT\r\n'))
same(c.rest(), ['220', '250'] + KEPT + ['221 2.0.0'], 'the replies')
same(stored()[1] == body.replace(b'\r\n', b'\n'), True, 'all of it is kept')
END
}

@test "RFC 5321 4.5.3.1.6: a header field of 1 MB on one line is kept octet for octet" {
    serve
    pieces <<'END'
field = b'X-Long: ' + b'a' * 1000000 + b'\r\n'
c = Client()
c.send(b'HELO me\r\n' + envelope() + field + message(1, b'text\r\n.\r\nQUIT\r\n'))
same(c.rest(), ['220', '250'] + KEPT + ['221 2.0.0'], 'the replies')
with open(glob.glob('mail/bob/new/*')[0], 'rb') as file:
    kept = file.read()
same(kept.endswith(b'\n' + field[:-2] + b'\nSubject: 1\n\ntext\n'), True, 'it is kept as it came')
END
}

@test "RFC 5321 4.5.2: every octet but CR, LF and NUL is kept, in header and text" {
    # RFC 5321 4.5.2: "All characters are to be delivered to the recipient's
    # mailbox, including spaces, vertical and horizontal tabs, and other control
    # characters." RFC 6152 adds those of eight bits.
    pieces <<'END'
octets = bytes(n for n in range(1, 256) if n not in b'\r\n')
body = b' ' + octets + b' \t \r\n' + b''.join(b'%c\r\n' % n for n in octets if n != ord('.'))
sent = b'X-Odd: ' + octets + b'\r\n' + message(1, body + b'\r\n\r\n')
same(codes(pour(b'EHLO me\r\n' + envelope() + sent + b'.\r\n'))[-1], '250 2.0.0', 'the reply')
with open(glob.glob('mail/bob/new/*')[0], 'rb') as file:
    kept = re.sub(rb'(?s)\A.*?[+-]\d{4}\n', b'', file.read(), count=1)
same(kept, sent.replace(b'\r\n', b'\n'), 'all that was sent, behind what we add')
END
}

@test "RFC 5321 4.5.2: white space at line ends and empty lines at the end are kept" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
X: Subject: white \t\r\n\r\n  one  \r\n\t\r\n \r\n\r\n\r\n.\r\n
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
    IFS= read -r -d '' kept <"$(message bob)" || :
    [[ $kept == *[+-][0-9][0-9][0-9][0-9]$'\nSubject: white \t\n\n  one  \n\t\n \n\n\n' ]]
}

@test "RFC 5321 7.8: each octet of a line buys time: with -t 1, 600 a second pass, 400 don't" {
    # The message has lines of 1,000 octets. At 400 a second the first second is
    # used up after five; sooner, if they come in larger pieces.
    serve -t 1
    pieces <<'END'
def comes_at(rate, pause, wanted, least):
    c, sent = Client('220'), 0
    c.begins('bob%d' % rate)
    text = (b'x' * 998 + b'\r\n') * 8
    c.began = time.monotonic()
    while c.age() < 7 and not c.closed():
        sent, already = int(c.age() * rate), sent
        c.send(text[already:sent]), time.sleep(pause)
    if not c.closed():
        c.send(b'\r\n.\r\nQUIT\r\n')
    same((rate, c.rest()), (rate, wanted), 'the replies')
    same(c.age() > least, True, '%d: not before its time' % rate)
kept = ['250 2.0.0', '221 2.0.0']
together(lambda: comes_at(600, .05, kept, 7), lambda: comes_at(400, .05, ['421 4.4.2'], 4),
         lambda: comes_at(625, .6, kept, 7), lambda: comes_at(399, .6, ['421 4.4.2'], 2))
END
    mails bob600 1 bob625 1
    files mail 2
}
