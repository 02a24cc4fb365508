#!/usr/bin/env bats
# Exercise poll: one process for all clients, with poll() instead of fork().

SMTPD=${SMTPD:-$BATS_TEST_DIRNAME/../../../smtpd}
load ../../helpers

@test "poll: three clients at one time, and no process for any of them" {
    serve
    pieces <<'END'
three = [Client('220') for _ in range(3)]
for c in reversed(three):
    c.says('NOOP', '250 2.0.0')
alone()
served()
END
}

@test "poll: a client that has said half a command holds nobody up" {
    serve
    pieces <<'END'
slow = Client('220')
slow.send(b'NO')
alone()
served()
slow.says('OP', '250 2.0.0')
END
}

@test "poll: nor does one inside its message, and the messages don't mix" {
    serve
    pieces <<'END'
two = {'carol': Client('220'), 'dave': Client('220')}
for user, c in two.items():
    c.begins(user)
for i in range(3000):
    for user, c in two.items():
        c.send(b'..%d ' % i + 40 * user[:1].encode() + b'\r\n')
alone()
served()
for c in two.values():
    c.says('.', '250 2.0.0')
END
    for user in carol dave; do
        sed '1,/^\t[A-Z][a-z][a-z], /d' mail/"$user"/new/* >text
        [ "$(wc -l <text)" -eq 3000 ]
        [ "$(tr -d '.0-9 \n' <text | fold -w 1 | sort -u)" = "${user:0:1}" ]
    done
}

@test "poll: nor one that reads no replies" {
    serve
    pieces <<'END'
deaf = Client('220', small=True)
same(deaf.deafen(b'HELP\r\n' * 1000), True, 'it is kept')
alone()
served()
END
}

@test "poll: nor one that goes on sending after its QUIT" {
    serve
    pieces <<'END'
rude = Client('220')
rude.says('QUIT', '221 2.0.0')
alone()
for _ in range(5):
    rude.send(b'x' * 1000)
    served()
END
}

@test "RFC 5321 4.5.3.2.7: poll: each client has its own time" {
    serve -t 2
    pieces <<'END'
inactive, slow, busy = (Client('220') for _ in range(3))
alone()
while busy.age() < 3:
    busy.says('NOOP', '250 2.0.0')
    try:
        slow.send(b'x')
    except OSError:
        pass
    time.sleep(0.3)
same(inactive.rest(), ['421 4.4.2'], 'what is said to who says nothing')
slow.hears('421 4.4.2')
busy.says('QUIT', '221 2.0.0')
END
}

@test "poll: 1100 clients, more than select() can tell apart" {
    ulimit -n 3000 || skip "needs 3000 descriptors"
    serve -c 2000 -k 2000
    pieces <<'END'
crowd = [Client('220') for _ in range(1100)]
alone()
for c in reversed(crowd):
    c.says('NOOP', '250 2.0.0')
served()
END
    mails bob 1
}

@test "RFC 5321 4.5.4.2: poll: -c and -k count clients" {
    serve -c 3 -k 2
    pieces <<'END'
two = [Client('220'), Client('220')]
alone()
same(Client().rest(), ['421 4.7.0'], 'what a third hears')
two[0].send(b'QUIT\r\n')
same(two[0].rest(), ['221 2.0.0'], 'the end')
two[0].leave()
time.sleep(0.5)                         # that end takes a moment
served()
END
}

@test "poll: a client that breaks off inside its message leaves nothing, and harms nobody" {
    serve
    pieces <<'END'
other = Client('220')
for how in 'close', 'reset':
    c = Client('220')
    c.begins('carol')
    c.send(b'x' * 200000)
    c.leave(how)
other.says('NOOP', '250 2.0.0')
alone()
served()
END
    wait_until no_mail carol
}

no_mail() { files "mail/$1" 0; }

@test "poll: 500 sessions leave no descriptor" {
    [ -d "/proc/$$/fd" ] || skip "needs Linux's /proc"
    serve
    pieces <<'END'
count = lambda: len(os.listdir('/proc/%s/fd' % os.environ['SERVER']))
served()
time.sleep(0.5)                         # that one's end takes a moment
before = count()
kept = Client('220')
same(count(), before + 1, 'the connection is in this process: its descriptors')
kept.leave()
for i in range(500):
    c = Client()
    if i % 2:
        c.send(b'QUIT\r\n')
        c.hears('220', '221 2.0.0')
    c.leave()
until(lambda: count() <= before, 'its descriptors to go')
END
}

@test "poll: waiting costs no time: no busy loop" {
    [ -r "/proc/$$/stat" ] || skip "needs Linux's /proc"
    serve
    pieces <<'END'
inactive, data = Client('220'), Client('220')
data.begins('bob')
alone()
def cpu():
    with open('/proc/%s/stat' % os.environ['SERVER']) as file:
        return sum(map(int, file.read().split()[13:15]))
before = cpu()
time.sleep(1)
same(cpu() - before < 20, True, 'waiting costs no time')
END
}

@test "RFC 5321 3.8: poll: SIGTERM: who is idle hears 421, and who is inside DATA" {
    serve
    pieces <<'END'
import signal
inactive, data = Client('220'), Client('220')
data.begins('bob')
alone()
os.kill(int(os.environ['SERVER']), signal.SIGTERM)
same(inactive.rest(), ['421 4.3.2'], 'what is said to who says nothing')
same(data.rest(), ['421 4.3.2'], 'and to who is inside DATA')
END
    end_server 0
    files mail 0
}

@test "poll: -i is as before" {
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA text . QUIT |
        talk | tail -n 1 | grep '^221 '
    mails bob 1
}
