#!/usr/bin/env bats
# RFC 5321 4.5.2: a line of one dot ends the mail data. Other lines that begin
# with a dot were sent with it doubled, and lose one.

load helpers

@test "RFC 5321 4.5.2: a doubled leading dot is undone" {
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
C: Subject: dots
C:
C: ..
C: ...
C: ..hidden
C: a. b.. ...c
C: ....
C:  .
C: ..
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
    [ "$(body mail/bob/new/*)" = $'.\n..\n.hidden\na. b.. ...c\n...\n .\n.' ]
}

@test "RFC 5321 4.5.2: a dot before other characters is dropped, doubled or not" {
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
C: Subject: dots
C:
C: .x
C: . 
X: .\t\r\n
C: .,
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
    [ "$(body mail/bob/new/*)" = $'x\n \n\t\n,' ]
}

@test "RFC 5321 4.5.2: each kind of line with a dot, as first, middle and last" {
    pieces <<'END'
kinds = {b'..': b'.', b'..x': b'.x', b'.x': b'x', b'...': b'..', b'. ': b' ',
         b'..\t': b'.\t', b'.\t': b'\t', b'.x.': b'x.', b'....': b'...',
         b'..\xFF': b'.\xFF', b' .': b' .', b'x.': b'x.', b'.,': b','}
frames = b'%s', b'%s|one|two', b'one|%s|two', b'one|two|%s', b'|%s|%s|%s||%s|'
wanted, session = {}, b'HELO me\r\n'
for kind in kinds:
    for frame in frames:
        count = frame.count(b'%s')
        kept = frame % ((kinds[kind],) * count) + b'|'
        sent = frame % ((kind,) * count) + b'|'
        session += envelope() + message(len(wanted), sent.replace(b'|', b'\r\n')) + b'.\r\n'
        wanted[len(wanted)] = kept.replace(b'|', b'\n')
same(codes(pour(session)), ['220', '250'] + KEPT * len(wanted), 'the replies')
same(stored(), wanted, 'what is kept')
END
}

@test "RFC 5321 4.5.2: a dot in the first line of all, where the header would be" {
    # Each for a user of its own, whose message ends so behind the last line that we add.
    number=0 lines=()
    for sent in ..=. .x=x ..x=.x ...x=..x; do
        lines+=('MAIL FROM:<>' "RCPT TO:<bob$((number++))@localhost>" DATA "${sent%=*}" .)
    done
    ask 'HELO me' "${lines[@]}"
    number=0
    for kept in . x .x ..x; do
        holds "mail/bob$((number++))/new"/* "[+-][0-9][0-9][0-9][0-9]"$'\n'"$kept"$'\n'
    done
}

@test "RFC 5321 4.5.2: a dot at once is the end of a message of nothing" {
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
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
    # What we add is there, and ends with the date.
    [[ $(tail -n 1 mail/bob/new/*) == $'\t'???,\ * ]]
}

@test "RFC 5321 4.5.2: the dot's line ends the mail data, and what follows is a command" {
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
C: QUIT
C: RSET
X: .
X: \r
X: \n
S: 250 2.0.0 ...
C: .
S: 500 5.5.1 ...
C: QUIT
S: 221 2.0.0 ...
END
    [ "$(tail -n 2 mail/bob/new/*)" = $'QUIT\nRSET' ]
}

@test "RFC 5321 4.5.2: typed by hand, dots are the same" {
    serve
    dialogue --lf <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: ..first
C:
C: ..
C: .x
C: ..x
C: x.
C: ..last
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
    [ "$(tail -n 7 mail/bob/new/*)" = $'.first\n\n.\nx\n.x\nx.\n.last' ]
}

@test "RFC 5321 4.5.2: dots at every offset around the sizes of buffers" {
    # From a file: then a server that reads 4096 octets at a time has the edge
    # of its buffer at 4096 and 8192, and so on.
    pieces <<'END'
edges = 1000, 2048, 4096, 8192, 16384, 65536, 131072
for shift in range(len(DOTS) + 4):
    for width in 64, 1 << 20:   # of the lines before: many, or one
        session, wanted = b'HELO me\r\n', {}
        for number, edge in enumerate(edges):
            session += envelope() + message(number, b'')
            size = edge - shift - len(session)
            text = (b'x' * (width - 2) + b'\r\n') * (size // width)
            text += b'y' * (size - len(text)) + b'\r\n'
            session += text + DOTS
            wanted[number] = text.replace(b'\r\n', b'\n') + DOTS_KEPT
        same(codes(pour(session + b'QUIT\r\n'))[2:], KEPT * len(edges) + ['221 2.0.0'],
             '%d octets before the edges' % shift)
        same(stored(), wanted, '%d octets before the edges' % shift)
        forget()
END
}

@test "RFC 5321 4.5.2: dots after a line of every length around the sizes of buffers" {
    # On a pipe, and what comes after the line is read apart from it. All in one
    # session, so that no offset in it is special.
    pieces <<'END'
s, wanted = Session(), {}
s.says('HELO me', '250')
for edge in 998, 1024, 4096, 8192, 65536:
    for length in range(edge - 6, edge + 6):
        number = len(wanted)
        s.send(envelope())
        s.hears(*ASKED)
        line = b'x' * length + b'\r\n'
        cut = (0, 1, 2, 3)[number % 4]  # the CRLF is read whole, cut, or apart
        s.send(message(number, line[:length + cut]), line[length + cut:] + DOTS)
        same(s.code(), '250 2.0.0', 'a line of %d octets' % length)
        wanted[number] = b'x' * length + b'\n' + DOTS_KEPT
same(s.end(), [], 'at the end')
same(stored(), wanted, 'what is kept')
END
}

@test "RFC 5321 4.5.2: dots whatever octets are read together" {
    # Cut in two anywhere, in three anywhere, and into single octets.
    pieces <<'END'
s, wanted = Session(), {}
s.says('HELO me', '250')
octets = b'\r\n' + DOTS
cuts = [(a, b) for a in range(len(octets)) for b in range(a, len(octets))]
for number, cut in enumerate(cuts + [range(1, len(octets))]):
    s.send(envelope())
    s.hears(*ASKED)
    edges = [0, *cut, len(octets)]
    pieces = [octets[a:b] for a, b in zip(edges, edges[1:]) if a < b]
    pieces[0] = message(number, b'one') + pieces[0]
    s.send(*pieces)
    same(s.code(), '250 2.0.0', pieces)
    wanted[number] = b'one\n' + DOTS_KEPT
same(s.end(), [], 'at the end')
same(stored(), wanted, 'what is kept')
END
}
