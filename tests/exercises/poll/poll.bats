#!/usr/bin/env bats
# Exercise poll: one process for all clients, with poll() instead of fork().

SMTPD=${SMTPD:-$BATS_TEST_DIRNAME/../../../smtpd}
load ../../helpers

# Runs a Python program, which is given these words.
clients() {
    {
        cat <<'END'
import os, signal, socket, struct, time
port, server = int(os.environ["PORT"]), int(os.environ["SERVER"])

class Client:
    def __init__(self, small=False):
        self.s = socket.socket()
        if small:
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.s.settimeout(10)
        self.s.connect(("127.0.0.1", port))
        self.f = self.s.makefile("rb")

    def hears(self, *codes):
        for code in codes:
            line = self.f.readline()
            assert line.startswith(code.encode()), (code, line)

    def says(self, text, *codes):
        self.s.sendall(text.encode() + b"\r\n")
        self.hears(*codes)

    def begins(self, user):
        self.hears("220 ")
        self.says("HELO me", "250 ")
        self.says("MAIL FROM:<>", "250 ")
        self.says(f"RCPT TO:<{user}@localhost>", "250 ")
        self.says("DATA", "354 ")

    def ends(self):
        assert self.f.read() == b"", "no end"

    def leaves(self):
        self.f.close()
        self.s.close()

def served(user="bob"):
    began = time.time()
    c = Client()
    c.begins(user)
    c.says("text\r\n.", "250 ")
    c.says("QUIT", "221 ")
    c.ends()
    assert time.time() - began < 2, "held up"

def alone():
    children = os.popen(f"ps -A -o ppid= -o pid= | awk '$1 == {server}'").read()
    assert children == "", f"it has {len(children.splitlines())} children"
END
        cat
    } | "$PYTHON" -I -
}

@test "poll: three clients at one time, and no process for any of them" {
    serve
    clients <<'END'
three = [Client() for i in range(3)]
for c in three: c.hears("220 ")
for c in reversed(three): c.says("NOOP", "250 ")
alone()
served()
END
}

@test "poll: a client that has said half a command holds nobody up" {
    serve
    clients <<'END'
slow = Client()
slow.hears("220 ")
slow.s.sendall(b"NO")
alone()
served()
slow.says("OP", "250 ")
END
}

@test "poll: nor does one inside its message, and the messages don't mix" {
    serve
    clients <<'END'
two = [Client(), Client()]
for user, c in zip(("carol", "dave"), two): c.begins(user)
for i in range(3000):
    for name, c in zip("cd", two): c.s.sendall(b"..%d " % i + 40 * name.encode() + b"\r\n")
alone()
served()
for c in two: c.says(".", "250 ")
END
    for user in carol dave; do
        sed '1,/^\t[A-Z][a-z][a-z], /d' "$(message $user)" >text
        [ "$(wc -l <text)" -eq 3000 ]
        [ "$(tr -d '.0-9 \n' <text | fold -w 1 | sort -u)" = "${user:0:1}" ]
    done
}

@test "poll: nor one that reads no replies" {
    serve
    clients <<'END'
deaf = Client(small=True)
deaf.s.settimeout(0.5)
sent = 0
try:
    while sent < 50_000_000: sent += deaf.s.send(b"HELP\r\n" * 1000)
except TimeoutError:
    pass
assert sent < 50_000_000, "it takes whatever comes"
alone()
served()
END
}

@test "poll: nor one that goes on sending after its QUIT" {
    serve
    clients <<'END'
rude = Client()
rude.hears("220 ")
rude.says("QUIT", "221 ")
alone()
for i in range(5):
    rude.s.sendall(b"x" * 1000)
    served()
END
}

@test "RFC 5321 4.5.3.2.7: poll: each client has its own time" {
    serve -t 2
    clients <<'END'
idle, slow, busy = Client(), Client(), Client()
for c in idle, slow, busy: c.hears("220 ")
alone()
end = time.time() + 3
while time.time() < end:
    busy.says("NOOP", "250 ")
    try: slow.s.sendall(b"x")
    except OSError: pass
    time.sleep(0.3)
idle.hears("421 4.4.2 ")
idle.ends()
slow.hears("421 4.4.2 ")
busy.says("QUIT", "221 ")
END
}

@test "poll: 1100 clients, more than select() can tell apart" {
    ulimit -n 3000 || skip "needs 3000 descriptors"
    serve -c 2000 -k 2000
    clients <<'END'
crowd = [Client() for i in range(1100)]
for c in crowd: c.hears("220 ")
alone()
for c in reversed(crowd): c.says("NOOP", "250 ")
served()
END
    [ "$(mail_count bob)" -eq 1 ]
}

@test "RFC 5321 4.5.4.2: poll: -c and -k count clients" {
    serve -c 3 -k 2
    clients <<'END'
two = [Client(), Client()]
for c in two: c.hears("220 ")
alone()
third = Client()
third.hears("421 4.7.0 ")
third.ends()
two[0].says("QUIT", "221 ")
two[0].ends()
two[0].leaves()
time.sleep(0.5)                         # that end takes a moment
served()
END
}

@test "poll: a client that breaks off inside its message leaves nothing, and harms nobody" {
    serve
    clients <<'END'
other = Client()
other.hears("220 ")
for how in "close", "reset":
    c = Client()
    c.begins("carol")
    c.s.sendall(b"x" * 200000)
    if how == "reset":
        c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.leaves()
other.says("NOOP", "250 ")
alone()
served()
END
    wait_until no_mail carol
}

no_mail() { [ -z "$(find "mail/$1" -type f)" ]; }

@test "poll: 500 sessions leave no descriptor" {
    [ -d "/proc/$$/fd" ] || skip "needs Linux's /proc"
    serve
    clients <<'END'
served()
count = lambda: len(os.listdir(f"/proc/{server}/fd"))
time.sleep(0.5)                         # that one's end takes a moment
before = count()
kept = Client()
kept.hears("220 ")
assert count() == before + 1, "the connection is not in this process"
kept.leaves()
for i in range(500):
    c = Client()
    if i % 2: c.says("QUIT", "220 ", "221 ")
    c.leaves()
end = time.time() + 10
while count() > before:
    assert time.time() < end, (before, count())
    time.sleep(0.05)
END
}

@test "poll: waiting costs no time: no busy loop" {
    [ -r "/proc/$$/stat" ] || skip "needs Linux's /proc"
    serve
    clients <<'END'
idle, data = Client(), Client()
idle.hears("220 ")
data.begins("bob")
alone()
cpu = lambda: sum(map(int, open(f"/proc/{server}/stat").read().split()[13:15]))
before = cpu()
time.sleep(1)
assert cpu() - before < 20, cpu() - before
END
}

@test "RFC 5321 3.8: poll: SIGTERM: who is idle hears 421, who is inside DATA finishes it" {
    serve
    clients <<'END'
idle, data = Client(), Client()
idle.hears("220 ")
data.begins("bob")
alone()
os.kill(server, signal.SIGTERM)
idle.hears("421 4.3.2 ")
idle.ends()
time.sleep(0.2)
data.says("text\r\n.", "250 ", "421 4.3.2 ")
data.ends()
END
    end_server 0
    [ "$(mail_count bob)" -eq 1 ]
}

@test "poll: -i is as before" {
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA text . QUIT |
        talk | tail -n 1 | grep '^221 '
    [ "$(mail_count bob)" -eq 1 ]
}
