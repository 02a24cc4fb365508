#!/usr/bin/env bats
# README.md is true: what it shows happens, what it tells you to type works.

# Backticks are Markdown's here, and what is quoted is for another shell.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helpers

README=$ROOT/README.md

# The first block of README.md that begins with ```LANGUAGE, or of it the lines
# that begin with this.
block() { # LANGUAGE [BEGINNING]
    local line on=
    while IFS= read -r line; do
        case $on$line in
        "\`\`\`$1") on=1 ;;
        '1```') break ;;
        1*) [[ $line != "${2-}"* ]] || printf '%s\n' "$line" ;;
        esac
    done <"$README"
}

# The lines of README.md that are indented as commands, or those that begin so.
commands() { # [BEGINNING]
    local line
    while IFS= read -r line; do
        case $line in "    ${1-}"*) printf '%s\n' "${line#    }" ;; esac
    done <"$README"
}

# What differs each time: IDs and dates.
same_each_time() {
    sed -E -e 's/[0-9a-f]{8}-[0-9a-f]{5}-[0-9a-f]+(-[0-9]+)?/.../g' \
        -e 's/smtpd\[[0-9]+\]/smtpd[...]/; s/new\/[0-9]+/new\/.../' \
        -e 's/^\t[A-Z][a-z]{2}, [0-9]+ [A-Z][a-z]{2} .*/\tDATE/'
}

setup_file() {
    SESSION=$(block smtp | same_each_time)
    export SESSION
}

# Play the dialogue that README.md shows.
play() { dialogue "$@" <<<"$SESSION"; }

