#!/usr/bin/env bats
# Where mail data end. If two servers on a message's way disagree about it, what
# is text to one is commands to the other: a sender can smuggle in a message
# under any name. So nothing but CRLF . CRLF may be that end (RFC 5321 4.1.1.4),
# and nothing that another server could take for it is kept.

load helpers

smuggle() { "$PYTHON" -EsB "$ROOT/tests/smuggling.py"; }

@test "RFC 5321 4.1.1.4: LF.LF does not end the mail data, nor does LF.CRLF or CRLF.LF" {
    serve
    for end in '\n.\n' '\n.\r\n' '\r\n.\n'; do
        dialogue <<END
S: 220 ...
C: EHLO evil.example.org
S*: 250 ...
C: MAIL FROM:<me@example.org>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
X: Subject: one\r\n\r\none${end}MAIL FROM:<boss@example.com>\r\n
C: RCPT TO:<bob@localhost>
C: DATA
C: Subject: smuggled
C:
C: two
C: .
S: 554 5.6.0 ...
C: QUIT
S: 221 2.0.0 ...
END
    done
    files mail 0
}

@test "RFC 5321 4.1.1.4: of the ends known from smuggling none is one" {
    smuggle <<'END'
texts = [attempt(end) for end in known]
judge(texts, play(texts))
END
}

@test "RFC 5321 4.1.1.4: nor for a client elsewhere" {
    smuggle <<'END'
texts = [attempt(end) for end in known]
judge(texts, play(texts, TCPREMOTEIP='192.0.2.1'))
END
}

@test "RFC 5321 4.1.1.4: no dot between up to three CRs, LFs and NULs each is an end, but one" {
    smuggle <<'END'
ends = [end for end in pairs if no_end(end)]
same(len(ends), len(pairs) - 4 * 4, 'how many are none')
texts = [attempt(end) for end in ends]
judge(texts, play(texts))
END
}

@test "RFC 5321 4.1.1.4: CRLF.CRLF is the end, and what follows are commands" {
    # So that the tests above are seen to notice what they look for.
    smuggle <<'END'
for end in pairs:
    if not no_end(end) and end[1] == b'\r\n':
        said = play([attempt(end)])
        same(said[3:], ['250 2.0.0' if end[0] == b'\r\n' else '554 5.6.0',
                        '250 2.1.0', '250 2.1.5', '354', '250 2.0.0', '221 2.0.0'], end)
same(len(glob.glob('mail/victim/new/*')), 4, 'messages behind the end')
END
}

@test "RFC 5321 4.1.1.4: what looks like an end is none if it comes in single octets" {
    smuggle <<'END'
s = Session()
s.send(b'HELO me\r\n')
s.code()
texts, said = [attempt(end) for end in known], []
for number, end in enumerate(known):
    s.send(envelope())
    said += [s.code() for _ in range(3)]
    octets = message(number, texts[number])
    first = octets.index(b'one') + 3
    last = octets.index(b'MAIL')
    s.send(octets[:first], *(octets[i:i + 1] for i in range(first, last)), octets[last:])
    said.append(s.code())
s.send(b'QUIT\r\n')
judge(texts, said + s.end())
END
}

@test "RFC 5321 4.1.1.4: what looks like an end is none at the edge of a buffer" {
    smuggle <<'END'
edges = 1000, 4096, 8192, 65536, 131072
for end in known[:22]:
    width = len(end[0] + end[1]) + 1
    for shift in range(width + 1):
        texts, session = [], b'HELO me\r\n'
        for number, edge in enumerate(edges):
            session += envelope() + message(number, b'')
            text = b'x' * (edge - shift - len(session) - 3) + attempt(end)
            session += text
            texts.append(text)
        judge(texts, codes(pour(session + b'QUIT\r\n'))[2:])
END
}

