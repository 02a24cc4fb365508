#!/usr/bin/env bats
# -x COMMAND: each message is handed to a shell command before it is acknowledged,
# and its exit status decides. The command stands in the mail directory, so what
# it writes to ../FILE lies in the test's folder.

# The commands between single quotes are the hook's; ask() sets codes, code and last.
# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2154
load helpers

LETTER=('MAIL FROM:<a@example.org>' 'RCPT TO:<bob@localhost>' DATA 'Subject: x' '' text .)

# One letter to bob is said to smtpd -i, which hands it to this command.
hand_to() { # COMMAND [OPTIONS]
    local options=(-x "$@")
    ask 'EHLO me' "${LETTER[@]}"
}

# Up to the dot, which is the next thing to say.
BEGIN='S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: Subject: x
C:
C: text'

# A command that says that it runs, and waits until it may go on.
WAITS='echo $$ >../runs; read -r line <../go; exit ${line:-75}'
waits() { mkfifo go && serve -x "$WAITS" "$@"; }
runs() { [ -s runs ]; }

# What a command here waits for comes through the pipe go. So it ends with its test,
# even if the server has lost it: once it is opened here and closed, a reader sees
# its end, and who comes later finds no pipe.
teardown() {
    if [ -p go ]; then
        exec 7<>go
        rm go
        exec 7>&-
    fi
    end_servers
}

