#!/usr/bin/env bats
# The log: one line an event, for the operator; with -v the dialogue as well.

load helpers

# A supervisor may give all three descriptors one socket.
@test "log: without -i it goes to standard error, whatever that is" {
    pieces <<'END'
for stdin in None, subprocess.DEVNULL:
    ours, its = socket.socketpair()
    server = started(its, ours.fileno(), stdin=stdin or its, stdout=its)
    ours.settimeout(10)
    Client('220').says('QUIT', '221 2.0.0')
    log = b''
    while b' end client=' not in log:
        log += ours.recv(4096)
    server.terminate()
    same(server.wait(20), 0, 'the exit status')
END
}

# What all lines of the file log that are not the ready line must look like.
all_lines_good() {
    local LC_ALL=C text
    local good='^(smtpd: listening on .*|smtpd\[[0-9]+\]: [ -~]+)$'
    while IFS= read -r text; do
        [[ $text =~ $good ]] || { echo "a bad line: $text" && return 1; }
    done <log
    # The last line has its end, and there is no NUL: read would have lost them.
    [ -z "$text" ] || return
    if IFS= read -r -d '' text <log; then echo "a NUL in the log" && return 1; fi
}

# So many lines of the log match this.
times() { # N PATTERN
    local LC_ALL=C text n=0
    while IFS= read -r text; do
        if [[ $text =~ $2 ]]; then n=$((n + 1)); fi
    done <log
    [ "$n" -eq "$1" ] || { echo "$n lines have $2, and not $1:" && cat log && return 1; }
}