@test "RFC 5321 4.1.1.4: no length of a line makes the dot at its end, or in it, one" {
    smuggle <<'END'
texts = []
for edge in 0, 72, 512, 998, 1024, 2048, 4096, 8192, 65536:
    for size in range(max(edge - 4, 1), edge + 5):
        texts += [attempt((b'x' * size, b'\r\n')), attempt((b'x' * size, b'x\r\n'))]
judge(texts, play(texts))
END
}

@test "RFC 5321 4.1.1.4: nor is it an end in the header section, or in a field that is left out" {
    smuggle <<'END'
session, wanted = b'HELO me\r\n', []
for head in b'', b'To: you', b'To: you\r\nReturn-Path: <me@example.org>', b'Return-Path: me\r\n folded':
    for end in known[:22]:
        session += envelope() + head + attempt(end)
        wanted += ASKED + ['554 5.6.0']
same(codes(pour(session + b'QUIT\r\n'))[2:], wanted + ['221 2.0.0'], 'the replies')
same(glob.glob('mail/*/*/*'), [], 'files')
END
}

@test "RFC 5321 4.1.1.4: nor behind the largest size that is taken" {
    smuggle <<'END'
session = b'HELO me\r\n'
for end in known[:22]:
    session += envelope() + b'x' * 70000 + attempt(end)
said = codes(pour(session + b'QUIT\r\n', '-z', '65536'))[2:]
same([code[:2] for code in said], ['25', '25', '35', '55'] * 22 + ['22'], said)
same(glob.glob('mail/*/*/*'), [], 'files')
END
}

@test "RFC 5321 2.3.8: a bare CR, LF or NUL is refused wherever it stands" {
    smuggle <<'END'
texts = []
for octet in b'\r', b'\n', b'\0':
    for text in b'%s', b'%s\r\n', b'\r\n%s', b'a%sb', b'a%s\r\nb', b'a\r\n%sb', b'%s' * 3, \
            b'a\r\n\r\n\r\n%s', b'a' * 65500 + b'%s', b'a' * 200000 + b'%s':
        text = text.replace(b'%s', octet) + b'\r\n.\r\n'
        texts.append(text)
judge(texts, play(texts))
END
}

@test "by hand: LF.LF is the end, and one CR before either LF changes nothing" {
    smuggle <<'END'
for number, end in enumerate([(b'\n', b'\n'), (b'\n', b'\r\n'), (b'\r\n', b'\n'), (b'\r\n', b'\r\n')]):
    same(play([attempt(end, b'\n')], b'\n')[3:], ['250 2.0.0', '250 2.1.0', '250 2.1.5', '354',
                                                '250 2.0.0', '221 2.0.0'], end)
    same(len(glob.glob('mail/victim/new/*')), number + 1, 'messages behind the end')
END
}

@test "by hand: no other dot is an end" {
    smuggle <<'END'
ends = [end for end in known + pairs if no_end(end, rb'\r?\n')]
same(len(ends) > 1000, True, 'many')
texts = [attempt(end, b'\n') for end in ends]
judge(texts, play(texts, b'\n'), by_hand=True)
END
}

@test "RFC 5321 2.3.8: a command with a bare LF smuggles no other in" {
    smuggle <<'END'
lines = b'MAIL FROM:<evil@example.org>', b'RCPT TO:<victim@localhost>', b'DATA', b'evil', b'.'
# A bare LF ends the session; after a bare CR it goes on.
for bare in b'\n', b'\r', b'\n\r', b'\r\r', b'\0\n', b'\r\0\n', b'\n\n':
    said = codes(pour(b'HELO me\r\n' + b'NOOP ' + bare + bare.join(lines) + b'\r\nNOOP\r\nQUIT\r\n'))
    same(said[2:], ['500 5.5.2'] if b'\n' in bare else ['500 5.5.2', '250 2.0.0', '221 2.0.0'], bare)
same(os.path.exists('mail/victim'), False, 'a message smuggled in')
END
}
