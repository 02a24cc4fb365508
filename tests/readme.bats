#!/usr/bin/env bats
# README.md is true: what it shows happens, what it tells you to type works.

# Backticks are Markdown's here, and what is quoted is for another shell.
# shellcheck disable=SC2016
load helpers

README=$ROOT/README.md

# The first block of README.md that begins with ```LANGUAGE.
block() { # LANGUAGE
    awk -v start='```'"$1" '$0 == "```" { on = 0 } on { print } $0 == start { on = !seen++ }' "$README"
}

# The lines of README.md that are indented as commands.
commands() { sed -n 's/^    //p' "$README"; }

# What differs each time: IDs and dates.
same_each_time() {
    sed -E -e 's/[0-9a-f]{8}-[0-9a-f]{5}-[0-9a-f]+-[0-9]+/.../' \
        -e 's/^\t[A-Z][a-z]{2}, [0-9]+ [A-Z][a-z]{2} .*/\tDATE/'
}

# Play the dialogue that README.md shows.
play() { block smtp | same_each_time | dialogue "$@"; }

# Run the client that README.md shows, and see its message arrive.
try_client() { # ITS LINE
    serve
    printf 'Subject: hello\n\nHello, Bob.\n' >letter.txt
    local line=${1//2525/$PORT}
    [ -n "$line" ]
    HOME=$PWD bash -c "$line" 3>&- 4>&-
    [ "$(mail_count bob)" -eq 1 ]
    [ "$(field Return-Path "$(message bob)")" = 'Return-Path: <me@example.org>' ]
}

@test "README: the session by hand, with LF and with CRLF" {
    serve
    play --lf
    play --crlf
    [ "$(mail_count bob)" -eq 2 ]
}

@test "README: the message which it shows" {
    serve
    play --lf
    [ "$(block console | head -n 1)" = '$ less mail/bob/new/*' ]
    diff <(block console | sed 1d | same_each_time) <(cat mail/bob/new/* | same_each_time)
}

@test "README: what each program sends at the end of a line" {
    # Type a line at COMMAND, on a terminal; print what came over the wire.
    cat >type.py <<'END'
import os, pty, socket, subprocess, sys
socket.setdefaulttimeout(10)
listener = socket.create_server(("127.0.0.1", 0))
port = str(listener.getsockname()[1])
keyboard, terminal = pty.openpty()
client = subprocess.Popen([word.replace("2525", port) for word in sys.argv[1:]],
                          stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True)
connection = listener.accept()[0]
connection.sendall(b"220 hello\r\n")
while b"220" not in os.read(keyboard, 1000):
    pass
os.write(keyboard, b"NOOP\n")
got = connection.makefile("rb").readline()
client.kill()
print({b"NOOP\n": "LF", b"NOOP\r\n": "CRLF"}.get(got, got))
END
    local program lf crlf column command words tool tried=0
    while IFS='|' read -r _ program lf crlf _; do
        tool=$(sed -n 's/.*(`\(.*\)`).*/\1/p' <<<"$program")
        if [ -z "$tool" ] || ! command -v "$tool" >/dev/null; then continue; fi
        for column in LF:"$lf" CRLF:"$crlf"; do
            while read -r command; do
                read -r -a words <<<"$command"
                [ "${words[0]}" != nc ] || words[0]=$tool
                echo "$column by ${words[*]}"
                [ "$("$PYTHON" -I type.py "${words[@]}" 3>&- 4>&-)" = "${column%%:*}" ]
                tried=$((tried + 1))
            done < <(grep -o '`[^`]*`' <<<"$column" | tr -d '`')
        done
    done < <(grep -E '^\|.*(nc|telnet|TCP).* 2525|^\|.*:2525' "$README")
    [ "$tried" -gt 0 ] || skip 'none of the programs is installed'
}

# "-p PORT = 2525", a line an option
options_in_readme() {
    sed -nE 's/^\| `(-[a-z][^`]*)` \| .* \| ?([^|]*) \|$/\1 = \2/p; s/^\| `(-[a-z][^`]*)` \|.*\| \|$/\1 = /p' "$README" | sort -u
}

# An option's text may be of two lines. What stands in brackets is its default,
# but for -x, where it is what exit statuses mean.
options_in_help() {
    "$SMTPD" -h | sed -n '/^  -/,/^$/p' | awk '
        /^  -/ && text { print text } /^  -/ { text = $0; next } NF { text = text " " $0 } END { print text }' |
        sed -E 's/^  (-x [A-Z]+) .*/\1 = /; t
            s/^  (-[a-z]( [A-Z]+)?) .*\((.*)\)$/\1 = \3/; t
            s/^  (-[a-z]( [A-Z]+)?) .*/\1 = /' | sort -u
}

@test "README: its options and their defaults are those of smtpd -h, and no others" {
    [ "$(options_in_readme | wc -l)" -ge 16 ]
    diff <(options_in_readme) <(options_in_help)
}

@test "README: the option letters that getopt() knows are explained, all of them" {
    letters=$(sed -n 's/.*getopt(argc, argv, "\(.*\)").*/\1/p' "$ROOT/smtpd.c" | tr -d : | grep -o . | sort)
    [ "$letters" = "$(options_in_readme | cut -c 2 | sort)" ]
}

@test "README: each command line of smtpd is one that smtpd takes" {
    taken=0
    while read -r words; do
        eval "set -- $words"
        shift
        run -0 --separate-stderr "$SMTPD" "$@" -h
        [[ $output == *'-t SECONDS'* ]]
        taken=$((taken + 1))
    done < <({
        commands | grep -v ^install
        grep -o '`[^`]*smtpd -[^`]*`' "$README" | tr -d '`'
        grep -E '^(ExecStart=|exec ).*smtpd' "$README"
    } | grep -oE 'smtpd -[a-z] .*')
    [ "$taken" -ge 6 ]
}

@test "README: its limits are those of smtpd.c" {
    limits=$(sed -n '/^## Limits/,/^## The tests/p' "$README" | tr -s ' \n' ' ')
    while IFS=: read -r name words; do
        value=$(sed -nE "s/^ *$name = ([0-9]+)\b.*/\1/p" "$ROOT/smtpd.c")
        echo "$name is $value"
        grep -oF "${words/N/$value}" <<<"$limits"
    done <<'END'
MAX_COMMAND_LINE:at most N octets
MAX_PATH:a path N
MAX_RECIPIENTS:N recipients
MAX_RECEIVED:N `Received:` fields
MAX_BLUNDERS:after N mistakes
MAX_REFUSALS:after N refusals
MIN_RATE:less than N octets a second
MAX_SHOWN:shows N lines of a message
END
}

@test "README: mail is read with less" {
    serve
    play
    need less
    eval "$(commands | grep '^less mail')" | grep 'Typed by hand'
}

# A mail reader wants a terminal, and a mailbox of ours to read.
read_with() { # COMMAND, AND WHAT TO TYPE
    need script
    serve
    play
    mkdir Mail
    export HOME=$PWD TERM=xterm
    printf %b "$2" | bounded script -q -c "$1" typescript 3>&- 4>&- || :
    grep -a 'Typed by hand' typescript
}

@test "README: mail is read with mutt" {
    need mutt
    # cat: its own pager would wait for someone to read.
    read_with "$(commands | grep '^mutt') -n -R -e 'set pager=cat prompt_after=no' \
        -e 'push <display-message><exit>'" ''
}

@test "README: mail is read with mail" {
    local mail=mail command
    case $(readlink -f "$(command -v mail)") in
    *nail | *mailutils) ;;
    *) mail=s-nail ;;           # it is called so where another one is mail
    esac
    need "$mail"
    command=$(commands | grep '^mail ')
    read_with "$mail ${command#mail }" 'p 1\nx\n'
}

