#!/usr/bin/env bats
# -i: one session on standard input and output, as inetd, systemd, tcpserver
# and socat start a server. Whom it talks to, where its log goes, how it ends.

load helpers

setup_file() {
    printf '%s\r\n' 'EHLO me' 'MAIL FROM:<a@example.org>' 'RCPT TO:<bob@localhost>' \
        'RCPT TO:<bob@elsewhere.example>' DATA 'Subject: x' '' text . QUIT \
        >"$BATS_FILE_TMPDIR/letter"
}

letter=${BATS_FILE_TMPDIR-}/letter

# Play the file $INPUT, or the letter, to smtpd -i, print what comes back. KIND says
# what it is connected by, ERROR where its standard error goes: see inetd.py. Several
# kinds are one session each, and what comes back goes to the files out.KIND, standard
# error to ERROR.KIND. PREFIX is a command to run it with. Returns its exit status, 255 for a signal.
over() { # KIND[,KIND...] ERROR [OPTIONS]
    # shellcheck disable=SC2086
    INPUT=${INPUT-$letter} "$PYTHON" -I "$ROOT/tests/inetd.py" "$@" -- ${PREFIX-} "$SMTPD" -i
}

has_ipv6() {
    py 2>/dev/null <<<'import socket; socket.socket(socket.AF_INET6).bind(("::1", 0))' ||
        skip "no IPv6 here"
}

