#!/usr/bin/env bats
# Commands sent without waiting for replies, and how octets may be packed: TCP
# has no packets that a program could rely on.

# shellcheck disable=SC2154
load helpers

setup_file() {
    export KIND=SOCK_SEQPACKET
    py 2>/dev/null <<<'import socket; socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)' ||
        KIND=
}

# A session on a socket that keeps writes apart: each is one packet.
packets() {
    [ -n "$KIND" ] || skip "this system has no SOCK_SEQPACKET"
    pieces
}

@test "RFC 2920 3.1: the RFC's own example" {
    serve
    dialogue <<'END'
S: 220 ...
C: EHLO dbc.mtview.ca.us
S*: 250-PIPELINING
C: MAIL FROM:<mrose@dbc.mtview.ca.us>
C: RCPT TO:<ned@localhost>
C: RCPT TO:<dan@localhost>
C: RCPT TO:<kvc@localhost>
C: DATA
S: 250 2.1.0 ...
S: 250 2.1.5 ...
S: 250 2.1.5 ...
S: 250 2.1.5 ...
S: 354 ...
C: Subject: pipelining
C:
C: one
C: .
C: QUIT
S: 250 2.0.0 ...
S: 221 2.0.0 ...
END
    for user in ned dan kvc; do
        look mail/"$user"/new/*
        [ "$text" = $'one\n' ]
    done
}

@test "RFC 2920 3.2: a group in which every recipient is refused" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO dbc.mtview.ca.us
S: 250 ...
C: MAIL FROM:<mrose@dbc.mtview.ca.us>
C: RCPT TO:<nsb@thumper.bellcore.com>
C: RCPT TO:<galvin@tis.com>
C: DATA
S: 250 2.1.0 ...
S: 550 5.7.1 ...
S: 550 5.7.1 ...
# Not 354, or the client would have to send a message.
S: 503 5.5.1 ...
C: QUIT
S: 221 2.0.0 ...
END
    files mail 0
}

@test "RFC 2920 3.2: ten commands in one packet are answered in order, in one" {
    packets <<'END'
s = Inetd(kind=socket.SOCK_SEQPACKET)
same(s.packet(), ['220'], 'the greeting')
s.send(b'EHLO me\r\nNOOP\r\nMAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\n'
       b'RCPT TO:<bob@elsewhere.example>\r\nnonsense\r\nRSET\r\nVRFY bob\r\nMAIL\r\nDATA\r\n')
same(s.packet(), '250|250 2.0.0|250 2.1.0|250 2.1.5|550 5.7.1|500 5.5.1|250 2.0.0|252 2.0.0|'
     '501 5.5.4|503 5.5.1'.split('|'), 'the replies')
s.send(b'QUIT\r\n')
same(s.packet(), ['221 2.0.0'], 'the last reply')
same(s.packet(), [], 'the end')
s.end()
END
}

@test "RFC 2920 3.2: a whole session in one packet, messages and all, is answered in one" {
    packets <<'END'
s = Inetd(kind=socket.SOCK_SEQPACKET)
same(s.packet(), ['220'], 'the greeting')
s.send(SESSION)
same(s.packet(), ANSWERS[1:], 'the replies')
same(s.packet(), [], 'the end')
s.end()
both_kept()
END
}

@test "RFC 2920 3.2: what comes before the greeting is pipelining, nothing worse" {
    # A client ought to wait for it (RFC 5321 3.1). From a file, all is there
    # before the server starts.
    pieces <<'END'
same(codes(pour(SESSION)), ANSWERS, 'the replies')
both_kept()
END
    # Over TCP, nc sends it as soon as it is connected.
    serve
    printf 'NOOP\r\nHELO me\r\nQUIT\r\n' >.asked
    send_raw <.asked >out
    heard out
    [ "${codes[*]}" = '250 2.0.0 250 221 2.0.0' ]
}

@test "a session that comes octet by octet" {
    pieces <<'END'
s = Session()
s.send(*(SESSION[i:i + 1] for i in range(len(SESSION))))
same(s.end(), ANSWERS[1:], 'the replies')
both_kept()
END
}

@test "a session that comes octet by octet over TCP" {
    serve
    pieces <<'END'
c = Client()
c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for octet in SESSION:
    c.send(bytes([octet]))
same(c.rest(), ANSWERS, 'the replies')
both_kept()
END
}

@test "a session that comes in packets of every size" {
    pieces <<'END'
for size in 2, 3, 5, 7, 11, 16, 25, 40, 63, 100, 150, len(SESSION) - 1:
    s = Session()
    s.send(*(SESSION[i:i + size] for i in range(0, len(SESSION), size)))
    same(s.end(), ANSWERS[1:], 'the replies, %d octets at a time' % size)
    both_kept()
    forget()
END
}

@test "RFC 2920 3.2: all replies are sent when the input is used up, even if a part of a line is left" {
    packets <<'END'
s = Inetd(kind=socket.SOCK_SEQPACKET)
same(s.packet(), ['220'], 'the greeting')
s.send(b'HELO me\r\nNOOP\r\nMAIL FR')
same(s.packet(), ['250', '250 2.0.0'], 'with the start of a line behind')
s.send(b'OM:<>\r\nRCPT TO:<bob@localhost>\r\nDATA\r')
same(s.packet(), ['250 2.1.0', '250 2.1.5'], 'with all but an LF behind')
s.send(b'\n')
same(s.packet(), ['354'], 'DATA')
s.send(b'one\r\n.\r')
s.send(b'\nRS')
same(s.packet(), ['250 2.0.0'], 'the message')
s.send(b'ET\r\nQUIT\r\nwhat comes after QUIT')
same(s.packet(), ['250 2.0.0', '221 2.0.0'], 'the last two')
same(s.packet(), [], 'the end')
s.end()
END
}

@test "RFC 2920 3.2: no reply is kept back, each command in a packet of its own" {
    packets <<'END'
s = Inetd(kind=socket.SOCK_SEQPACKET)
said = s.packet()
for line in SESSION.replace(b'\r\n', b'\r\n|').split(b'|')[:-1]:
    text = len(said) in (5, 10)
    s.send(line)
    if not text or line == b'.\r\n':
        said += s.packet()
same(said, ANSWERS, 'the replies')
both_kept()
s.end()
END
}

@test "RFC 2920 3.1: a message's end and the next transaction in one packet" {
    packets <<'END'
s = Inetd(kind=socket.SOCK_SEQPACKET)
s.packet()
s.send(b'HELO me\r\n' + envelope())
same(s.packet(), ['250', '250 2.1.0', '250 2.1.5', '354'], 'up to DATA')
s.send(message(1, b'one\r\n.\r\nRSET\r\n' + envelope('carol')))
same(s.packet(), ['250 2.0.0', '250 2.0.0', '250 2.1.0', '250 2.1.5', '354'], 'the next')
s.send(message(2, b'two\r\n.\r\nQUIT\r\n'))
same(s.packet(), ['250 2.0.0', '221 2.0.0'], 'the last')
both_kept()
s.end()
END
}

@test "RFC 2920 3.2: more replies than any buffer holds, and none is lost" {
    # HELP has the longest; RFC 5321 4.5.3.1.8 lets 100 recipients come at once.
    pieces <<'END'
said = codes(pour(b'HELO me\r\n' + b'HELP\r\n' * 1000 + b'MAIL FROM:<>\r\n' +
                  b''.join(b'RCPT TO:<u%d@localhost>\r\n' % n for n in range(100)) + b'QUIT\r\n'))
same(said, ['220', '250'] + ['214 2.0.0'] * 1000 + ['250 2.1.0'] +
     ['250 2.1.5'] * 100 + ['221 2.0.0'], 'the replies')
END
}

@test "RFC 2920 3.2: a refused command loses nothing of what follows it in its packet" {
    packets <<'END'
s = Inetd(kind=socket.SOCK_SEQPACKET)
s.packet()
bad = {b'nonsense': '500 5.5.1', b'': '500 5.5.1', b'\x1b[A': '500 5.5.2', b'STARTTLS': '502 5.5.1',
       b'DATA': '503 5.5.1', b'x' * 2000: '500 5.5.2', b'QUIT now': '501 5.5.4',
       b'MAIL FROM:<> X=1': '555 5.5.4', b'AUTH PLAIN AGJvYgBib2I=': '502 5.5.1', b'EHLO': '501 5.5.4'}
s.send(b'HELO me\r\n' + b''.join(line + b'\r\nNOOP\r\n' for line in bad) + b'QUIT\r\n')
wanted = ['250']
for line in bad:
    wanted += [bad[line], '250 2.0.0']
same(s.packet(), wanted + ['221 2.0.0'], 'the replies')
s.end()
END
}

@test "RFC 2920 3.2: a bare LF ends the session, and what came before it is answered" {
    packets <<'END'
s = Inetd(kind=socket.SOCK_SEQPACKET)
s.packet()
s.send(b'HELO me\r\n' + envelope() + b'.\r\nNOOP\nNOOP\r\nQUIT\r\n')
same(s.packet(), ['250'] + KEPT + ['500 5.5.2'], 'the replies')
same(s.packet(), [], 'the end')
s.end()
END
}

@test "RFC 2920 3.2: replies of more than 4096 octets don't wait for the client to confirm some" {
    # TCP would hold the second of two small packets for some 40 milliseconds.
    serve
    pieces <<'END'
c, rounds = Client('220'), []
for _ in range(21):
    c.heard, began = b'', time.monotonic()
    c.send(b'NOOP\r\n' * 250)
    while c.heard.count(b'\n') < 250:
        assert c.hear(), 'the end'
    rounds.append(time.monotonic() - began)
assert sorted(rounds)[10] < 0.02, rounds
END
}

@test "RFC 2920 3.2: as few write() calls as the input allows, seen by strace" {
    need strace
    strace -o trace true 2>/dev/null || skip "strace may not trace here"
    serve
    # Nothing but what comes between the sanitizers and strace, where it does.
    export ASAN_OPTIONS=detect_leaks=0
    printf '%s\r\n' 'EHLO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA 'one line' . NOOP QUIT >session
    strace -f -o trace -e trace=read,write,send,sendto,sendmsg,writev \
        "$SMTPD" -i -m mail -n mail.example.com <session >out 2>>log
    heard out
    [ "$code" = '221 2.0.0' ]
    # The greeting, and all the rest; one read finds the session.
    [[ $(grep -c '^[0-9]* *\(write\|send[a-z]*\|writev\)(1,' trace) == [12] ]]
    [[ $(grep -c '^[0-9]* *read(0,' trace) == [12] ]]
}