@test "README: mail is sent with swaks" {
    need swaks
    try_client "$(block sh | grep ^swaks)"
}

@test "README: mail is sent with curl --crlf, and not without" {
    need curl
    try_client "$(block sh | grep ^curl)"
    line=$(block sh | grep ^curl | sed "s/--crlf//; s/2525/$PORT/")
    run -8 bash -c "$line"
}

@test "README: mail is sent with msmtp" {
    need msmtp
    try_client "$(block sh | grep ^msmtp)"
}

@test "README: mail is sent with Python" {
    try_client "$PYTHON -I -c '$(block python)'"
}

# Write the units of README.md, with a program that is here.
units() {
    block ini | sed "s|/usr/local/bin/smtpd|$SMTPD|" |
        awk '/^# / { sub(".*/", ""); file = $0; next } { print > file }'
    [ -s smtpd.socket ]
    [ -s smtpd@.service ]
}

@test "README: systemd takes its units without a complaint" {
    need systemd-analyze
    units
    run -0 systemd-analyze verify ./smtpd.socket ./smtpd@.service
    [ -z "$output" ]
}

# What follows needs the ports 25 and 465. A script on standard input is run as
# root in a network of its own, where 192.0.2.25 is this host's other address.
# It has process numbers of its own too: so nothing can stay when it has ended.
in_own_network() {
    may_have_network
    unshare -n -p -f --kill-child bash -eo pipefail -c '
        bats_require_minimum_version() { :; }
        . "$ROOT/tests/helpers.bash"
        ip link set lo up
        ip addr add 192.0.2.25/32 dev lo
        answers() { PORT=$1 HOST=192.0.2.25 dialogue <<<"$hello"; }
        listens() { : <"/dev/tcp/$1/$2"; }
        . /dev/stdin' 3>&- 4>&-
}
may_have_network() {
    need unshare ip setpriv
    unshare -n -p -f true 2>/dev/null || skip 'only root can have a network of its own'
}
export hello='S: 220 mail.example.com ...
C: HELO me
S: 250 ...
C: QUIT
S: 221 ...'