no_file() { # DIRECTORY
    local file
    for file in mail/*/"$1"/*; do
        if [ -e "$file" ]; then echo "$file is there" && return 1; fi
    done
}

needs_proc() { [ -r "/proc/$$/stat" ] || skip "needs Linux's /proc"; }

@test "-x: runs sh -c COMMAND smtpd RECIPIENT..., once for each message" {
    options=(-x 'echo "$0,$#,$*" >>../said')
    ask 'EHLO me' "${LETTER[@]}" 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' \
        'RCPT TO:<carol@localhost>' DATA . 'MAIL FROM:<>' 'RCPT TO:<dave@localhost>' RSET
    [ "$(<said)" = $'smtpd,1,bob@localhost\nsmtpd,2,bob@localhost carol@localhost' ]
    mails bob 2 carol 1
}

@test "-x: is not run for a message that is refused in any case" {
    hops=()
    for ((i = 0; i < 101; i++)); do hops+=('Received: from a by b; date'); done
    options=(-z 65536 -x ': >../ran')
    envelope=('MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA)
    ask 'HELO me' "${envelope[@]}" $'bare\rCR' . "${envelope[@]}" "$(x 70000)" . \
        "${envelope[@]}" "${hops[@]}" .
    [ "${codes[4]}, ${codes[8]}, ${codes[12]}" = '554 5.6.0, 552 5.3.4, 554 5.4.6' ]
    [ ! -e ran ]
}

@test "-x: runs when all of the message is in tmp, and nothing has been said or kept" {
    waits
    dialogue <<END
$BEGIN
C: .
\$: wait_until runs
\$: no_file new
\$: holds mail/bob/tmp/* \$'\\n\\ntext\\n'
\$: echo 0 >go
S: 250 2.0.0 Message kept as ...
C: QUIT
S: 221 ...
END
    holds mail/bob/new/* $'\n\ntext\n'
}

@test "-x: standard input is the message as it will lie in the mailbox" {
    LETTER=("${LETTER[@]:0:6}" ..dot $'Gr\xC3\xBC\xC3\x9Fe' "$(x 70000)" .)
    hand_to 'cat >../first; cat /dev/stdin >../second; read -r line; [ -z "$line" ]'
    [ "$code" = '250 2.0.0' ]
    cmp first mail/bob/new/*
    IFS= read -r -d '' said <first || :
    [[ $said == $'Return-Path: <a@example.org>\n'* ]]
    [ ${#said} -gt 70000 ]
}

@test "-x: standard input can be read once more through /dev/stdin" {
    [ "$(uname)" = Linux ] || skip "this is so on Linux"
    hand_to 'cat >../first; cat /dev/stdin >../second; head -n 1 /dev/stdin >../third'
    cmp first mail/bob/new/*
    cmp first second
    [ "$(<third)" = 'Return-Path: <a@example.org>' ]
}

@test "-x: the environment is ours, with SENDER, HELO, MESSAGE and SESSION" {
    export OURS='as it was' SENDER=old HELO=old MESSAGE=old SESSION=old TCPREMOTEIP=old
    hand_to 'printf "%s\n" "$OURS" "$SENDER" "$HELO" "$MESSAGE" "$SESSION" "${TCPREMOTEIP-unset}" \
        "$PATH" >../said'
    { read -r ours && read -r sender && read -r helo && read -r message && read -r session &&
        read -r address && read -r path; } <said
    [ "$ours, $sender, $helo" = 'as it was, a@example.org, me' ]
    [ "$last" = "250 2.0.0 Message kept as $message" ]
    [ "$message" = "$session-1" ]
    grep -q "^smtpd\[[0-9]*\]: $session start " log
    # Ours was no address.
    [ "$address" = unset ]
    [ "$path" = "$PATH" ]
}

@test "-x: SENDER is there, and empty, for the null path; TCPREMOTEIP is the client's" {
    serve -x 'echo "${SENDER-unset}, ${TCPREMOTEIP-unset}" >>../said'
    letter bob@localhost
    unset TCPREMOTEIP
    hand_to 'echo "$SENDER, ${TCPREMOTEIP-unset}" >>../said'
    TCPREMOTEIP=2001:DB8::0:7 hand_to 'echo "$SENDER, $TCPREMOTEIP" >>../said'
    [ "$(<said)" = ', 127.0.0.1
a@example.org, unset
a@example.org, 2001:db8::7' ]
}

@test "-x: works in the mail directory, with all signals as usual" {
    trap '' PIPE
    hand_to 'pwd -P >../said; sh -c "kill -PIPE \$\$"; echo $? >>../said'
    [ "$(sed -n 1p said)" -ef mail ]
    [ "$(sed -n 2p said)" -gt 128 ]
}

@test "-x: is a process group of its own" {
    needs_proc
    hand_to 'echo $$ >../said; cut -d " " -f 5 /proc/$$/stat >>../said'
    { read -r pid && read -r group; } <said
    [ "$group" -eq "$pid" ]
}

@test "-x: what it prints goes to standard error as it is, not to the client" {
    hand_to 'printf "one\\033\\377\\n"; echo 250 two >&2'
    holds log $'one\033\xFF\n'
    holds log $'250 two\n'
    [ "${#codes[@]}" -eq 5 ]
    lacks replies one
    lacks replies two
}

@test "-x: what it prints goes nowhere where standard error is the client's connection" {
    printf '%s\r\n' 'HELO me' "${LETTER[@]}" QUIT >letter
    for kind in unix ipv4; do
        INPUT=letter "$PYTHON" -I "$ROOT/tests/inetd.py" "$kind" same -x 'echo LEAK; echo LEAK >&2
            for fd in 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$fd ] || : >../leak; done
            [ /dev/stdout -ef /dev/null ] || : >../leak; exit 99' -- "$SMTPD" -i >>out
    done
    holds out $'\n250 2.0.0 Message taken*\n250 2.0.0 Message taken'
    run -1 grep -vE $'^[2-5][0-9][0-9][- ][ -~]*\r$' out
    lacks out LEAK
    [ ! -e /proc/self/fd ] || [ ! -e leak ]
}

@test "-x: each exit status gets the reply that it stands for" {
    # The name of the client is the status that the command exits with.
    lines=()
    for ((i = 0; i < 256; i++)); do lines+=("HELO $i" "${LETTER[@]}"); done
    options=(-x 'exit $HELO')
    ask "${lines[@]}"
    wanted=() got=()
    for ((i = 0; i < 256; i++)); do
        case $i in
        0 | 99) wanted+=("$i 250 2.0.0") ;;
        65 | 67 | 77 | 100) wanted+=("$i 550 5.7.1") ;;
        *) wanted+=("$i 451 4.3.0") ;;
        esac
        got+=("$i ${codes[i * 5 + 4]}")
    done
    [ "${got[*]}" = "${wanted[*]}" ]
    mails bob 1
    no_file tmp
    holds replies $'\n250 2.0.0 Message kept as '
    holds replies $'\n250 2.0.0 Message taken as '
    # One line of the log for each.
    [ "$(grep -cE '^smtpd\[[0-9]+\]: [^ ]+ hook [^ ]+ exit=[0-9]+$' log)" -eq 256 ]
    holds log $'-256 exit=255\n'
}

@test "RFC 5321 7.9: -x: what the command refuses is told as this host's rules" {
    hand_to 'exit 77'
    [ "$last" = "550 5.7.1 Refused by this host's rules (RFC 5321 7.9)" ]
    no_file new
    no_file tmp
}

@test "-x: a command that is not there, or that is killed, is tried again later" {
    for command in ./not-there ../log 'kill -9 $$' 'kill -TERM $$' 'kill -SEGV $$' 'a ('; do
        hand_to "$command"
        [ "$code" = '451 4.3.0' ]
        no_file new
        no_file tmp
    done
    holds log $' hook * exit=127\n'
    holds log $' hook * exit=126\n'
    holds log ' hook * was killed'
}

@test "-x: taken: a line of the log for each recipient, and nothing is kept" {
    options=(-d '*' -x 'exit 99')
    ask 'HELO me' 'MAIL FROM:<a@b.example>' 'RCPT TO:<bob@c.example>' 'RCPT TO:<eve@d.example>' \
        DATA text .
    [[ $last == '250 2.0.0 Message taken as '* ]]
    id=${last##* }
    grep -qE " taken $id client=[^ ]+ from=<a@b\.example> to=<bob@c\.example> size=6$" log
    grep -qE " taken $id client=[^ ]+ from=<a@b\.example> to=<eve@d\.example> size=6$" log
    lacks log ' kept '
    lacks log file=
    no_file new
    no_file tmp
}

@test "-x: errors are forgotten when the command has taken the message, not when it refused" {
    nineteen=()
    for ((i = 0; i < 19; i++)); do nineteen+=(what); done
    options=(-x 'exit $HELO')
    ask "${nineteen[@]}" 'HELO 99' "${LETTER[@]}" "${nineteen[@]}" NOOP
    [ "$code" = '250 2.0.0' ]
    ask "${nineteen[@]}" 'HELO 77' "${LETTER[@]}" what NOOP
    [ "$code" = '421 4.7.0' ]
}

@test "-x: the same mailbox by two paths: both are arguments, and it gets one copy" {
    options=(-d '*' -x 'printf "%s\n" "$@" >>../said')
    ask 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<info@a.example>' 'RCPT TO:<info@b.example>' \
        'RCPT TO:<Info@c.example>' 'RCPT TO:<info@B.Example>' 'RCPT TO:<eve@b.example>' \
        'RCPT TO:<info@a.example>' DATA .
    [ "${codes[*]:1:7}" = '250 2.1.0 250 2.1.5 250 2.1.5 250 2.1.5 250 2.1.5 250 2.1.5 250 2.1.5' ]
    [ "$(<said)" = $'info@a.example\ninfo@b.example\nInfo@c.example\neve@b.example' ]
    mails info 1 eve 1
    # Each path has its line, with the file that serves it.
    for path in info@a.example info@b.example Info@c.example; do
        grep -q " to=<$path> size=0 file=$(cd mail && echo info/new/*)\$" log
    done
    run -1 grep -q '^Received:.* for ' mail/info/new/*
}

@test "-x: if keeping fails after an exit 0, the client gets 4yz and the command sees it again" {
    options=(-x 'echo >>../seen; [ -e ../once ] || { : >../once && rm bob/tmp/*; }')
    ask 'EHLO me' "${LETTER[@]}" "${LETTER[@]}"
    [ "${codes[4]}, $code" = '451 4.3.0, 250 2.0.0' ]
    [ "$(wc -l <seen)" -eq 2 ]
    mails bob 1
}

@test "-x: after -t seconds its whole process group is killed, and the client gets 451" {
    mkfifo go
    SECONDS=0
    options=(-t 1 -x 'if [ -e ../pids ]; then exit 0; fi; trap "" TERM
        cat ../go & echo $$ $! >../pids; wait; cat ../go')
    ask 'EHLO me' "${LETTER[@]}" "${LETTER[@]}"
    [ "$SECONDS" -ge 1 ]
    [ "$SECONDS" -le 5 ]
    # The session goes on, and what comes after it is kept.
    [ "${codes[4]}, $code" = '451 4.3.0, 250 2.0.0' ]
    mails bob 1
    no_file tmp
    read -r shell child <pids
    wait_until ended "$shell"
    wait_until ended "$child"
}

@test "-x: a command that was too slow leaves no zombie behind" {
    mkfifo go
    serve -t 1 -x 'cat ../go'
    dialogue <<END
$BEGIN
C: .
S: 451 4.3.0 ...
\$: zombies && ! grep -q . zombies
C: QUIT
S: 221 ...
END
}

# The dead children of the server's sessions, to the file zombies.
zombies() {
    local session
    for session in $(sessions); do
        pgrep -r Z -P "$session"
    done >zombies || :
}

# Gone, or only waiting to be collected, which is up to whoever inherits it.
ended() {
    gone "$1" || [[ $(ps -o stat= -p "$1") == Z* ]]
}

@test "-x: with -u it runs as that user, with that user's HOME, and outside any chroot" {
    [ "$EUID" -eq 0 ] || skip "needs root"
    id nobody >/dev/null 2>&1 || skip "needs a user nobody"
    export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
    mkdir -m 777 out
    chmod 755 .
    HOME=/root serve -u nobody -x 'printf "%s\n" "$(id -u)" "$(id -G)" "$HOME" >../out/said
        cat /dev/stdin /dev/stdin >/dev/null'
    letter bob@localhost
    home=~nobody
    [ "$(<out/said)" = "$(id -u nobody)"$'\n'"$(id -G nobody)"$'\n'"$home" ]
    mails bob 1
}

@test "-x: -v shows the dialogue, and what the command prints in between" {
    hand_to 'cat -v; exit 99' -v
    grep -qx 'Subject: x' log
    grep -n -e ' C: \.$' -e ' C: text$' -e '^text$' -e ' S: 250 2.0.0 Message taken' log >shown
    [ "$(cut -d : -f 1 shown | sort -n | tr '\n' ' ')" = "$(cut -d : -f 1 shown | tr '\n' ' ')" ]
    [ "$(sed 's/.* \([CS]\):/\1:/; s/^[0-9]*://; s/ as .*//' shown)" = 'C: text
text
S: 250 2.0.0 Message taken' ]
}