# Run the client that README.md shows, and see its message arrive.
try_client() { # ITS LINE
    serve
    printf 'Subject: hello\n\nHello, Bob.\n' >letter.txt
    local line=${1//2525/$PORT}
    [ -n "$line" ]
    HOME=$PWD bash -c "$line" 3>&- 4>&-
    mails bob 1
    look mail/bob/new/*
    [ "$path" = '<me@example.org>' ]
}

@test "README: the session by hand, with LF and with CRLF" {
    serve
    play --lf
    play --crlf
    mails bob 2
}

@test "README: the message which it shows" {
    serve
    play --lf
    shown=$(block console)
    [ "${shown%%$'\n'*}" = '$ less mail/bob/new/*' ]
    diff <(same_each_time <<<"${shown#*$'\n'}") <(same_each_time <mail/bob/new/*)
}

# "LF nc 127.0.0.1 2525", a line for each command of the table that can be tried.
typed_commands() {
    local row program lf crlf tool word command
    while IFS= read -r row; do
        case $row in
        '|'*nc*' 2525'* | '|'*telnet*' 2525'* | '|'*TCP*' 2525'* | '|'*:2525*) ;;
        *) continue ;;
        esac
        IFS='|' read -r _ program lf crlf _ <<<"$row"
        [[ $program =~ .*\(\`(.*)\`\) ]] || continue
        tool=${BASH_REMATCH[1]}
        command -v "$tool" >/dev/null || continue
        for word in LF CRLF; do
            [ "$word" = LF ] || lf=$crlf
            while [[ $lf =~ \`([^\`]*)\`(.*) ]]; do
                command=${BASH_REMATCH[1]} lf=${BASH_REMATCH[2]}
                case $command in 'nc '*) command="$tool ${command#nc }" ;; esac
                echo "$word $command"
            done
        done
    done <"$README"
}

@test "README: what each program sends at the end of a line" {
    # Type a line at each COMMAND, on a terminal; what must come over the wire is
    # the first word of a line here, the command the rest.
    cat >type.py <<'END'
import os, pty, socket, subprocess, sys
socket.setdefaulttimeout(10)
for wanted, *command in map(str.split, sys.stdin):
    listener, (keyboard, terminal) = socket.create_server(("127.0.0.1", 0)), pty.openpty()
    command = [word.replace("2525", str(listener.getsockname()[1])) for word in command]
    client = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal,
                              start_new_session=True)
    connection = listener.accept()[0]
    connection.sendall(b"220 hello\r\n")
    while b"220" not in os.read(keyboard, 1000):
        pass
    os.write(keyboard, b"NOOP\n")
    got = connection.makefile("rb").readline()
    client.kill()
    assert got == {"LF": b"NOOP\n", "CRLF": b"NOOP\r\n"}[wanted], (wanted, command, got)
END
    typed_commands >commands
    [ -s commands ] || skip 'none of the programs is installed'
    "$PYTHON" -IS type.py <commands 3>&- 4>&-
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

@test "README: its options are in the manual page, which man shows without a complaint" {
    need man
    "$ROOT/tests/book/manpage" >smtpd.8
    run -0 --separate-stderr env MANWIDTH=200 LC_ALL=C man --warnings -l smtpd.8
    # shellcheck disable=SC2154
    [ -z "$stderr" ]
    [[ $output == *"smtpd $(sed -n 's/^#define VERSION "\(.*\)"/\1/p' "$ROOT/smtpd.c")"* ]]
    diff <(sed -nE 's/^ +(-[a-z]( [A-Z]+)?)( .*)?$/\1/p' <<<"$output" | sort) \
        <(options_in_readme | sed 's/ = .*//' | sort)
}

@test "README: the option letters that getopt() knows are explained, all of them" {
    letters=$(sed -n 's/.*getopt(argc, argv, "\(.*\)").*/\1/p' "$ROOT/smtpd.c" | tr -d : | grep -o . | sort)
    [ "$letters" = "$(options_in_readme | cut -c 2 | sort)" ]
}

@test "README: each command line of smtpd is one that smtpd takes" {
    taken=0
    set -f                      # -d * is every domain
    while read -r words; do
        eval "set -- $words"
        shift
        "$SMTPD" "$@" -h >said
        holds said '-t SECONDS'
        taken=$((taken + 1))
    done < <({
        commands
        grep -o '`[^`]*smtpd -[^`]*`' "$README" "$ROOT/walkthrough.md" | tr -d '`'
        grep -hE '^(ExecStart=|exec |execargs =|smtp |tcpserver ).*smtpd -' "$README" "$ROOT/walkthrough.md"
    } | grep -oE 'smtpd -[a-z] .*')
    [ "$taken" -ge 10 ]
}

@test "README: its limits are those of smtpd.c" {
    limits=$(sed -n '/^## Limits/,/^## The tests/p' "$README" | tr -s ' \n' ' ')
    IFS= read -r -d '' source <"$ROOT/smtpd.c" || :
    while IFS=: read -r name words; do
        [[ $source =~ $'\n'\ *"$name = "([0-9]+) ]]
        echo "$name is ${BASH_REMATCH[1]}"
        [[ $limits == *"${words/N/${BASH_REMATCH[1]}}"* ]]
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
    eval "$(commands 'less mail')" | grep 'Typed by hand'
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
    read_with "$(commands mutt) -n -R -e 'set pager=cat prompt_after=no' \
        -e 'push <display-message><exit>'" ''
}

@test "README: mail is read with mail" {
    local mail=mail command
    case $(readlink -f "$(command -v mail)") in
    *nail | *mailutils) ;;
    *) mail=s-nail ;;           # it is called so where another one is mail
    esac
    need "$mail"
    command=$(commands 'mail ')
    read_with "$mail ${command#mail }" 'p 1\nx\n'
}

@test "README: mail is sent with swaks" {
    need swaks
    try_client "$(block sh swaks)"
}

@test "README: mail is sent with curl --crlf, and not without" {
    need curl
    try_client "$(block sh curl)"
    line=$(block sh curl)
    line=${line/--crlf/}
    run -8 bash -c "${line/2525/$PORT}"
}

@test "README: mail is sent with msmtp" {
    need msmtp
    try_client "$(block sh msmtp)"
}

# What the table says that one writes with this.
cell() { # WITH
    sed -n "s/^| $1 | \`\(.*\)\` |$/\1/p" "$README" | sed "s/2525/$PORT/"
}