# In $line, the one line of the log that matches this, without smtpd[PID].
line() { # PATTERN
    local text lines=()
    while IFS= read -r text; do
        if [[ $text =~ $1 ]]; then lines+=("$text"); fi
    done <log
    [ ${#lines[@]} -eq 1 ] || { echo "not one line with $1:" && cat log && return 1; }
    if [[ ${lines[0]} =~ ^smtpd\[[0-9]+\]:\ (.*) ]]; then lines[0]=${BASH_REMATCH[1]}; fi
    line=${lines[0]}
}

# A session with one message, of these recipients.
session() {
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<Alice@example.org>'
    printf 'RCPT TO:<%s>\r\n' "$@"
    printf '%s\r\n' DATA 'Subject: x' '' '..two dots' text . QUIT
}

@test "log: nothing but the ready line until somebody comes" {
    serve
    [ "$(<log)" = "smtpd: listening on 127.0.0.1 port $PORT" ]
}

@test "log: a session's start and its end, with the client's address" {
    serve
    dialogue <<<$'S: 220 ...\nC: QUIT\nS: 221 ...'
    wait_until no_sessions
    all_lines_good
    times 3 ''
    line ' start'
    [[ $line == *"[127.0.0.1]"* ]]
    line ' end'
    [[ $line == *"[127.0.0.1]"* ]]
}

@test "log: start and end are there too where the client just leaves, or is an IPv6 one" {
    py 2>/dev/null <<<'import socket; socket.socket(socket.AF_INET6).bind(("::1", 0))' ||
        skip "no IPv6 here"
    serve -l ::1
    HOST=::1 dialogue <<<$'S: 220 ...\nC: HELO me\nS: 250 ...\nC: MAIL FROM:<>\nS: 250 ...'
    wait_until no_sessions
    all_lines_good
    line ' start'
    [[ $line == *"[IPv6:::1]"* ]]
    line ' end'
    [[ $line == *"[IPv6:::1]"* ]]
}

@test "log: all lines of a session begin with its ID, which is its own" {
    serve -v
    for _ in 1 2; do session bob@localhost | send_raw >replies; done
    wait_until no_sessions
    all_lines_good
    times 39 ''
    # PID and ID belong together; there are two of each.
    mapfile -t all <log
    ids=() pids=()
    for text in "${all[@]:1}"; do
        [[ $text =~ ^smtpd\[([0-9]+)\]:\ ([^ ]+)\  ]]
        pid=${BASH_REMATCH[1]} own=${BASH_REMATCH[2]}
        [ "${ids[pid]-$own}" = "$own" ]
        ids[pid]=$own pids=("${!ids[@]}")
    done
    [ ${#ids[@]} -eq 2 ]
    [ "${ids[pids[0]]}" != "${ids[pids[1]]}" ]
}

@test "log: a message kept, with ID, sender, recipient, size and file" {
    session Bob@Localhost >.asked
    talk <.asked >replies
    all_lines_good
    line ' kept '
    IFS= read -r -d '' said <replies || :
    id=${said##*250 2.0.0 Message kept as } id=${id%%$'\r'*}
    file=(mail/bob/new/*)
    [[ $line == *" kept $id client=unknown "* && $line == *" from=<Alice@example.org> "* ]]
    [[ $line == *" to=<Bob@Localhost> "* && $line == *" file=${file[0]#mail/}" ]]
    # RFC 1870 5: line ends count two octets, doubled dots one.
    text=$'Subject: x\r\n\r\n.two dots\r\ntext\r\n'
    [[ $line == *" size=${#text} "* ]]
}

@test "log: a message for several, with each recipient and file" {
    session bob@localhost carol@example.com '"d d"@localhost' >.asked
    talk <.asked >replies
    all_lines_good
    times 3 ' kept '
    while read -r to user; do
        file=("mail/$user/new"/*)
        times 1 " kept .* from=<Alice@example\.org> to=<${to//_/ }> .*file=${file[0]#mail/}\$"
    done <<'END'
bob@localhost bob
carol@example.com carol
"d_d"@localhost d%20d
END
}

@test "log: client= in each line that tells of a client: its address, or unknown" {
    serve -l 127.0.0.1 -l ::1
    session bob@localhost eve@elsewhere.example >.asked
    client() { HOST=$1 send_raw <.asked >replies; }
    for address in 127.0.0.1 ::1; do client "$address"; done
    talk <.asked >replies
    wait_until no_sessions
    all_lines_good
    for literal in '\[127\.0\.0\.1\]' '\[IPv6:::1\]' unknown; do
        for event in 'start' 'kept [^ ]+' 'refused: 550 [^][]*' 'end'; do
            times 1 "^smtpd\[[0-9]+\]: [^ ]+ $event client=$literal( |\$)"
        done
    done
    times 12 ' client='
}

@test "log: where nothing is kept no line says so" {
    for spoilt in 'a\rb\r\n' 'Received: x\r\n%.0s'; do
        {
            printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA
            # shellcheck disable=SC2059
            printf "$spoilt" {1..101}
            printf '%s\r\n' . QUIT
        } >.asked
        talk <.asked >replies
    done
    session bob@localhost >.asked
    IFS= read -r -d '' said <.asked || :
    printf '%s' "${said%%$'\r\n.\r\n'*}"$'\r\n' >.asked
    talk <.asked >replies
    all_lines_good
    times 0 ' kept '
    times 2 ' refused.* 554 5\.'
}

@test "log: every refusal, with its reply and what it was for" {
    printf '%s\r\n' 'DATA' 'MAIL FROM:<>' 'HELO' 'HELO me' 'MAIL FROM' 'MAIL FROM:<> X=y' \
        'MAIL FROM:<é@example.org>' 'RCPT TO:<bob@localhost>' 'MAIL FROM:<>' 'DATA' 'MAIL FROM:<>' \
        'RCPT TO:<bob>' 'RCPT TO:<bob@elsewhere.example>' DATA EXPN FOO HELP\ FOO QUIT\ now \
        "$(printf 'x%.0s' {1..1100})" >.asked
    talk <.asked >replies
    all_lines_good
    grep -E '^[45]' replies | tr -d '\r' >said
    [ "$(wc -l <said)" -eq 17 ]
    times 17 ' refused'
    diff said <(sed -nE 's/^smtpd[^ ]* [^ ]* refused: ([45].*) client=unknown \[after: .*/\1/p' log)
    line 'refused: 550 .*RCPT TO:<bob@elsewhere\.example>'
    line 'refused: 555 .*MAIL FROM:<> X=y'
}

@test "log: a password that a client says, though AUTH was not offered, is not there" {
    serve -t 1
    for what in 'AUTH PLAIN secret' 'auth plain secret' $'AUTH\tPLAIN secret' ' AUTH PLAIN secret' \
        'AUTHPLAIN secret'; do
        dialogue <<END
S: 220 ...
C: $what
S: 50...
END
    done
    # A command that comes in part, after one with a password and as the first part of one.
    for what in 'AUTH PLAIN secret\r\nFO' '\r\nAUTH PLAIN secret'; do
        dialogue <<END
S: 220 ...
X: $what
S: 50...
S: 421 4.4.2 ...
END
    done
    wait_until no_sessions
    all_lines_good
    times 6 'refused: 50.* \[after: AUTH\]$'
    line 'refused: 500 5\.5\.1 .* \[after: \]$'
    times 2 'refused: 421 4\.4\.2 .* client=\[127\.0\.0\.1\]$'
    times 0 secret
}

@test "log: a client that is too slow, one turned away, and one that makes HTTP" {
    serve -t 1 -k 1
    dialogue <<'END'
S: 220 ...
$: dialogue <<<'S: 421 4.7.0 ...'
S: 421 4.4.2 ...
END
    wait_until no_sessions
    dialogue <<<$'S: 220 ...\nC: GET / HTTP/1.1\nS: 502 5.5.1 ...\nE:'
    wait_until no_sessions
    all_lines_good
    # Only what the client said is told as such.
    line 'refused: 421 4\.4\.2 [^][]* client=\[127\.0\.0\.1\]$'
    line 'refused: 421 4\.7\.0 [^][]* client=\[127\.0\.0\.1\]$'
    line 'refused: 502 5\.5\.1 [^][]* client=\[127\.0\.0\.1\] \[after: GET / HTTP/1\.1\]$'
    times 2 ' start'
    times 2 ' end'
}

@test "log: control characters and 8-bit octets of a client are escaped, with -v too" {
    # Every octet but CR and LF, in a command, in an address, in a message.
    octets=$(printf '\\x%02x' {1..9} 11 12 {14..255})
    for option in '' -v; do
        # shellcheck disable=SC2059,SC2086
        {
            printf "NOOP $octets\r\n"
            printf 'NOOP \0 after\r\n\33[2Jclear\r\n'
            printf 'EHLO me\r\nMAIL FROM:<\303\251@example.org> SMTPUTF8\r\n'
            printf 'RCPT TO:<"\303\251"@localhost>\r\n'
            printf "DATA\r\nSubject: $octets\r\n$octets\r\n.\r\n"
        } >.asked
        talk $option <.asked >replies
        holds replies $'\n250 2.0.0 Message kept'
    done
    all_lines_good # so nothing is there but printable ASCII
    times 2 ' kept .*from=<[^>]*@example\.org>.*to=<[^>]*@localhost>'
}

@test "log: what a client sends can't pass for a line of the log" {
    fake='smtpd[1]: 1-1-1 kept 1-1-1-1 from=<> to=<bob@localhost> size=1 file=bob/new/1'
    printf '%b' "HELO me\r$fake\r\n" "$fake\n" "\r\nHELO me\r\nMAIL FROM:<x\r$fake>\r\n" \
        'MAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\n' "a\r$fake\r\n$fake\n" '.\r\n.\r\n' >.asked
    talk -v <.asked >replies
    all_lines_good
    times 0 '^smtpd\[1\]'
    times 0 '^smtpd\[[0-9]+\]: [^ ]+ kept '
    # A backslash of the client's does not look like an escape of ours.
    printf 'NOOP \\x1B \\\\ \\n\r\nNOOP \33 \\\r\nFOO \\x1B\r\nFOO \33\r\n' >.asked
    talk -v <.asked >replies
    times 1 ' C: NOOP \\x5Cx1B \\x5C\\x5C \\x5Cn$'
    times 1 ' C: NOOP \\x1B \\x5C$'
    times 1 'refused.*FOO \\x5Cx1B]$'
    times 1 'refused.*FOO \\x1B]$'
}

@test "-v: the whole dialogue in order, C: and S:, the message's lines included" {
    session bob@localhost eve@elsewhere.example >.asked
    talk -v <.asked >replies
    all_lines_good
    # Of replies only the code, of all lines no blanks at the end.
    sed -nE 's/^smtpd\[[0-9]+\]: [^ ]+ ([CS]:)/\1/p' log |
        sed -E 's/^(S: [0-9]{3}).*/\1/; s/ *$//' >seen
    diff - seen <<'END'
S: 220
C: HELO me
S: 250
C: MAIL FROM:<Alice@example.org>
S: 250
C: RCPT TO:<bob@localhost>
S: 250
C: RCPT TO:<eve@elsewhere.example>
S: 550
C: DATA
S: 354
C: Subject: x
C:
C: ..two dots
C: text
S: 250
C: QUIT
S: 221
END
}

# A message with this text is sent with -v: what the log then has of its lines, to $shown.
shown() { # TEXT
    local text
    : >log
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA "$1." NOOP >.asked
    talk -v <.asked >replies
    all_lines_good
    shown=
    while IFS= read -r text; do
        case $text in *' C: '* | *' C:') text=${text#* C:} shown+=${text# }$'\n' ;; esac
        case $text in *' S: 354 '*) shown= ;; *' S: 250 2.0.0 Message'*) break ;; esac
    done <log
}

@test "-v: of a message the first 50 lines, and how many octets more came" {
    printf -v fifty 'line %02d\r\n' {1..50}
    kept=${fifty//$'\r'/}
    shown "$fifty"
    [ "$shown" = "$kept" ]
    # Each octet is counted as it came: ends of lines, doubled dots; but no final dot.
    shown "$fifty"$'..\r\n'
    [ "$shown" = "$kept"$'... and 4 octets more\n' ]
    printf -v long 'x\r\n\r\n..y\r\n%01000000d\r\n' 0
    shown "$fifty$long"
    [ "$shown" = "$kept"$'... and 1000012 octets more\n' ]
    # The next message has fifty again.
    printf -v next '%s\r\n' . 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA
    shown "$fifty$next$fifty"
    times 100 ' C: line [0-9][0-9]$'
    times 0 'octets more'
}

@test "-v: a piece of a long line counts as a line" {
    pieces <<'END'
s = Session('-v')
s.begins('bob')
s.send(*(60 * [1100 * b'x']), b'\r\n.\r\n')
s.hears('250 2.0.0')
s.end()
END
    all_lines_good
    cut_up 'x+'
    [ ${#whole} -eq 55000 ]
    line ' C: \.\.\. and 11002 octets more$'
}

@test "-v: long lines of a message are there, cut into pieces" {
    printf -v long '0123456789%.0s' {1..500}
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA "$long" . QUIT >.asked
    talk -v <.asked >replies
    all_lines_good
    cut_up '[0-9]+'
    [ "$whole" = "$long" ]
}

# To $whole, what the pieces with these characters make up; no line may be over 2048 long.
cut_up() { # REGULAR-EXPRESSION
    local text
    whole=
    while IFS= read -r text; do
        [ ${#text} -le 2048 ] || return
        if [[ $text =~ ' C: '('... ')?($1)$ ]]; then whole+=${BASH_REMATCH[2]}; fi
    done <log
}

@test "-v: what goes on in a line of a message does not look like another line" {
    printf '%b' 'HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@localhost>\r\nDATA\r\n' \
        'text\nMAIL FROM:<forged@example.org>\r\n.\r\n' >.asked
    talk -v <.asked >replies
    all_lines_good
    line ' C: \.\.\. MAIL FROM:<forged@example\.org>$'
    times 0 ' C: MAIL FROM:<forged'
}

@test "log: one line an event, even for the longest command; what is escaped goes on after ..." {
    printf -v long 'y%.0s' {1..1018}
    printf '%s\r\n' "NOOP ${long:0:1000}" "FOO $long" QUIT >.asked
    talk <.asked >replies
    all_lines_good
    line yyy
    # Octets that are escaped, then a line of the log, aimed at where a line is full.
    for verb in FOO FOOO FOOOO FOOOOO; do
        for pad in {475..485}; do
            printf -v octets "%0${pad}d" 0
            printf '%s%s kept 1-1 from=<> to=<>\r\n' "$verb" "${octets//0/$'\1'}"
        done >lines
        talk <lines >replies
        all_lines_good
        [ "$(grep -c ' \.\.\. ' log)" -ge 4 ]
        times 0 '^smtpd[^ ]* [^ ]* kept'
        # No octet is lost or said twice at the cut.
        awk -v verb="$verb" '
            { text = text $0 "\n" }
            END {
                gsub(/\nsmtpd[^ ]* [^ ]* \.\.\. /, "", text)
                for (pad = 475; pad <= 485; pad++) {
                    octets = sprintf("%0" pad "d", 0)
                    gsub(/0/, "\\x01", octets)
                    words = " " verb octets " kept 1-1 from=<> to=<>]"
                    at = index(text, words)
                    if (at == 0 || index(substr(text, at + 1), words)) {
                        print "not once:" words
                        bad = 1
                    }
                }
                exit bad
            }' log
    done
}

@test "log: one session can't have it grow without end: the 1000th refusal closes it" {
    serve
    # Of all kinds but blunders, which are over after twenty; a kept message changes nothing.
    pieces <<'END'
c = Client('220')
c.says('DATA', '503 5.5.1')
c.says('HELO me', '250')
c.says('MAIL FROM:<>', '250 2.1.0')
c.send(b'RCPT TO:<bob@elsewhere.example>\r\n' * 500)
c.hears(*['550 5.7.1'] * 500)
c.says('RSET', '250 2.0.0')
c.sends('bob')
c.says('MAIL FROM:<>', '250 2.1.0')
c.send(b'MAIL FROM:<>\r\n' * 9 + b'RCPT TO:<bob@elsewhere.example>\r\n' * 1000)
same(c.rest(), ['503 5.5.1'] * 9 + ['550 5.7.1'] * 490 + ['421 4.7.0'], 'the rest')
END
    wait_until no_sessions
    all_lines_good
    times 1000 ' refused: 5'
    line ' refused: 421 4\.7\.0 .* client=\[127\.0\.0\.1\]$'
    times 1005 ''
}

@test "log: lines of several sessions at one time don't mix" {
    serve -v
    pids=()
    for i in {1..8}; do
        {
            printf 'HELO me\r\n'
            printf -v text "$i%.0s" {1..90}
            for _ in {1..100}; do printf 'NOOP %s\r\n' "$text"; done
            printf 'QUIT\r\n'
        } | send_raw >"replies.$i" 3>&- 4>&- &
        pids+=($!)
    done
    wait "${pids[@]}"
    wait_until no_sessions
    all_lines_good
    times 800 '^smtpd\[[0-9]+\]: [^ ]+ C: NOOP ([1-8])\1{89}$'
    times $((1 + 8 * (2 + 1 + 2 * 102))) ''
}

@test "log: a terminal that nobody reads holds up no mail, nor the parent, nor the end" {
    "$PYTHON" -EsB "$ROOT/tests/unread.py" <<'END'
reader, writer = os.openpty()
server = started(writer, reader, '-c', '1')
try:
    c = Client('220')
    same(lost(c, 150) < 2.5, True, 'a second or two are lost')
    same(len(os.listdir('mail/bob/new')), 150, 'messages')
    # More over -c than there are processes to refuse them: the parent must log.
    for other in [Client() for _ in range(100)]:
        other.hears('421 4.7.0')
    server.terminate()
    same(c.rest(), ['421 4.3.2'], 'what is said at the end')
    same(server.wait(20), 0, 'the exit status')
finally:
    server.kill()
END
}

@test "log: one who reads the log and goes away harms no mail" {
    mkfifo pipe
    head -n 1 <pipe >first &
    # shellcheck disable=SC2034
    reader=$!
    # Now writing means SIGPIPE.
    # shellcheck disable=SC2016
    dialogue --to sh -c 'exec "$0" -i -v -m mail -n mail.example.com 2>pipe' "$SMTPD" <<'END'
S: 220 ...
$: wait_until test -s first
$: wait_until gone "$reader"
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 ...
C: RCPT TO:<bob@localhost>
S: 250 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 ...
END
    mails bob 1
}