# The line of README.md that begins so, with a user and a place that are here.
line() { # FIRST WORDS
    commands | grep "^$1" | sed "s/smtpd)/nobody)/g; s/u smtpd/u nobody/; s/su=smtpd/su=nobody/
        s|/var/lib/smtpd|mail|; s|/usr/local/bin/||; s|/etc/ssl/||"
}

@test "README: port 25 as root, with -u" {
    line=$(line 'smtpd ') in_own_network <<'END'
eval "exec \"\$SMTPD\" ${line#smtpd}" 2>log &
wait_until listens 192.0.2.25 25
answers 25
[ "$(stat -c %U mail)" = nobody ]
END
}

@test "README: port 25 with a capability" {
    need setcap
    may_have_network
    # Where another user may come: not in the folder of a test.
    place=$(mktemp -d)
    chmod 755 "$place"
    cp "$SMTPD" "$place/smtpd"
    install -d -o nobody "$place/mail"
    capability=$(commands | grep ^setcap) line=$(line 'smtpd ' | sed 's/-u nobody//')
    export place capability line
    run in_own_network <<'END'
cd "$place"
eval "${capability/\/usr\/local\/bin/.}"
eval "exec setpriv --reuid=nobody --regid=nogroup --clear-groups ./$line" 2>log &
wait_until listens 192.0.2.25 25
answers 25
END
    rm -r "$place"
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "README: port 25 from systemd's socket" {
    need systemd-socket-activate
    units
    mkdir mail
    port=$(sed -n 's/^ListenStream=//p' smtpd.socket)
    line=$(sed -n 's/^ExecStart=//p' smtpd@.service)
    export port line=${line/\/var\/lib\/smtpd/mail}
    in_own_network <<'END'
eval "exec systemd-socket-activate -l $port -a --inetd $line" 2>log &
wait_until listens 192.0.2.25 25
answers 25
grep 'client=\[192\.0\.2\.25\]' log
END
}

@test "README: port 25 from tcpserver" {
    need tcpserver
    install -d -o nobody mail
    chmod 755 "$BATS_TEST_TMPDIR"
    cp "$SMTPD" smtpd           # where nobody finds it, wherever it was built
    chmod 755 smtpd
    line=$(line tcpserver) in_own_network <<'END'
eval "exec ${line/ smtpd / ./smtpd }" 2>log &
wait_until listens 192.0.2.25 25
answers 25
grep 'client=\[192\.0\.2\.25\]' log
END
}

@test "README: port 25 by a redirect, of which nft approves" {
    need nft
    block nft >rules
    in_own_network <<<'nft -c -f rules'
}

@test "README: TLS from socat, and openssl s_client to talk to it" {
    need socat openssl
    openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=mail.example.com -days 1 \
        -keyout mail.pem -out cert 2>/dev/null
    cat cert >>mail.pem
    block bash >given
    [ "$(sed -n 2p given)" = '# /usr/local/bin/smtps-session' ]
    sed "s|/usr/local/bin/smtpd|$SMTPD|; s|/var/lib/smtpd|mail|" given >smtps-session
    chmod +x smtps-session
    mkdir mail
    line=$(line socat | sed 's/,su=nobody//')
    s_client=$(grep -o '`openssl s_client [^`]*`' "$README" | tr -d '`')
    s_client=${s_client/mail.example.com/192.0.2.25}
    export line s_client PATH=$PATH:$PWD
    in_own_network <<'END'
eval "exec $line" 2>log &
tls() { dialogue --lf --to $s_client <<<"$hello"; }
wait_until tls
grep 'client=\[192\.0\.2\.25\]' log
END
}

@test "README: each target of the Makefile is in README or tests/README, and no others" {
    named=$(grep -ohE '(^    |`)make [a-z]+' "$README" "$ROOT/tests/README.md" | awk '{ print $NF }' | sort -u)
    targets=$(sed -n 's/^# \([a-z]*\): .*/\1/p' "$ROOT/Makefile" | grep -vx all | sort -u)
    diff <(echo "$named") <(echo "$targets")
}

@test "README: its links lead somewhere" {
    local folder link links
    for folder in "$ROOT" "$ROOT/tests" "$ROOT/tests/bench"; do
        links=$(grep -oE '\]\([^)]*\)' "$folder/README.md" | tr -d '])(' | grep -v '^https\?:')
        [ -n "$links" ]
        for link in $links; do
            echo "$folder: $link"
            [ -e "$folder/${link%%#*}" ]
        done
    done
}

@test "tests/README: its map has each file and folder there is, and no others" {
    local name pattern patterns
    cd "$ROOT/tests"
    mapfile -t patterns < <(sed -n '/^| in `tests/,/^$/s/^| \(`[^|]*\) |.*/\1/p' README.md |
        grep -o '[^` ]*')
    [ "${#patterns[@]}" -gt 20 ]
    for pattern in "${patterns[@]}"; do
        compgen -G "$pattern" >/dev/null || { echo "there is no $pattern" && false; }
    done
    for name in *; do
        for pattern in "${patterns[@]}" README.md __pycache__; do
            # shellcheck disable=SC2053
            if [[ $name == $pattern ]]; then continue 2; fi
        done
        echo "$name is not in the map"
        false
    done
}

@test "README: what it greps for and selects is there" {
    cd "$ROOT"
    greps=$(grep -o '`grep [^`]*`' README.md | tr -d '`')
    [ "$(wc -l <<<"$greps")" -ge 2 ]
    while read -r line; do
        eval "$line" >/dev/null
    done <<<"$greps"
    pattern=$(sed -n "s/^    bats -f '\([^']*\)' tests .*/\1/p" README.md)
    grep -qE "^@test \"$pattern" tests/*.bats
    [ -e "$(sed -n 's/^    make test TESTS=\([^ ]*\).*/\1/p' README.md)" ]
}