# A program has logged in and sent one.
came() {
    mails bob 1
    look mail/bob/new/*
    [[ $received == *' with ESMTPA '* ]]
}

@test "README: mail is sent with Python, logged in" {
    serve -a
    py <<END
import smtplib
$(cell Python)
END
    came
}

@test "README: mail is sent with nodemailer, logged in" {
    need node
    export NODE_PATH=${NODE_PATH:+$NODE_PATH:}/usr/share/nodejs
    serve -a
    bounded node >said 2>&1 <<END || status=$?
require('nodemailer').$(cell nodemailer)
  .sendMail({ from: 'me@example.org', to: 'bob@example.com', text: 'Hello.' })
END
    if holds said "Cannot find module 'nodemailer'"; then skip 'nodemailer is not installed'; fi
    cat said
    [ "${status-0}" -eq 0 ]
    came
}

@test "README: mail is sent with PHPMailer, logged in" {
    need php
    serve -a
    bounded php >said 2>&1 <<END || status=$?
<?php
(@include "libphp-phpmailer/autoload.php") or exit("PHPMailer is not installed");
\$m = new PHPMailer\PHPMailer\PHPMailer(true);
$(cell PHPMailer)
\$m->setFrom("me@example.org");
\$m->addAddress("bob@example.com");
\$m->Body = "Hello.";
\$m->send();
END
    if holds said 'PHPMailer is not'; then skip 'PHPMailer is not installed'; fi
    cat said
    [ "${status-0}" -eq 0 ]
    came
}

@test "README: STARTTLS from stunnel, for a program that insists on it" {
    need stunnel openssl swaks
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
        -subj /CN=localhost -days 1 -keyout mail.pem -out cert 2>/dev/null
    cat cert >>mail.pem
    { printf '%s\n' 'pid =' 'debug = info' && block stunnel; } |
        sed "s|/usr/local/bin/smtpd|$SMTPD|; s/:587/:0/" >stunnel.conf
    stunnel stunnel.conf </dev/null >log 2>&1 3>&- 4>&- &
    # shellcheck disable=SC2034
    SERVERS=" $!"
    wait_until holds log ' bound to *:[1-9]'
    port=$(sed -n 's/.* bound to .*:\([1-9][0-9]*\)$/\1/p' log)
    bounded swaks --server "127.0.0.1:$port" --tls --auth PLAIN --auth-user me \
        --auth-password x --from me@example.org --to bob@example.com
    came
}

# Play the session to a server with the command of -x that the table has for this.
hooked() { # TO [SED'S COMMAND]
    line=$(sed -n "s/^| \*\*$1\*\* | \`\.\/smtpd \(.*\)\` |$/\1/p" "$README" | sed "${2-}")
    [ -n "$line" ]
    eval "serve $line"
    play
}

@test "README: each message is printed" {
    hooked 'print each message'
    holds log $'\nTyped by hand.\n'
    mails bob 1
}

@test "README: mail is relayed through a provider" {
    need msmtp
    serve -m there -d '*'
    line=$(sed -n 's/^| \*\*relay.*| `\.\/smtpd \(.*\)` |$/\1/p' "$README")
    eval "serve ${line/--host=relay.example/--file=\/dev\/null --host=127.0.0.1 --port=$PORT}"
    dialogue <<<"${SESSION/Message kept/Message taken}"
    mails bob 0
    holds there/bob/new/* $'\nTyped by hand.\n'
}

@test "README: spam is refused, the rest kept, and without spamd it is 451" {
    PATH=$PATH:/usr/sbin
    need spamd spamc
    port=$(py <<<'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    spamd --local --nouser-config --helper-home-dir="$PWD" --listen=127.0.0.1 --port="$port" \
        --max-children=1 --syslog=stderr </dev/null >spamd.log 2>&1 3>&- 4>&- &
    spamd=$!
    SERVERS="$SERVERS $spamd"
    WAIT=60 wait_until holds spamd.log 'server started'
    hooked 'refuse spam' "s/spamc -c/spamc -c --connect-retries=1 -d 127.0.0.1 -p $port/"
    mails bob 1
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<me@example.org>
S: 250 ...
C: RCPT TO:<bob@example.com>
S: 250 ...
C: DATA
S: 354 ...
C: Subject: offer
C:
C: XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X
C: .
S: 550 5.7.1 ...
C: QUIT
S: 221 ...
END
    SERVER=$spamd end_server
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<me@example.org>
S: 250 ...
C: RCPT TO:<bob@example.com>
S: 250 ...
C: DATA
S: 354 ...
C: Subject: lunch
C: .
S: 451 4.3.0 ...
C: QUIT
S: 221 ...
END
    mails bob 1
}

@test "README: ln -s makes another name for a mailbox; find removes what is left in tmp" {
    serve
    play
    eval "$(grep -o '`ln -s bob[^`]*`' "$README" | tr -d '`')"
    dialogue <<<"${SESSION/RCPT TO:<bob/RCPT TO:<info}"
    mails bob 2
    : >mail/bob/tmp/new
    touch -d '3 days ago' mail/bob/tmp/old
    eval "$(grep -o '`find mail[^`]*`' "$README" | tr -d '`')"
    [ "$(ls mail/bob/tmp)" = new ]
}

# Dovecot reads no mail as root.
@test "README: Dovecot reads the mailboxes" {
    need doveadm
    serve
    play
    local place as=()
    place=$(mktemp -d)
    cp -r mail/bob "$place"
    if [ "$(id -u)" = 0 ]; then
        need setpriv
        as=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
        chown -R nobody "$place"
    fi
    {
        grep -o 'mail_location = [^`]*' "$README" | sed "s|/var/lib/smtpd|$place|"
        printf '%s\n' "base_dir = $place" 'log_path = /dev/stderr'
    } >"$place/dovecot.conf"
    run "${as[@]}" env USER=bob HOME="$place" doveadm -c "$place/dovecot.conf" fetch hdr.subject all
    rm -r "$place"
    [ "$output" = 'hdr.subject: hello' ]
}

@test "README: the log, and its lines" {
    serve
    play --lf
    sample=$(block text | same_each_time)
    [[ $sample == *$'\n'* && ${sample#*$'\n'} != *$'\n'* ]]
    diff <(echo "$sample") <(grep -E ' (refused:|kept) ' log | same_each_time)
}

@test "README: the log goes on where logrotate has copied and truncated it" {
    need logrotate
    serve
    play
    printf '%s {\n copytruncate\n rotate 1\n}\n' "$PWD/log" >rotate.conf
    logrotate -f -s state rotate.conf
    grep -q ' kept ' log.1
    play
    # Nothing is before the first line, neither an old one nor a hole.
    [[ $(head -n 1 log) == 'smtpd['*' start client='* ]]
}

@test "README: fail2ban finds who is refused, with the time from ts" {
    need fail2ban-regex ts
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<me@example.org>
S: 250 ...
C: RCPT TO:<bob@elsewhere.example>
S: 550 5.7.1 ...
C: DATA
S: 503 ...
C: QUIT
S: 221 ...
END
    # What a client says bans no other.
    { cat log && sed 's/client=.*/client=unknown [after: RCPT TO:<"client=[192.0.2.1]"@b.example>]/' log; } |
        ts >timed
    block fail2ban >filter.conf
    run -0 fail2ban-regex timed "$PWD/filter.conf"
    [[ $output == *'1 matched'* ]]
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

# Each of these is one of patterns.
mapped() { # NAME...
    local name pattern
    for name in "${@#./}"; do
        for pattern in "${patterns[@]}" README.md __pycache__; do
            # shellcheck disable=SC2053
            if [[ $name == $pattern ]]; then continue 2; fi
        done
        echo "$name is not in the map"
        return 1
    done
}

@test "tests/README: its map has each file and folder there is, and no others" {
    local pattern patterns
    cd "$ROOT/tests"
    mapfile -t patterns < <(sed -n '/^| in `tests/,/^$/s/^| \(`[^|]*\) |.*/\1/p' README.md |
        grep -o '[^` ]*')
    [ "${#patterns[@]}" -gt 20 ]
    for pattern in "${patterns[@]}"; do
        compgen -G "$pattern" >/dev/null || { echo "there is no $pattern" && false; }
    done
    mapped ./*
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