@test "-x: hostile addresses and names are arguments and variables, never part of the command" {
    paths=("o'brien@localhost" '`touch${IFS}pwned`@localhost' '$HOME@localhost' '-rf@localhost'
        '--help@localhost' '*@localhost' '"$(touch pwned)"@localhost' '"a  b"@localhost'
        '"\"; touch pwned; \""@localhost' "\"'; touch pwned; '\"@localhost" '"a\\b"@localhost'
        '{a}@localhost' '"> pwned"@localhost' '"& touch pwned &"@localhost' '%s%n@localhost'
        $'j\xC3\xBCrgen@localhost' '"/../../pwned"@localhost' 'a=b@localhost')
    lines=()
    for path in "${paths[@]}"; do lines+=("RCPT TO:<$path>"); done
    options=(-x 'printf "%s\n" "$@" "$SENDER" "$HELO" >../said; exit 99')
    ask 'EHLO `touch${IFS}pwned`' 'MAIL FROM:<"$(touch pwned)`touch pwned`"@b.example> SMTPUTF8' \
        "${lines[@]}" DATA 'Subject: $(touch pwned)' '' '`touch pwned`' .
    [ "$code" = '250 2.0.0' ]
    printf '%s\n' "${paths[@]}" '"$(touch pwned)`touch pwned`"@b.example' '`touch${IFS}pwned`' |
        cmp - said
    [ -z "$(find . -name pwned)" ]
}