# What the client heard must be replies, from 220 to 221, and nothing else.
only_replies() { # FILE
    local LC_ALL=C text kept=0 heard=() good=$'^[2-5][0-9][0-9][- ][ -~]*\r$'
    mapfile -t heard <"$1"
    for text in "${heard[@]}"; do
        [[ $text =~ $good ]] || { printf 'no reply: %q\n' "$text" && return 1; }
        case $text in '250 2.0.0 '*) kept=$((kept + 1)) ;; esac
    done
    echo "heard: ${heard[*]}"
    [[ ${heard[0]} == "220 mail.example.com "* ]]
    [[ ${heard[${#heard[@]} - 1]} == "221 "* ]]
    [ "$kept" -eq 1 ]
}

# Received must say "from me", then this, then "by", in each message of this folder.
received_from() { # LITERAL [FOLDER]
    local file
    for file in "${2-mail}"/bob/new/*; do
        holds "$file" $'\nReceived: from me'"${1:+ ${1//[[]/[[]}}"$'\n\tby mail.example.com ' ||
            { cat "$file" && return 1; }
    done
}

@test "-i: over pipes, whose client has no address" {
    over pipes log >out
    only_replies out
    received_from ''
}

@test "-i: over an IPv4 socket, with the client's address (RFC 5321 4.4)" {
    over ipv4 log >out
    only_replies out
    received_from '([127.0.0.1])'
    holds log 'start *[[]127.0.0.1]'
}

@test "-i: over an IPv6 socket, with the client's address (RFC 5321 4.1.3)" {
    has_ipv6
    over ipv6 log >out
    only_replies out
    received_from '([IPv6:::1])'
}

@test "-i: over a pair of Unix sockets, whose client has no address" {
    over unix log >out
    only_replies out
    received_from ''
}

@test "-i: over a socket that does not block" {
    export nonblocking=1
    over ipv4 log >out
    only_replies out
    # It waits for a command, and with more replies than the socket holds for us.
    pieces <<'END'
ours, theirs = socket.socketpair()
theirs.setblocking(False)
s = Inetd(small=True, pair=(ours, theirs))
s.hears('220')
for commands in 1, 1000:
    time.sleep(0.1)
    s.send(b'HELP\r\n' * commands)
    time.sleep(0.1)
    s.hears(*['214 2.0.0'] * commands)
s.send(b'QUIT\r\n')
same(s.rest(), ['221 2.0.0'], 'the end')
s.end()
END
}

@test "-i: socat can start it, on the connection or on a Unix socket pair" {
    need socat
    for nofork in '' ,nofork; do
        rm -rf mail
        : >socat.log
        # shellcheck disable=SC2094
        socat -d -d "TCP-LISTEN:0,bind=127.0.0.1" \
            "EXEC:'$SMTPD -i -m mail -n mail.example.com'$nofork" 2>socat.log </dev/null 3>&- 4>&- &
        socat=$!
        wait_until holds socat.log 'listening on'
        export PORT
        IFS= read -r -d '' said <socat.log || :
        said=${said#*listening on } said=${said%%$'\n'*} PORT=${said##*:}
        send_raw <"$letter" >out
        wait "$socat" || :
        only_replies out
        received_from "${nofork:+([127.0.0.1])}"
    done
}

# In the log the client of the last session must be this, in all its lines.
client_is() { # LITERAL [LOG]
    local line clients=()
    while read -r line; do
        case $line in *' client='*) line=${line##*client=} clients+=("${line%% *}") ;; esac
    done <"${2-log}"
    : >"${2-log}"
    echo "wanted client=$1, got ${clients[*]}"
    [ "${clients[*]}" = "$1 $1 $1 $1" ] # start, kept, refused, end
}

@test "-i: where there is no socket, TCPREMOTEIP is the client's address" {
    while read -r address literal; do
        TCPREMOTEIP=$address over pipes,unix log -m "mail.$address"
        for kind in pipes unix; do
            only_replies "out.$kind"
            client_is "$literal" "log.$kind"
        done
        received_from "($literal)" "mail.$address"
    done <<'END'
192.0.2.7 [192.0.2.7]
2001:DB8:0::7 [IPv6:2001:db8::7]
::ffff:192.0.2.7 [192.0.2.7]
END
}

@test "-i: on a socket from loopback, as stunnel's or a proxy's, likewise" {
    TCPREMOTEIP=192.0.2.7 over ipv4 log >out
    only_replies out
    received_from '([192.0.2.7])'
    client_is '[192.0.2.7]'
    has_ipv6
    TCPREMOTEIP=192.0.2.7 over ipv6 log -m other >out
    received_from '([192.0.2.7])' other
    client_is '[192.0.2.7]'
}

@test "-i: however an IPv6 address is spelled, it is the same client" {
    while read -r address literal; do
        TCPREMOTEIP=$address talk -m "mail.$address" <"$letter" >out
        only_replies out
        received_from "($literal)" "mail.$address"
        client_is "$literal"
    done <<'END'
2001:0db8:0000:0000:0000:0000:0000:0007 [IPv6:2001:db8::7]
2001:DB8::0.0.0.7 [IPv6:2001:db8::7]
::FFFF:C000:207 [192.0.2.7]
0:0:0:0:0:0:0:1 [IPv6:::1]
END
}

@test "-i: a TCPREMOTEIP that can't be read is a stranger's, without an address" {
    for address in '' ' ' unknown 192.0.2 192.0.2.256 '192.0.2.7) evil' 192.0.2.7.8 127.1 \
        $'192.0.2.7\nX: y' 'fe80::1%eth0' '[192.0.2.7]' localhost ' 127.0.0.1'; do
        number=$((${number-0} + 1))
        TCPREMOTEIP=$address talk -m "mail.$number" <"$letter" >out
        only_replies out
        received_from '' "mail.$number"
        client_is unknown
    done
    TCPREMOTEIP='' over unix,ipv4 log
    for kind in unix ipv4; do
        only_replies "out.$kind"
        client_is unknown "log.$kind"
    done
    received_from ''
}

@test "-i: on a socket from elsewhere, TCPREMOTEIP counts for nothing" {
    need unshare ip socat
    user=--map-root-user
    [ "$EUID" -ne 0 ] || user=
    tr -d '\r' <"$letter" >lf
    # A network of its own, with an address in it that is not loopback. Each argument
    # is a session: an address for TCPREMOTEIP, and the file that is sent.
    cat >elsewhere <<END
#!/bin/sh
ip link set lo up && ip address add 192.0.2.1/32 dev lo || exit
n=0
while [ \$# -gt 0 ]; do
    n=\$((n + 1))
    TCPREMOTEIP=\$1 socat TCP-LISTEN:252\$n,bind=192.0.2.1 \
        "EXEC:'$SMTPD' -i -m mail.\$n -n mail.example.com,nofork" 2>log.\$n &
    socat -t 10 - TCP:192.0.2.1:252\$n,retry=100,interval=0.1 <"\$2" >out.\$n
    shift 2
done
END
    chmod +x elsewhere
    # shellcheck disable=SC2086
    unshare -n $user ip link set lo up 2>/dev/null || skip "may have no network of its own here"
    # shellcheck disable=SC2086
    unshare -n $user ./elsewhere 127.0.0.1 "$letter" 192.0.2.7 "$letter" '' "$letter" 127.0.0.1 lf
    for n in 1 2 3; do
        only_replies "out.$n"
        received_from '([192.0.2.1])' "mail.$n"
        client_is '[192.0.2.1]' "log.$n"
    done
    holds out.4 $'\n500 5.5.2 '
    [ ! -e mail.4/bob ]
}

@test "RFC 5321 2.3.8: -i: LF ends lines for a pipe or a loopback client, and no other" {
    tr -d '\r' <"$letter" >lf
    by_hand() { # CHECK
        INPUT=lf over pipes,unix,ipv4 log
        for kind in pipes unix ipv4; do "$1" "out.$kind"; done
    }
    stranger() { # FILE
        mapfile -t heard <"$1"
        [ ${#heard[@]} -eq 2 ]
        [[ ${heard[1]} == "500 5.5.2 "* ]]
    }
    by_hand only_replies
    TCPREMOTEIP=127.0.0.1 by_hand only_replies
    TCPREMOTEIP=192.0.2.7 by_hand stranger
    TCPREMOTEIP='' by_hand stranger
    for address in 127.8.9.10 ::1 0:0::0:1 ::ffff:127.0.0.1 ::ffff:7f00:1; do
        TCPREMOTEIP=$address talk <lf >out
        only_replies out
    done
    for address in 2001:db8::7 ::ffff:192.0.2.7 10.127.0.0 unknown 127.1 localhost; do
        TCPREMOTEIP=$address talk <lf >out
        stranger out
    done
    mails bob 11
}

@test "-i: with standard error on the client's socket, no log line goes to the client" {
    over ipv4,unix same -v
    only_replies out.ipv4
    only_replies out.unix
    mails bob 2
    for file in mail/bob/new/*; do lacks "$file" 'smtpd[[]'; done
}

@test "-i: with standard error and output on the client's socket, but input not, likewise" {
    py "$SMTPD" <<'END' >out
import os, socket, subprocess, sys
ours, theirs = socket.socketpair()
ours.settimeout(20)
read, write = os.pipe()
os.write(write, b"HELO me\r\nFOO\r\nQUIT\r\n")
os.close(write)
server = subprocess.Popen([sys.argv[1], "-i", "-m", "mail"], stdin=read, stdout=theirs,
                          stderr=theirs)
theirs.close()
while octets := ours.recv(4096):
    sys.stdout.buffer.write(octets)
END
    run -1 grep -vE $'^[2-5][0-9][0-9][- ][ -~]*\r$' out
    [ "$(wc -l <out)" -eq 4 ]
}

@test "-i: with standard error elsewhere, the log goes there" {
    over ipv4 err >out
    only_replies out
    for event in start kept refused end; do
        holds err "smtpd[[]*]: *$event"
    done
}

@test "-i: with standard error on the client's socket, the log goes to syslog, facility mail" {
    need unshare
    user=--map-root-user
    [ "$EUID" -ne 0 ] || user=
    # A /dev that only the server sees, in which we listen to the log.
    mkdir dev && : >dev/null
    cat >with-dev <<'END'
#!/bin/sh
mount --bind /dev/null dev/null && mount --rbind dev /dev && exec "$@"
END
    chmod +x with-dev
    # shellcheck disable=SC2086
    unshare -m $user ./with-dev true 2>/dev/null || skip "may not mount here"
    py >syslog 2>err 3>&- 4>&- <<'END' &
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("dev/log")
s.settimeout(20)
while True:
    line = s.recv(10000).rstrip(b"\0\n").decode()
    print(line, flush=True)
    if line == "end":
        break
END
    listener=$!
    wait_until test -S dev/log
    PREFIX="unshare -m $user ./with-dev" over ipv4 same >out
    py <<<'import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"end", "dev/log")'
    wait "$listener"
    only_replies out
    # 22: the facility mail is 2, times 8, and of the levels information is 6.
    run -1 grep -vE '^<2[0-9]>.*smtpd\[[0-9]+\]: [^ ]+ |^end$' syslog
    for event in 'start .*\[127\.0\.0\.1\]' 'kept .*bob@localhost' 'refused.* 550 5\.7\.1 ' 'end'; do
        grep -q "^<22>.*smtpd\[[0-9]*\]: [^ ]* $event" syslog
    done
}

@test "-i: a mail directory that can't be made is not told to the client" {
    : >file
    status=0
    INPUT=/dev/null over ipv4 same -m file/mail >out || status=$?
    [ "$status" -eq 73 ]
    # If anything, a reply: RFC 5321 3.1 has 554, 3.8 has 421.
    run -1 grep -vE $'^(421|554)[- ][ -~]*\r$' out
}

@test "RFC 5321 3.8: -i: a server that can't start says 421, wherever its log goes" {
    : >file
    for error in same err; do
        status=0
        INPUT=/dev/null over ipv4 "$error" -m file/mail >out || status=$?
        [ "$status" -eq 73 ]
        [[ $(<out) == '421 4.3.0 '*$' (RFC 5321 3.8)\r' && $(<out) != *$'\n'* ]]
    done
    holds err 'smtpd: file/mail: '
}

@test "RFC 5321 3.8: -i: SIGTERM and SIGINT get 421, and exit 0" {
    for signal in TERM INT; do
        dialogue --to "$SMTPD" -i -m mail -n mail.example.com <<END
S: 220 ...
C: HELO me
S: 250 ...
\$: kill -$signal \$client
S: 421 4.3.2 ...
\$: wait "\$client"
END
    done
}

@test "RFC 5321 3.8: -i: SIGTERM inside DATA gets 421 at once, and nothing is kept" {
    dialogue --to "$SMTPD" -i -m mail -n mail.example.com <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 ...
C: RCPT TO:<bob@localhost>
S: 250 ...
C: DATA
S: 354 ...
C: one
$: kill -TERM $client
S: 421 4.3.2 ...
END
    files mail 0
}

@test "-i: the end of input, in any state, ends the session, and exit is 0" {
    # shellcheck disable=SC2154 # tell sets codes
    for wanted in 0 1 2 3 4 5 5 5; do
        head -n "${taken-0}" "$letter" >.asked
        taken=$((taken + 1))
        tell .asked
        [ ${#codes[@]} -eq "$wanted" ]
    done
    printf 'NOOP\r\nNOO' >.asked
    tell .asked
    [ "${codes[*]}" = '250 2.0.0' ]
    files mail 0
}

@test "-i: a client who has gone before the greeting is no trouble" {
    "$SMTPD" -i -m mail -n mail.example.com </dev/null 2>log | :
    [ "${PIPESTATUS[0]}" -eq 0 ]
    holds log ' end'
    INPUT=/dev/null over ipv4 log >out
    mapfile -t heard <out
    [ ${#heard[@]} -eq 1 ]
}

@test "-i: needs no port: two at one time, and beside a server" {
    serve
    for i in 1 2; do
        mkfifo "in.$i"
        talk <"in.$i" >"out.$i" &
        pids[i]=$!
    done
    exec 5>in.1 6>in.2
    cat "$letter" >&6
    wait_until holds out.2 $'\n221 '
    exec 6>&-
    cat "$letter" >&5
    exec 5>&-
    wait "${pids[@]}"
    only_replies out.1
    only_replies out.2
    send_raw <"$letter" >out.3
    only_replies out.3
    mails bob 3
}
