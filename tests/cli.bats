#!/usr/bin/env bats
# The command line: options, exit codes, what is said at the start, and make.

# run --separate-stderr sets stderr_lines; ask takes options, and sets codes and code.
# shellcheck disable=SC2034,SC2154
load helpers

# It must say nothing on standard output, and exit CODE; file err has the rest.
exits() { # CODE COMMAND...
    local status=0
    "${@:2}" >out 2>err 3>&- 4>&- || status=$?
    [ "$status" -eq "$1" ] || { echo "exit $status:" && cat err && return 1; }
    [ ! -s out ]
}

# smtpd with these arguments must say one line that holds WORD, then the usage,
# and exit 64.
misused() { # WORD ARGUMENTS...
    local word=$1
    shift
    # Should it be taken, then there is no such directory: it does not serve.
    exits 64 "$SMTPD" -m /dev/null/mail "$@"
    { IFS= read -r first && IFS= read -r second; } <err
    [[ $first == "smtpd: "*"$word"* ]]
    [[ $second == [Uu]sage:* ]]
}

# It must say one line, with each WORD in it and nothing more, and exit CODE.
cannot() { # CODE WORDS COMMAND...
    local code=$1 words=$2 word
    shift 2
    exits "$code" "$@"
    IFS= read -r -d '' said <err || :
    [[ $said != *$'\n'?* ]]
    for word in smtpd: $words; do
        [[ $said == *"$word"* ]]
    done
}

