#!/usr/bin/env bats
# Clients that say nothing, or little: RFC 5321 4.5.3.2. Here they have a second
# (-t 1), since a test can't wait for five minutes.

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
c = Client('220')
for line in b'NOOP', b'nonsense', b'HELO me', b'MAIL FROM:<>', b'QUIT':
    time.sleep(0.6)
    c.send(line + b'\r\n')
same(c.rest(), ['250 2.0.0', '500 5.5.1', '250', '250 2.1.0', '221 2.0.0'], 'the replies')
END
}

@test "RFC 5321 4.5.3.2.7: octets now and then don't stretch the time for a command" {
    serve -t 1
    clients <<'END'
together(lambda: drip('greeted', b'x'), lambda: drip('named', b' '), lambda: drip('line begun', b'P'),
         lambda: drip('long line', b'x'), lambda: drip('line with a CR', b'\r'),
         lambda: drip('line with a CR', b'x\r'), lambda: drip('rcpt given', b'\0'))
END
    all_over
}

@test "RFC 5321 7.8: mail data slower than 500 octets a second get 421" {
    serve -t 1
    clients <<'END'
# One octet, a line of one octet, and half of 500 octets a second, which uses up
# the first second by the end of the next.
together(lambda: drip('in data', b'x', 0.1), lambda: drip('in data', b'x\r\n', 0.1),
         lambda: drip('in data', b'..', 0.1), no_stock,
         lambda: drip('in data', b'x' * 23 + b'\r\n', 0.1, least=1.3, most=10))
END
    all_over
}

@test "RFC 5321 7.8: mail data at 500 octets a second and better are taken, however long it takes" {
    serve -t 2
    clients <<'END'
together(steady, on_the_whole)
same(sorted(stored()), [1, 2], 'what is kept')
END
}

@test "RFC 5321 4.5.3.2: a slow client holds up no other" {
    serve
    clients <<'END'
slow = [reach(state) for state in STATES] + [reach('in data') for _ in range(5)]
for c in slow[-5:]:
    c.send(b'half a line')
for number in range(3):
    c = Client('220')
    c.send(b'HELO me\r\n' + envelope('dan') + b'one\r\n.\r\nQUIT\r\n')
    same(c.rest(), ['250', '250 2.1.0', '250 2.1.5', '354', '250 2.0.0', '221 2.0.0'], 'the replies')
END
    all_over
}
