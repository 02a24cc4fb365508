#!/usr/bin/env bats
# A log that nobody reads must hold up no mail.

load helpers

# Python, with the servers of unread.py.
unread() { "$PYTHON" -EsB "$ROOT/tests/unread.py"; }

@test "log: one who does not read it costs two seconds at most, and some seconds' lines" {
    unread <<'END'
servers = [Unread(os.pipe()), Unread(os.pipe(), '-v'), Unread(os.openpty()),
           Unread(os.openpty(), '-v')]
together(*(server.holds_up for server in servers))
END
}

@test "log: one who reads the log and stands still holds up no mail, and no end" {
    unread <<'END'
u = Unread(os.pipe())
c = Client('220')
c.sends(*('bob%d' % n for n in range(20)))
same(c.age() < 3, True, 'and not a second for each')
u.server.terminate()
same(c.rest(), ['421 4.3.2'], 'what is said at the end')
same(u.server.wait(10), 0, 'the exit status')
same(len(glob.glob('mail/bob*/new/*')), 20, 'messages')
END
}