@test "-x: 101 recipients: a hundred are arguments, one is sent later" {
    lines=()
    for ((i = 0; i < 101; i++)); do lines+=("RCPT TO:<user$i@localhost>"); done
    options=(-x 'printf "%s\n" "$@" >../said; exit 99')
    ask 'HELO me' 'MAIL FROM:<>' "${lines[@]}" DATA .
    [ "${codes[102]}, $code" = '452 4.5.3, 250 2.0.0' ]
    [ "$(wc -l <said)" -eq 100 ]
    [ "$(tail -n 1 said)" = user99@localhost ]
}

@test "-x: a command that reads nothing of a large message hinders nothing" {
    printf -v text '%0999d\r\n' 0
    LETTER=("${LETTER[@]:0:5}")
    for ((i = 0; i < 1000; i++)); do LETTER+=("${text%$'\r\n'}"); done
    LETTER+=(.)
    hand_to 'exec <&-; exit 0'
    [ "$code" = '250 2.0.0' ]
    [ "$(wc -c <"$(message bob)")" -gt 1000000 ]
}

@test "-x: a command may print 10 MB" {
    hand_to 'head -c 10000000 /dev/zero | tr "\\0" y'
    [ "$code" = '250 2.0.0' ]
    [ "$(tr -cd y <log | wc -c)" -ge 10000000 ]
}