# RCPT TO each address must get a reply that begins so, in one session.
rcpt() { # ADDRESS CODE...
    local lines=$'S: 220 ...\nC: HELO me\nS: 250 ...\nC: MAIL FROM:<>\nS: 250 2.1.0 ...\n'
    while [ $# -gt 0 ]; do
        lines+="C: RCPT TO:<$1>"$'\n'"S: $2 ..."$'\n'
        shift 2
    done
    dialogue <<<"$lines"
}

as_nobody() {
    if [ "$EUID" -ne 0 ]; then
        timeout 5 "$@"
    else
        # The test's folder can't be reached from above, but from where we are.
        chmod 755 .
        setpriv --reuid=65534 --regid=65534 --clear-groups timeout 5 "$@"
    fi
}

@test "-h: the version and the usage on standard output, each option in it" {
    run -0 --separate-stderr "$SMTPD" -h
    [ -z "$stderr" ]
    [[ ${lines[0]} =~ ^smtpd\ [0-9]+\.[0-9]+$ ]]
    [[ ${lines[1]} == [Uu]sage:*smtpd* ]]
    shown=
    for line in "${lines[@]}"; do shown+=" ${line#"${line%%[! ]*}"}"; done
    for option in l p m d n s u z c k t a x i v h; do [[ $shown == *" -$option "* ]]; done
    # The greeting says the same version.
    talk </dev/null >greeting
    holds greeting " ${lines[0]} "
}

@test "an unknown option, a stray argument, a value left out: exit 64" {
    misused q -q
    misused stray stray
    misused stray -v stray
    misused stray -- stray
    misused -p -p
    misused -m -v -m
}

@test "-p: a number from 0 to 65535, or exit 64" {
    for value in '' x 25x -1 65536 99999999999999999999 0x19 ' 25' +25 2.5; do
        misused -p -p "$value"
    done
}

@test "-z: a number from 65536 on, or exit 64" {
    for value in '' x 65535 0 -65536 64k 99999999999999999999; do
        misused -z -z "$value"
    done
}

@test "-c, -k and -t: a number from 1 on, or exit 64" {
    for option in -c -k -t; do
        for value in '' x 0 -1 1x 99999999999999999999; do
            misused "$option" "$option" "$value"
        done
    done
}

@test "-n and -d: a host name, or exit 64" {
    misused -n -n ''
    misused -n -n 'two words'
    misused -n -n $'a\tb'
    misused -n -n "$(x 300)"
    misused -d -d ''
    misused -d -d 'bob@example.com'
    misused -d -d 'two words'
    # One dot at the end of -n is dropped, and no more than one.
    misused -n -n .
    misused -n -n mx..
    # RFC 5321 4.1.3: none of these is an address literal.
    for literal in '[]' '[192.0.2]' '[192.0.2.256]' '[192.0.2.1' '[2001:db8::1]' \
        '[IPv6:192.0.2.1]' '[x:y]'; do
        misused -d -d "$literal"
    done
}

@test "-l: an address, or exit 64" {
    misused -l -l ''
    misused -l -l 'not an address'
    misused -l -l 1.2.3.4.5
    misused -l -l{,,,,,,,,,,,,}{,,,,}127.0.0.1     # 65 of them
}

@test "-p: a port in use gets one line and exit 69" {
    serve
    cannot 69 "127.0.0.1 $PORT use" timeout 5 "$SMTPD" -l 127.0.0.1 -p "$PORT"
}

@test "-l: an address which is not ours gets one line and exit 69" {
    # RFC 5737 keeps this address for documents: no machine has it.
    cannot 69 "192.0.2.1 another address" timeout 5 "$SMTPD" -l 192.0.2.1 -p 0
}

@test "-p: a port that only root may bind gets one line and exit 77" {
    first=1024
    { read -r first </proc/sys/net/ipv4/ip_unprivileged_port_start; } 2>/dev/null || :
    [ "$first" -gt 25 ] || skip "everybody may bind port 25 here"
    [ "$EUID" -ne 0 ] || need setpriv
    cp "$SMTPD" smtpd
    mkdir -m 777 mail
    cannot 77 "127.0.0.1 25 denied" as_nobody ./smtpd -l 127.0.0.1 -p 25
}

@test "-m: a directory that can't be made gets one line and exit 73" {
    : >file
    cannot 73 "file/mail" timeout 5 "$SMTPD" -l 127.0.0.1 -p 0 -m file/mail
    cannot 73 "no/such/parent" timeout 5 "$SMTPD" -l 127.0.0.1 -p 0 -m no/such/parent
    cannot 73 "file" timeout 5 "$SMTPD" -l 127.0.0.1 -p 0 -m file
}

@test "-m: a directory one may not write to gets one line and exit 73 or 77" {
    [ "$EUID" -ne 0 ] || need setpriv
    cp "$SMTPD" smtpd
    mkdir -m 755 closed
    [ "$EUID" -eq 0 ] || chmod 555 closed
    run --separate-stderr as_nobody ./smtpd -l 127.0.0.1 -p 0 -m closed/mail
    [ "$status" -eq 73 ] || [ "$status" -eq 77 ]
    [[ ${#stderr_lines[@]} -eq 1 && $stderr == "smtpd: "*closed/mail*denied* ]]
}

@test "the ready line is the first and only one, and names the port" {
    serve
    [ "$(<log)" = "smtpd: listening on 127.0.0.1 port $PORT" ]
}

@test "-p 0: the kernel's port is the same on every address" {
    serve -l 127.0.0.1 -l 127.0.0.2 -l ::1
    wait_until has_lines 3
    for address in 127.0.0.1 127.0.0.2 '[::1]'; do
        holds log "smtpd: listening on ${address/[/[[]} port $PORT"$'\n'
    done
    for address in 127.0.0.1 127.0.0.2 ::1; do
        HOST=$address dialogue <<<'S: 220 mail.example.com ESMTP...'
    done
}

has_lines() {
    local lines
    mapfile -t lines <log
    [ ${#lines[@]} -eq "$1" ]
}

@test "-l: left out, it is 127.0.0.1 and ::1" {
    start "$SMTPD" -p 0
    wait_until has_lines 2
    name=$(uname -n)
    for address in 127.0.0.1 ::1; do
        holds log "smtpd: listening on ${address/::1/[[]::1]} port $PORT"$'\n'
        HOST=$address dialogue <<<"S: 220 $name ESMTP..."
    done
}

@test "-l: left out, a machine without IPv6 listens on IPv4 alone, silently" {
    need ip
    unshare -n true 2>/dev/null || skip "needs a network namespace of its own"
    # shellcheck disable=SC2016
    start unshare -n sh -c 'ip link set lo up &&
        echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 && exec "$0" -p 0' "$SMTPD"
    [ "$(<log)" = "smtpd: listening on 127.0.0.1 port $PORT" ]
}

@test "-l: with :: it is IPv6 alone" {
    py 2>/dev/null <<<'import socket; socket.socket(socket.AF_INET6).bind(("::1", 0))' ||
        skip "no IPv6 here"
    # Beside it the same port can be bound on IPv4.
    serve -l :: -l 0.0.0.0
    wait_until has_lines 2
    holds log "smtpd: listening on [[]::] port $PORT"$'\n'
    holds log "smtpd: listening on 0.0.0.0 port $PORT"$'\n'
    end_server
    serve -l ::
    HOST=::1 dialogue <<<'S: 220 mail.example.com ESMTP...'
    run -1 nc -z 127.0.0.1 "$PORT"
}

@test "-n: the greeting, EHLO and Received have this name, and it is a domain" {
    serve -n mx.example.net
    dialogue <<'END'
S: 220 mx.example.net ESMTP...
C: HELO me
S: 250 mx.example.net ...
C: MAIL FROM:<>
S: 250 ...
C: RCPT TO:<bob@mx.example.net>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
END
    [[ $(field Received mail/bob/new/*) == *" by mx.example.net "* ]]
}

@test "-n: one dot at its end is dropped, and likewise from the machine's own name" {
    options=(-n mx.example.net.)
    ask 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@mx.example.net>' DATA .
    [ "${codes[2]}, $code" = '250 2.1.5, 250 2.0.0' ]
    holds replies '220 mx.example.net ESMTP*250 mx.example.net greets'
    [[ $(field Received mail/bob/new/*) == *" by mx.example.net "* ]]
    file=(mail/bob/new/*)
    [[ ${file[0]} == *.mx.example.net ]]
    unshare -u true 2>/dev/null || skip "needs a host name of its own"
    # shellcheck disable=SC2016
    unshare -u sh -c 'echo box.example.org. >/proc/sys/kernel/hostname && exec "$0" -i' \
        "$SMTPD" </dev/null >greeting 2>>log
    holds greeting '220 box.example.org ESMTP'
}

@test "-d: left out, it is localhost, example.com and the -n name" {
    serve -n mx.example.net
    rcpt bob@localhost "250 2.1.5" \
        bob@EXAMPLE.com "250 2.1.5" \
        bob@mx.example.net "250 2.1.5" \
        bob@example.net "550 5.7.1" \
        bob@a.example.com "550 5.7.1" \
        'bob@[127.0.0.1]' "550 5.7.1"
}

@test "-d: the first replaces the defaults, others add to it" {
    serve -d One.example -d two.example
    rcpt bob@one.example "250 2.1.5" \
        bob@TWO.example "250 2.1.5" \
        bob@localhost "550 5.7.1" \
        bob@example.com "550 5.7.1" \
        bob@mail.example.com "550 5.7.1"
}

@test "-d: an address literal, compared as text, in any case" {
    serve -d '[192.0.2.1]' -d '[IPv6:2001:DB8::1]' -d one.example
    rcpt 'bob@[192.0.2.1]' "250 2.1.5" \
        'bob@[ipv6:2001:db8::1]' "250 2.1.5" \
        bob@one.example "250 2.1.5"
    # Another address, the same in other words, and that which this server is reached by.
    rcpt 'bob@[192.0.2.2]' "550 5.7.1" \
        'bob@[IPv6:2001:db8:0::1]' "550 5.7.1" \
        'bob@[127.0.0.1]' "550 5.7.1" \
        bob@localhost "550 5.7.1"
}

@test "-d '*': every domain, and every address literal" {
    serve -d '*'
    rcpt bob@anywhere.example "250 2.1.5" \
        bob@localhost "250 2.1.5" \
        'bob@[127.0.0.1]' "250 2.1.5" \
        'bob@[192.0.2.1]' "250 2.1.5" \
        'bob@[IPv6:2001:db8::1]' "250 2.1.5"
}

@test "-m: mail lies there; left out, in ./mail" {
    start "$SMTPD" -l 127.0.0.1 -p 0 -n mail.example.com
    letter bob@localhost 'Subject: hello'
    mails bob 1
    end_server
    serve -m "$PWD/other folder"
    letter carol@localhost 'Subject: hello'
    compgen -G 'other folder/carol/new/*'
    [ ! -e mail/carol ]
}

@test "-z: SIZE and the limit; left out, 26214400" {
    serve -z 65536
    dialogue <<'END'
S: 220 ...
C: EHLO me
S*: 250-SIZE 65536
C: MAIL FROM:<> SIZE=65537
S: 552 5.3.4 ...
C: MAIL FROM:<> SIZE=65536
S: 250 2.1.0 ...
END
    ask 'EHLO me'
    holds replies $'\n250-SIZE 26214400\r\n'
}

@test "-s: only mailboxes that exist; without it they are made" {
    mkdir -p mail/bob
    serve -s
    rcpt bob@localhost "250 2.1.5" \
        carol@localhost "550 5.1.1" \
        Postmaster@localhost "250 2.1.5"
    end_server
    serve
    rcpt carol@localhost "250 2.1.5"
}

@test "-t: a client that takes longer over a command is turned out" {
    serve -t 1
    SECONDS=0
    dialogue <<'END'
S: 220 ...
X: NOO
S: 421 4.4.2 ...
E:
END
    [ "$SECONDS" -le 5 ]
}

@test "-i: one session on standard input and output, then exit 0" {
    run -0 --separate-stderr "$SMTPD" -i -m mail -n mx.example.net <<<$'NOOP\r\nQUIT\r'
    [ "$output" = $'220 mx.example.net ESMTP'"${lines[0]#220 mx.example.net ESMTP}"$'\n'"${lines[1]}"$'\n'"${lines[2]}" ]
    [[ ${lines[1]} == "250 2.0.0 "*$'\r' && ${lines[2]} == "221 2.0.0 "*$'\r' ]]
    [[ $stderr != *listening* && $stderr == *"smtpd["*"]: "* ]]
}

@test "with the standard descriptors closed no log line gets into a message" {
    # So that its port is known: it has nowhere to say it.
    serve
    end_server TERM
    "$SMTPD" -v -l 127.0.0.1 -p "$PORT" -m mail <&- >&- 2>&- 3>&- 4>&- &
    SERVER=$!
    export SERVERS=" $SERVER"
    # Long enough to be in a file, and open, while -v logs its lines.
    pieces <<'END'
def reachable():
    try:
        return Client()
    except ConnectionRefusedError:
        return None
until(reachable, 'a server that says nothing')
body = 3000 * (b'x' * 70 + b'\r\n')
Client('220').sends('bob', text=message(1, body)[:-2].decode())
same(stored(), {1: body.replace(b'\r\n', b'\n')}, 'what is kept')
END
}

@test "-v: shows each line, both ways; left out, none" {
    serve -v
    letter bob@localhost 'Subject: hello'
    for line in 'S: 220 mail.example.com' 'C: HELO me' 'C: Subject: hello' 'S: 221 2.0.0'; do
        holds log "$line"
    done
    # The final dot is no line of the message's.
    lacks log $'C: .\n'
    end_server
    serve
    letter bob@localhost 'Subject: hello'
    lacks log '[CS]: '
}

@test "options can be written together, with and without a space" {
    mkdir -p mail/bob
    start "$SMTPD" -svl127.0.0.1 -p0 -n mail.example.com -mmail
    rcpt bob@localhost "250 2.1.5" \
        carol@localhost "550 5.1.1"
    holds log 'C: HELO me'
}

# A copy of the sources, to build there.
sources() {
    unset MAKEFLAGS MFLAGS MAKELEVEL
    cp "$ROOT/Makefile" "$ROOT/smtpd.c" "$ROOT/README.md" .
    mkdir -p tests/book && cp "$ROOT/tests/book/manpage" tests/book
}

@test "make install: heeds DESTDIR and PREFIX" {
    sources
    make CFLAGS=-O0 HARDENING= install DESTDIR="$PWD/stage" PREFIX=/opt/x
    files stage 2
    [ -s stage/opt/x/share/man/man8/smtpd.8 ]
    stage/opt/x/bin/smtpd -h >help
    holds help -p
    make -n install >commands
    holds commands "[ ]'/usr/local/bin"
}

@test "make: shows one command, leaves one file; make clean leaves the mail" {
    sources
    mkdir -p mail/bob/new && : >mail/bob/new/1
    run -0 make CFLAGS=-O0
    [ "${#lines[@]}" -eq 1 ]
    there=(smtpd*)
    [ "${there[*]}" = 'smtpd smtpd.c' ]
    make clean
    [ ! -e smtpd ]
    [ -e mail/bob/new/1 ]
}

@test "make: hardening which the compiler does not know is left out" {
    sources
    make CFLAGS=-O0 HARDENING='-fno-such-thing -fstack-protector-strong'
    ./smtpd -h >help
    run -0 make -n help
    run -0 make help
    for target in all run test check install clean help; do
        [[ $output == *"make $target:"* ]]
    done
}

@test "smtpd.c builds alone, as C99, without a warning" {
    "${CC:-cc}" -std=c99 -Wall -Wextra -Wpedantic -Werror -o smtpd "$ROOT/smtpd.c"
    ./smtpd -h >help
    holds help -p
}
