#!/usr/bin/env bats
# One process a client: limits, signals, deaths, and what is left over.

load helpers

# One short session must be served, now.
served() {
    dialogue <<'END'
S: 220 ...
C: NOOP
S: 250 2.0.0 ...
C: QUIT
S: 221 ...
END
}

# The beginning of a message to bob, up to the 354.
LETTER='S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...'

# A server that was told to stop does so with exit code 0.
stopped() { end_server 0; }

needs_proc() { [ -r "/proc/$$/stat" ] || skip "needs Linux's /proc"; }

descriptors() { local each=("/proc/$SERVER/fd"/*) && echo ${#each[@]}; }

# Hundredths of a second that the server itself has computed for.
cpu() { local stat && read -r -a stat <"/proc/$SERVER/stat" && echo $((stat[13] + stat[14])); }

@test "RFC 5321 3.8: SIGTERM tells a session that waits for a command, at once" {
    serve
    SECONDS=0
    dialogue <<'END'
S: 220 ...
C: NOOP
S: 250 ...
$: kill -s TERM "$SERVER"
S: 421 4.3.2 ...
END
    stopped
    [ "$SECONDS" -le 5 ]
}

@test "SIGTERM: half a command waits no longer; SIGINT does the same" {
    for signal in TERM INT; do
        serve
        dialogue <<END
S: 220 ...
C: HELO me
S: 250 ...
X: MAIL FR
\$: sleep 0.1
\$: kill -s $signal "\$SERVER"
S: 421 4.3.2 ...
E:
END
        stopped
    done
}

@test "RFC 5321 3.8: SIGTERM: a session inside DATA gets 421 at once, and nothing is left" {
    serve
    # Much is on disk already, and but for its last octet the end is there.
    dialogue <<END
$LETTER
X: $(printf '%0100000d' 0)\r\n.\r
\$: wait_until in_tmp
\$: kill -s TERM "\$SERVER"
\$: SECONDS=0
S: 421 4.3.2 ...
E:
\$: [ "\$SECONDS" -le 1 ]
END
    stopped
    files mail 0
}

in_tmp() { compgen -G 'mail/bob/tmp/*' >/dev/null; }

@test "SIGHUP: 421 and no file left in tmp, for a session as for the server" {
    serve
    for whom in "\$(sessions)" "\$SERVER"; do
        dialogue <<END
$LETTER
X: $(printf '%0100000d' 0)\r\n
\$: wait_until in_tmp
\$: kill -s HUP $whom
S: 421 4.3.2 ...
E:
END
        files mail 0
        [ "$whom" = "\$SERVER" ] || served
    done
    stopped
}

@test "SIGHUP: nohup has it ignored, by server and sessions" {
    need nohup
    start nohup "$SMTPD" -l 127.0.0.1 -p 0 -m mail
    dialogue <<END
$LETTER
\$: kill -s HUP "\$SERVER" \$(sessions)
\$: served
C: one
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 ...
END
    mails bob 1
}

@test "RFC 5321 3.8: SIGTERM: a whole message is kept and told, then 421 for what was pipelined" {
    need strace
    strace -o trace true 2>/dev/null || skip "strace may not trace here"
    # The third fsync(), the message's own, takes half a second.
    start env ASAN_OPTIONS=detect_leaks=0 strace -D -f -o trace -e trace=fsync \
        -e inject=fsync:delay_enter=500000:when=3 \
        "$SMTPD" -l 127.0.0.1 -p 0 -m mail
    dialogue <<END
$LETTER
C: one
C: .
C: NOOP
C: MAIL FROM:<>
\$: wait_until written
\$: kill -s TERM "\$SERVER"
S: 250 2.0.0 ...
S: 421 4.3.2 ...
E:
END
    stopped
    [ "$(tail -n 1 mail/bob/new/*)" = one ]
    grep -q 'fsync.*DELAYED' trace
}

written() {
    local file
    for file in mail/bob/tmp/*; do
        if [ -s "$file" ]; then return; fi
    done
    return 1
}

@test "SIGTERM: the server is gone within five seconds, whatever its clients do" {
    serve -t 100
    pieces <<'END'
import signal
deaf, busy = Client(small=True), Client('220')
deaf.deafen(b'HELP\r\n' * 1000)     # it takes no replies, and there are more to come
busy.begins('bob')                  # it goes on with its message
os.kill(int(os.environ['SERVER']), signal.SIGTERM)
busy.began = time.monotonic()
same(busy.drip(b'x' * 1000, 0.01), ['421 4.3.2'], 'what is said at the end')
def gone():
    try:
        os.kill(int(os.environ['SERVER']), 0)
    except ProcessLookupError:
        return True
until(gone, 'the end of the server')
same(busy.age() < 6, True, 'the seconds that took: %.1f' % busy.age())
END
    stopped
    # And so are its sessions.
    [ "$(grep -c ' end client=' log)" -eq 2 ]
}

@test "SIGTERM: at whatever moment it comes, a session that waits is told soon" {
    # Each time the clock is read is such a moment, and one is just before read().
    if grep -q __asan_init "$SMTPD"; then skip "sanitizers let no library come before them"; fi
    cat >clock.c <<'END'
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *t)
{
    static int reading;

    if (++reading == atoi(getenv("READING")) && write(2, "now\n", 4) == 4)
        raise(SIGTERM);
    return (int)syscall(SYS_clock_gettime, id, t);
}
END
    "${CC:-cc}" -shared -fPIC -o clock.so clock.c || skip "no library can be made here"
    for n in {1..20}; do
        READING=$n LD_PRELOAD=$PWD/clock.so "$SMTPD" -i -m mail \
            <>"$PIPES.none" >"out$n" 2>"log$n" 3>&- 4>&- &
        asked+=($!)
    done
    wait_until greeted
    sleep 2.5 # until then the alarm that was set for the log would wake them
    WAIT=2 wait_until told
    mapfile -t told < <(grep -l '^now$' log*)
    kill "${asked[@]}" 2>/dev/null || :
    wait "${asked[@]}"
    [ ${#told[@]} -gt 5 ] || skip "smtpd is linked statically, or there is no LD_PRELOAD"
}

greeted() {
    local n
    for n in {1..20}; do holds "out$n" '220 ' || return; done
}

# Who got the signal has said so.
told() {
    local n
    for n in {1..20}; do
        if holds "log$n" $'now\n'; then holds "out$n" $'\n421 4.3.2 ' || return; fi
    done
}

@test "-c: one session too many gets 421 4.7.0, until another leaves" {
    serve -c 2
    dialogue <<'END'
S: 220 ...
$: dialogue <<<$'S: 220 ...\n$: dialogue <<<"S: 421 4.7.0 ..."'
$: wait_until served
C: QUIT
S: 221 ...
END
}

@test "-k: counts sessions from one address" {
    serve -c 3 -k 2
    pieces <<'END'
held = [Client('220', source=source) for source in ('127.0.0.1', '127.0.0.1', '127.0.0.2')]
Client('421 4.7.0', source='127.0.0.2')     # -c
held.pop(0).leave()
def room():
    held.append(Client(source='127.0.0.1'))
    return held[-1].code() == '220'
until(room, 'room: that end takes a moment')
held.pop(1).leave()                         # room again, but not for .1
for _ in range(20):
    same(Client(source='127.0.0.1').rest(), ['421 4.7.0'], '-k')
END
}

@test "-k: an IPv6 address counts by itself" {
    serve -k 1 -l 127.0.0.1 -l ::1
    dialogue <<'END'
S: 220 ...
$: HOST=::1 served
$: dialogue <<<"S: 421 4.7.0 ..."
END
}

@test "-c: refused clients that stay are closed, and hold nobody up" {
    serve -c 1
    pieces <<'END'
first = Client('220')
crowd = [Client() for _ in range(100)]
for c in crowd:
    same(c.rest(), ['421 4.7.0'], 'what is said until the end')
first.says('QUIT', '221 2.0.0')
first.leave()
until(lambda: Client().code() == '220', 'being served again')
END
}

@test "-c: a refused client that has spoken already gets its 421 too, and no reset" {
    serve -c 1
    pieces <<'END'
import signal
first = Client('220')
os.kill(int(os.environ['SERVER']), signal.SIGSTOP)  # it finds them all at once
crowd = [Client() for _ in range(100)]
for c in crowd:
    c.send(b'EHLO me\r\n')
os.kill(int(os.environ['SERVER']), signal.SIGCONT)
for c in crowd:
    same(c.rest(), ['421 4.7.0'], 'what is said until the end')
for c in crowd:                             # one that is reset hangs up
    poll = select.poll()
    poll.register(c.socket, 0)
    assert not poll.poll(0), 'a reset'
END
}

@test "a session killed with -9 harms no other" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
$: sessions >mine
$: dialogue <<<$'S: 220 ...\n$: kill -9 $(sessions | grep -vxF "$(cat mine)")\nE:'
C: NOOP
S: 250 2.0.0 ...
$: served
C: QUIT
S: 221 ...
END
    wait_until no_sessions
}

@test "a session killed with -9 inside DATA leaves nothing in new" {
    serve
    dialogue <<END
$LETTER
X: $(printf '%0200000d' 0)\r\n.\r
\$: sleep 0.1; kill -9 \$(sessions)
E:
END
    served
    mails bob 0
}

@test "the server killed with -9: another takes over its port and its mail" {
    serve
    letter bob@localhost first
    exec 7<>"/dev/tcp/127.0.0.1/$PORT" # a session that outlives its server
    read -r -t 10 said <&7
    [[ $said == "220 "* ]]
    end_server KILL || [ $? -eq 137 ]
    serve -p "$PORT"
    letter bob@localhost second
    exec 7>&-
    mails bob 2
}

@test "200 sessions leave no process, no zombie, no descriptor" {
    needs_proc
    serve -c 200 -k 200
    served
    wait_until no_sessions
    before=$(descriptors)
    pieces <<'END'
for i in range(200):
    c = Client()
    if i % 4 == 0:                      # polite
        c.send(b'QUIT\r\n')
        c.rest()
    elif i % 4 == 1:                    # gone after the greeting
        c.hear()
    c.leave('reset' if i % 4 == 2 else 'close')     # or gone at once
END
    wait_until no_sessions
    [ "$(descriptors)" -eq "$before" ]
    served
}

@test "100 idle sessions at once, and one that works; SIGTERM: all get their 421" {
    serve -c 101 -k 101
    pieces <<'END'
import signal
held = [Client() for _ in range(100)]
for c in held:
    c.hears('220')
c = Client('220')
c.sends('bob')
c.says('QUIT', '221 2.0.0')
for c in held:
    c.says('NOOP', '250 2.0.0')
os.kill(int(os.environ['SERVER']), signal.SIGTERM)
for c in held:
    c.socket.settimeout(5)
    same(c.rest(), ['421 4.3.2'], 'what is said until the end')
END
    stopped
    mails bob 1
}

@test "fifty clients at once, two messages each: all arrive" {
    serve
    pieces <<'END'
clients = [Client('220') for _ in range(50)]
for n, c in enumerate(clients):
    c.send(b'HELO me\r\n')
    for number in n, 50 + n:
        c.send(envelope() + message(number, b'%d\r\n.\r\n' % number))
for c in clients:
    c.hears('250', *KEPT * 2)
    c.says('QUIT', '221 2.0.0')
same(stored(), {number: b'%d\n' % number for number in range(100)}, 'what is kept')
END
    files mail/bob/tmp 0
}

@test "clients that break off inside DATA leave nothing, and harm nobody" {
    serve
    pieces <<'END'
for how in 'close', 'reset', 'half-close':
    c = Client('220')
    c.begins('bob')
    c.send(b'Subject: x\r\n\r\n' + 100000 * b'x' + b'\r\n.\r')
    if how == 'half-close':
        c.socket.shutdown(socket.SHUT_WR)
        same(c.rest(), [], 'what is said to that')
    c.leave('reset' if how == 'reset' else 'close')
END
    wait_until no_sessions
    served
    files mail 0
}

@test "SIGPIPE: a client that reads nothing ends its session, no signal does" {
    "$SMTPD" -i -m mail <"$PIPES.in" >"$PIPES.out" 2>log 3>&- 4>&- &
    exec 8>"$PIPES.in" 9<"$PIPES.out"
    read -r -t 10 said <&9
    [[ $said == '220 '* ]]
    exec 9<&-
    printf 'NOOP\r\n' >&8
    wait "$!" || [ $? -lt 126 ]
    exec 8>&-
    holds log ' lost: the client takes no replies'
}

@test "fork() fails: 421 4.3.2, a line in the log, no busy loop, and recovery" {
    [ "$(id -u)" -eq 0 ] || skip "needs root, to be a user with no processes"
    need setpriv prlimit
    needs_proc
    cp "$SMTPD" smtpd
    chmod 755 .
    mkdir -m 777 mail
    # A user of its own, who may have the server and two sessions.
    user=$((70000 + $$ % 1000000))
    start prlimit --nproc=3 setpriv --reuid="$user" --regid="$user" \
        --clear-groups ./smtpd -p 0 -l 127.0.0.1
    dialogue <<'END'
S: 220 ...
$: dialogue <<<$'S: 220 ...\n$: dialogue <<<"S: 421 4.3.2 ..."\n$: cpu >before; sleep 1'
$: [ $(($(cpu) - $(cat before))) -lt 20 ]
$: wait_until served
C: NOOP
S: 250 ...
END
    grep -q '^smtpd\[.*fork' log
}

@test "accept() fails for a reason that is not the client's: logged, no busy loop, and recovery" {
    need strace
    strace -o trace true 2>/dev/null || skip "strace may not trace here"
    ports=()
    for error in EPERM EINVAL ENOMEM; do
        start env ASAN_OPTIONS=detect_leaks=0 strace -D -o "trace.$error" \
            -e inject=accept,accept4:error="$error":when=1..2 "$SMTPD" -l 127.0.0.1 -p 0 -m mail
        ports+=("$PORT")
        mv log "log.$error"
    done
    # Each failure takes a second, and then the same client is served.
    py "${ports[@]}" <<'END'
import socket, sys, time
began = time.monotonic()
for client in [socket.create_connection(("127.0.0.1", int(port))) for port in sys.argv[1:]]:
    client.settimeout(10)
    assert client.recv(4) == b"220 "
    assert 1.9 < time.monotonic() - began < 6, time.monotonic() - began
END
    for error in EPERM EINVAL ENOMEM; do
        [ "$(grep -c "^smtpd\[[0-9]*\]: can't accept: " "log.$error")" -eq 2 ]
    done
    grep -q "can't accept: Operation not permitted" log.EPERM
}

@test "accept() fails since the client has gone: not logged, and not waited for" {
    need strace
    strace -o trace true 2>/dev/null || skip "strace may not trace here"
    start env ASAN_OPTIONS=detect_leaks=0 strace -D -o trace \
        -e inject=accept,accept4:error=ECONNABORTED:when=1..5 "$SMTPD" -l 127.0.0.1 -p 0 -m mail
    WAIT=1 served
    run -1 grep accept log
}

@test "accept() fails: a line in the log, no busy loop, and recovery" {
    need prlimit
    needs_proc
    serve
    served
    # From now on it may have no descriptor more than now.
    free=0
    while [ -e "/proc/$SERVER/fd/$free" ]; do free=$((free + 1)); done
    prlimit --pid "$SERVER" --nofile="$free:4096"
    dialogue <<'END' &
S: 220 ...
C: NOOP
S: 250 ...
END
    client=$!
    wait_until holds log 'smtpd[[]*accept'
    before=$(cpu)
    sleep 1
    [ $(($(cpu) - before)) -lt 20 ]
    [ "$(grep -c accept log)" -lt 20 ]
    prlimit --pid "$SERVER" --nofile=256:4096
    wait "$client"
}