@test "-x: where nobody reads what it prints it waits, for -t seconds" {
    mkfifo unread
    exec 7<>unread
    SECONDS=0
    printf '%s\r\n' 'HELO me' "${LETTER[@]}" |
        bounded "$SMTPD" -i -m mail -t 1 -x 'head -c 1000000 /dev/zero' \
            >replies 2>unread 3>&- 4>&- 7>&-
    exec 7>&-
    [ "$SECONDS" -le 10 ]
    [[ $(tail -n 1 replies) == '451 4.3.0 '* ]]
    no_file new
}

@test "-x: a child that it leaves behind holds up nobody, and holds nothing of ours" {
    mkfifo go
    serve -x 'cat ../go & echo $! >../pid'
    letter bob@localhost
    wait_until no_sessions
    # Whether it has the connection, a listening socket, or the message's file to write to.
    pid=$(<pid)
    held=0
    for fd in "/proc/$pid/fd"/*; do
        if [ -S "$fd" ] || { [ "${fd##*/}" -gt 2 ] && [ -f "$fd" ]; }; then held=1; fi
    done
    kill "$pid"
    [ "$held" -eq 0 ]
}

@test "-x: a command that kills its session: no reply, nothing kept, and others are served" {
    serve -x 'case $HELO in me) kill -9 $PPID ;; esac'
    dialogue <<END
$BEGIN
C: .
E:
END
    no_file new
    wait_until holds log 'was ended by signal 9'
    hello='HELO you'
    dialogue <<END
${BEGIN/HELO me/HELO you}
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 ...
END
    mails bob 1
}

@test "-x: SIGTERM for the session from its own command: the message has its reply first" {
    serve -x 'kill -TERM $PPID; sleep 0.2'
    dialogue <<END
$BEGIN
C: .
S: 250 2.0.0 Message kept ...
S: 421 4.3.2 ...
END
    mails bob 1
}

@test "-x: a client that hangs up while it runs: the message is kept whole, or not at all" {
    waits
    for status in 0 77; do
        : >runs
        exec 7<>"/dev/tcp/127.0.0.1/$PORT"
        printf '%s\r\n' 'HELO me' "${LETTER[@]}" >&7
        wait_until runs
        exec 7>&-
        echo "$status" >go
        wait_until no_sessions
        no_file tmp
        mails bob 1
        holds mail/bob/new/* $'\n\ntext\n'
    done
}

@test "RFC 5321 3.8: -x: SIGTERM while it runs: it ends, the reply is said, then 421" {
    waits
    dialogue <<END
$BEGIN
C: .
\$: wait_until runs
\$: kill -TERM "\$SERVER"
\$: wait_until refuses_connections
# Without a command it would wait no longer than four seconds.
\$: sleep 4.5
\$: ! gone "\$SERVER"
\$: echo 99 >go
S: 250 2.0.0 Message taken ...
S: 421 4.3.2 ...
END
    end_server 0
}

refuses_connections() { ! nc -z 127.0.0.1 "$PORT" 2>/dev/null; }

@test "-x: SIGTERM while a command never ends: 451 after -t, and the server goes" {
    waits -t 1
    SECONDS=0
    dialogue <<END
$BEGIN
C: .
\$: wait_until runs
\$: kill -TERM "\$SERVER"
S: 451 4.3.0 ...
S: 421 4.3.2 ...
END
    end_server 0
    [ "$SECONDS" -le 6 ]
    no_file new
    no_file tmp
}

@test "-x: SIGKILL of the server while it runs: the session ends what it has begun" {
    waits
    dialogue <<END
$BEGIN
C: .
\$: wait_until runs
\$: kill -KILL "\$SERVER"
\$: echo 0 >go
S: 250 2.0.0 Message kept ...
C: QUIT
S: 221 ...
END
    end_server KILL || [ "$?" -eq 137 ]
    holds mail/bob/new/* $'\n\ntext\n'
}

@test "-x: SIGKILL of the session while it runs: nothing is said, and nothing kept" {
    waits
    dialogue <<END
$BEGIN
C: .
\$: wait_until runs
\$: kill -KILL "\$(sessions)"
E:
END
    echo 0 >go
    wait_until ended "$(<runs)"
    no_file new
    # The next message is taken as if nothing had been.
    : >runs
    dialogue <<END
$BEGIN
C: .
\$: wait_until runs
\$: echo 0 >go
S: 250 2.0.0 Message kept ...
C: QUIT
S: 221 ...
END
    mails bob 1
}

@test "-x: 50 clients at once: each command has its own message, sender and recipient" {
    serve -x 'case "$SENDER $*" in "$HELO@b.example $HELO@localhost") ;; *) exit 77 ;; esac
        while read -r line; do case $line in "Subject: $HELO") found=1 ;; esac; done
        [ -n "$found" ] || exit 77; case $HELO in *5) exit 99 ;; esac'
    pieces <<'END'
lines = b"""HELO c%d
MAIL FROM:<c%d@b.example>
RCPT TO:<c%d@localhost>
DATA
Subject: c%d
.
QUIT
""".replace(b'\n', b'\r\n')
clients = [Client('220') for number in range(50)]
for number, client in enumerate(clients):
    client.send(lines % (number, number, number, number))
for number, client in enumerate(clients):
    client.rest()
    verb = b'taken' if number % 10 == 5 else b'kept'
    assert b'\n250 2.0.0 Message %s as ' % verb in client.heard, (number, client.heard)
END
    files=(mail/c*/new/*)
    [ "${#files[@]}" -eq 45 ]
    wait_until no_sessions
}

@test "-x: needs a command" {
    run -64 bounded "$SMTPD" -p 0 -m mail -x
    [[ ${lines[0]} == 'smtpd: -x needs a value'* ]]
}
