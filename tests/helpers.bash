# shellcheck shell=bash
# What the tests share. A test file begins:   #!/usr/bin/env bats
#                                             load helpers
# Each test runs in a folder of its own, which bats removes, with a server of
# its own on a port of its own; the mail lies in mail/, the server's log in log.
#
#   serve [OPTIONS]    start smtpd there; sets PORT (exported) and SERVER, its pid.
#                      Options given are added to -m mail -n mail.example.com
#                      and, when there is no -l among them, -l 127.0.0.1
#   start COMMAND...   the same for a command line of one's own
#   end_server [SIG]   send SIG (TERM) and wait; returns the server's exit status
#   dialogue <<'END'   play a conversation in lock step with the server on $PORT:
#       C: text          send this line with CRLF. C: lines which follow one
#                        another go out together, in one write
#       S: 250 ...       the next reply line must be this; "..." stands for any
#                        text. It must end in CRLF, be printable ASCII and at
#                        most 512 octets long. Every reply line must be named
#       S*: 250 ...      the next reply, of as many lines as it has: all have this
#                        code, and one is this. "250 ..." can only be the last
#       X: text\r\0\xFF  send what printf %b makes of this, no line end added
#       $: command       run a shell command, which must succeed
#       E:               the server must have closed, with nothing more said.
#                        A last S: line of 221 or 421 implies it
#       # or nothing     a comment, an empty line: skipped
#     dialogue --lf      C: lines end in LF, as plain nc has it
#     dialogue --to COMMAND...   talk to this command's pipes, not to $PORT;
#                        for instance: dialogue --to "$SMTPD" -i -m mail <<'END'
#     At the end our side of the connection is closed, and nothing more may come.
#     HOST=::1 dialogue  another address. WAIT=3 dialogue: seconds a reply may take
#     A $: command sees our end's pid as $client
#   sessions           the pids of the server's children, dead ones too
#   no_sessions        whether there are none: wait_until no_sessions
#   send_raw           pour standard input into nc, print all that came back
#   talk [OPTIONS]     pour it into smtpd -i on two pipes, print all that came back
#   ask LINE...        say these lines to smtpd -i, with CRLF; its options are those
#                      in the array options. Leaves what it said in the file replies,
#                      and of each reply but the greeting the code and the enhanced
#                      code ("250 2.1.0", or "354") in the array codes; those of the
#                      last reply are $code, too, and its last line is $last.
#                      All lines, the greeting too, are in the array said, without CR
#   tell FILE          the same with what is in this file, as it is
#   heard FILE         sets these from a file that has what a server said
#   gets CODES LINE...   say the lines in the array before, then these; fail unless
#                      CODES, one after another, are what these were answered
#   answers LINE...    print these codes on one line
#   table [TEXT] <<'END'   a table, CODE|LINE in each line of it: TEXT and LINE must be
#                      answered so, said after the lines in before. Many share a
#                      session: there the first of before is once said, then RSET
#   rows [TEXT]        the same for what is in the array rows
#   count N CODE       fail unless N of the codes are this one
#   post RECIPIENT...  give smtpd -i the message on standard input (LF ends its lines)
#                      from $from (<a@example.org>), and fail unless
#                      it was taken; the replies are in the file replies
#   letter RECIPIENT [TEXT]   the same over a connection, in a dialogue
#   $xs                8,192 times x: ${xs:0:65} is 65 of them; x N prints N
#   wait_until COMMAND...   try again until it succeeds, for at most 10 seconds
#   mails USER N...    fail unless N messages lie in mail/USER/new; and so for
#                      further users
#   holds FILE TEXT    whether it has this, where * is anything; without a process:
#                      wait_until holds log ' kept '
#   lacks FILE TEXT    the contrary
#   files FOLDER N     fail unless N files lie in there, however deep
#   message USER [N]   the path of the Nth (1) of them, oldest first
#   look FILE          read a message: $path is what our Return-Path: says, $received
#                      is our Received:, folds made one space; $rest is what the
#                      client sent, and $text what follows its first empty line
#   mailboxes USER...  fail unless mail/ has these, in this order, and no others
#   body FILE          a message from its first empty line on
#   field NAME FILE    each header field of that name, each on one line, folds
#                      made one space
#   py [ARGS] <<'END'  run a Python program, for what nc can't do
#   pieces [ARGS] <<'END'  a program that has the names of pieces.py
#   need COMMAND...    skip the test where one of these isn't installed
#
# A test ends by stopping its servers. It fails if one had crashed, took over 5
# seconds to go, or left a sanitizer's complaint in a file log*.

bats_require_minimum_version 1.5.0

# Symbolic links must not matter: this is the folder above tests/.
cd -P "${BASH_SOURCE%/*}/.." && ROOT=$PWD && cd "$OLDPWD" || exit
SMTPD=${SMTPD:-$ROOT/smtpd}
# Not a slow stand-in for python3 from a home directory, where there is a choice.
if [ -z "${PYTHON-}" ] && [ -x /usr/bin/python3 ]; then PYTHON=/usr/bin/python3; fi
PYTHON=${PYTHON:-python3}
export ROOT SMTPD PYTHON

# NC_EOF is nc which passes the end of its input on as a half-close.
if [ -z "${NC_EOF-}" ]; then
    case $(nc -h 2>&1) in
    *-N*hutdown*) NC_EOF='nc -N' ;;
    *'-q secs'*) NC_EOF='nc -q 10' ;;
    *) NC_EOF=nc ;;
    esac
    export NC_EOF
fi

# bats asks date(1) for the time when each test begins, though only -T shows it.
if [ -z "${BATS_ENABLE_TIMING-}" ]; then
    get_mills_since_epoch() { :; }
fi

# bats writes down before each command of a test where it stands, which costs more than
# the command. It is enough to do so where one fails.
if declare -F bats_capture_stack_trace >/dev/null; then
    bats_error_trap() {
        bats_check_status_from_trap
        [ -n "$BATS_DEBUG_LAST_STACK_TRACE_IS_VALID" ] || bats_capture_stack_trace
        BATS_DEBUG_LAST_STACK_TRACE_IS_VALID=1
    }
fi

# What ask, gets, answers and table use.
options=() before=()

xs=x
for _ in {1..13}; do xs+=$xs; done

setup() {
    trap - DEBUG
    # shellcheck disable=SC2034
    BATS_DEBUG_LAST_STACK_TRACE=() BATS_DEBUG_LASTLAST_STACK_TRACE=()
    cd "$BATS_TEST_TMPDIR" || return
    SERVERS=
    # Made once for a file of tests: two pipes for dialogue, and one in which
    # nothing ever comes, to wait at.
    export PIPES=$BATS_FILE_TMPDIR/pipe
    [ -p "$PIPES.none" ] || mkfifo "$PIPES.in" "$PIPES.out" "$PIPES.none"
}

# A file of tests that has more to do at the end calls end_servers itself.
teardown() { end_servers; }

end_servers() {
    local fault=0 SERVER file text
    # bats removes a file by itself, though all of its folder goes at the end.
    # shellcheck disable=SC2317
    rm() { [ "$*" = "-f ${BATS_OUT-}" ] || command rm "$@"; }
    for SERVER in $SERVERS; do
        end_server TERM || {
            echo "smtpd $SERVER ended with status $?; the log:"
            tail -n 30 log
            fault=1
        }
    done
    for file in log*; do
        [ -f "$file" ] || continue
        IFS= read -r -d '' text <"$file" || :
        case $text in
        *ERROR:*Sanitizer* | *'runtime error:'*)
            grep -E 'ERROR: [A-Za-z]+Sanitizer|runtime error:' "$file"
            fault=1
            ;;
        esac
    done
    return "$fault"
}

serve() {
    case " $* " in
    *' -l'*) ;;
    *) set -- -l 127.0.0.1 "$@" ;;
    esac
    start "$SMTPD" -p 0 -m mail -n mail.example.com "$@"
}

start() {
    : >log
    # bats would wait for whoever holds its descriptors 3 and 4.
    "$@" </dev/null >>log 2>&1 3>&- 4>&- &
    SERVER=$!
    SERVERS="$SERVERS $SERVER"
    wait_until is_ready
    export PORT SERVER
    [ -n "$PORT" ] || { cat log && return 1; }
}

# The ready line has come, to its end; or the server has gone, and it never will.
is_ready() {
    local line
    PORT=
    while read -r line; do
        case $line in
        'smtpd: listening on '*' port '*) PORT=${line##* } && return ;;
        esac
    done <log
    gone "$SERVER"
}

end_server() {
    local pid=$SERVER status=0
    SERVERS=${SERVERS/ $pid/}
    kill -s "${1:-TERM}" "$pid" 2>/dev/null || : # it may have gone: wait knows
    if ! WAIT=5 wait_until gone "$pid"; then
        # shellcheck disable=SC2046
        kill -9 "$pid" $(sessions) 2>/dev/null || :
    fi
    wait "$pid" 2>/dev/null || status=$?
    return "$status"
}

sessions() {
    children
    # shellcheck disable=SC2086
    [ -z "$CHILDREN" ] || printf '%s\n' $CHILDREN
}

no_sessions() {
    children
    [ -z "$CHILDREN" ]
}

# Sets CHILDREN to the pids of the server's children. Linux has them in a file.
children() {
    CHILDREN=
    if [ -e "/proc/$$/task/$$/children" ]; then
        read -r CHILDREN 2>/dev/null <"/proc/$SERVER/task/$SERVER/children" || :
    else
        CHILDREN=$(ps -A -o ppid= -o pid= | awk -v p="$SERVER" '$1 == p { print $2 }')
    fi
}

gone() { ! kill -0 "$1" 2>/dev/null; }

wait_until() {
    local end=$((SECONDS + ${WAIT:-10} + 1))
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "waited in vain for: $*"
            "$@" || :
            return 1
        fi
        pause
    done
}

# A hundredth of a second. Old versions of bash's read know whole seconds only.
pause() {
    if [ "${BASH_VERSINFO[0]}" -lt 4 ]; then
        sleep 0.01
    else
        read -r -t 0.01 <>"$PIPES.none" || :
    fi
}

# A subshell, for its own descriptors, and without bats' trap for each command,
# which is slow.
dialogue() (
    trap - DEBUG ERR
    set +eET
    LC_ALL=C
    cr=$'\r' eol='\r\n' pending='' shown='' number=0 script=() command=()
    while [ $# -gt 0 ]; do
        case $1 in
        --lf) eol='\n' ;;
        --crlf) eol='\r\n' ;;
        --to) shift && command=("$@") && break ;;
        *) echo "dialogue: what is $1?" && exit 2 ;;
        esac
        shift
    done
    last=
    while IFS= read -r line || [ -n "$line" ]; do
        script[number]=$line
        number=$((number + 1))
        case $line in '' | '#'* | '$:'*) ;; *) last=$line ;; esac
    done
    if [ ${#command[@]} -eq 0 ]; then
        # Only a plain nc leaves it to the server to close first. Not to lose
        # what it has not sent yet, nc must not be killed: else it half-closes.
        case $last in
        E:* | 'S: 221'[\ .]* | 'S: 421'[\ .]*) command=(nc) ;;
        *) read -r -a command <<<"$NC_EOF" ;;
        esac
        command+=("${HOST:-127.0.0.1}" "$PORT")
    fi

    # In a subshell there may be another dialogue at the same time, which has these.
    if [ "$BASH_SUBSHELL" -gt 1 ]; then
        PIPES=$BATS_TEST_TMPDIR/.pipe.$RANDOM$RANDOM
        mkfifo "$PIPES.in" "$PIPES.out" || exit
    fi
    "${command[@]}" <"$PIPES.in" >"$PIPES.out" 2>>log 3>&- 4>&- &
    client=$!
    exec 8>"$PIPES.in" 9<"$PIPES.out"
    trap '' PIPE
    trap 'kill "$client" 2>/dev/null && wait "$client" 2>/dev/null' EXIT

    fault() { # WANTED GOT
        echo "$at: wanted $1, got $2"
        echo "the dialogue up to there:"
        printf '%b' "$shown"
        exit 1
    }
    # A reply line, in $got; what stands for it in messages, in $seen.
    hear() {
        got='' began=$SECONDS
        if IFS= read -r -t "${WAIT:-10}" -u 9 got; then
            seen="\"${got%"$cr"}\""
            return 0
        fi
        seen='the end of the connection'
        [ $((SECONDS - began)) -lt "${WAIT:-10}" ] || seen="nothing in time"
        [ -z "$got" ] || seen="\"$got\" and then $seen"
        return 1
    }
    # bash writes line by line. So nc is stopped until all is written: then it
    # reads all at once and makes one packet of it. But no more than a pipe holds.
    say() {
        case ${pending%"$eol"} in
        '') [ -z "$pending" ] || printf '%b' "$pending" >&8 ;;
        *\\*)
            [ ${#pending} -gt 4096 ] || kill -STOP "$client"
            printf '%b' "$pending" >&8
            kill -CONT "$client"
            ;;
        *) printf '%b' "$pending" >&8 ;;
        esac 2>/dev/null
        pending=
    }
    expect() { # REPLY
        hear || fault "\"$1\"" "$seen"
        shown+="S: ${got//\\/\\\\}\n"
        case $got in
        *[!\ -~]*"$cr") fault "\"$1\" in printable ASCII" "$(printf %q "$got")" ;;
        *"$cr") ;;
        *) fault "\"$1\" with CRLF" "$(printf %q "$got")" ;;
        esac
        [ ${#got} -le 511 ] || fault "at most 512 octets" "$((${#got} + 1))"
        matches "$1" || fault "\"$1\"" "$seen"
    }
    # A reply of as many lines as it has, one of which must be this.
    expect_reply() { # LINE
        local found=
        while expect "${1%%[ -]*}..."; do
            if matches "$1"; then found=1; fi
            [[ $got == ???-* ]] || break
        done
        [ -n "$found" ] || fault "\"$1\" among the lines" "$seen at last"
    }
    matches() { # REPLY
        pattern=${1//\\/\\\\} pattern=${pattern//\*/\\*} pattern=${pattern//\?/\\?}
        pattern=${pattern//\[/\\[} pattern=${pattern//\(/\\(}
        pattern=${pattern//.../*}
        # shellcheck disable=SC2053
        [[ ${got%"$cr"} == $pattern ]]
    }
    expect_end() {
        exec 8>&-
        if hear || [ -n "$got" ]; then fault "no more" "$seen"; fi
        [ "$seen" = 'the end of the connection' ] || fault "the end" "$seen"
        wait "$client"
        [ $? -le 128 ] || fault "${command[0]} to live" "a signal"
    }

    number=0
    for line in "${script[@]}"; do
        number=$((number + 1)) at="line $number"
        text=${line#??} text=${text# }
        case $line in C:* | X:*) ;; *) say ;; esac
        case $line in
        '' | '#'*) ;;
        C:*) pending+=${text//\\/\\\\}$eol shown+="C: ${text//\\/\\\\}\n" ;;
        X:*) say && shown+="X: ${text//\\/\\\\}\n" pending=$text && say ;;
        S:*) expect "$text" ;;
        'S*:'*) expect_reply "${line#S\*: }" ;;
        E:*) expect_end ;;
        '$:'*) eval "$text" || fault "success of $text" "status $?" ;;
        *) fault "C:, S:, S*:, X:, E:, \$: or #" "$line" ;;
        esac
    done
    at='after the last line'
    say
    case $last in E:*) ;; *) expect_end ;; esac
)

send_raw() {
    # shellcheck disable=SC2086
    $NC_EOF "${HOST:-127.0.0.1}" "$PORT"
}

talk() { "$SMTPD" -i -m mail -n mail.example.com "$@" 2>>log 3>&- 4>&-; }

ask() {
    printf '%s\r\n' "$@" >.asked
    tell .asked
}

tell() {
    talk "${options[@]}" <"$1" >replies || return
    heard replies
}

heard() {
    local text
    codes=() said=() last='' code=''
    while IFS= read -r text; do
        said+=("${text%$'\r'}")
        case $text in [0-9][0-9][0-9]-*) continue ;; esac
        last=${text%$'\r'}
        case $last in
        [0-9][0-9][0-9]\ [245].[0-9].[0-9]\ *) code=${last:0:9} ;;
        *) code=${last:0:3} ;;
        esac
        codes+=("$code")
    done <"$1"
    codes=("${codes[@]:1}")
}

gets() {
    ask "${before[@]}" "${@:2}"
    codes=("${codes[@]:${#before[@]}}")
    [ "${codes[*]}" = "$1" ] || {
        printf '%s\n' "these lines should get $1, and got ${codes[*]}:" "${@:2}"
        return 1
    }
}

answers() {
    ask "${before[@]}" "$@"
    codes=("${codes[@]:${#before[@]}}")
    echo "${codes[*]}"
}

table() {
    local row rows=()
    while IFS= read -r row; do rows+=("$row"); done
    rows "${1-}"
}

rows() {
    local row wants=() lines=() blunders=0
    for row in "${rows[@]}"; do
        wants+=("${row%%|*}") lines+=("${1-}${row#*|}")
        # The twentieth would end the session.
        case $row in
        50[!3]* | 555*) blunders=$((blunders + 1)) ;;
        esac
        if [ "$blunders" -eq 19 ]; then
            share_session || return
            wants=() lines=() blunders=0
        fi
    done
    [ ${#lines[@]} -eq 0 ] || share_session
}

share_session() {
    local i asked=() first=("${before[@]}") each=$((${#before[@]} + 1))
    for ((i = 0; i < ${#lines[@]}; i++)); do
        asked+=("${first[@]}" "${lines[i]}")
        [ ${#before[@]} -eq 0 ] || first[0]=RSET
    done
    ask "${asked[@]}"
    for ((i = 0; i < ${#lines[@]}; i++)); do
        [ "${codes[each * (i + 1) - 1]-}" = "${wants[i]}" ] || {
            echo "${lines[i]}: wanted ${wants[i]}, got ${codes[each * (i + 1) - 1]-nothing}"
            return 1
        }
    done
}

count() {
    local each n=0
    for each in "${codes[@]}"; do
        if [ "$each" = "$2" ]; then n=$((n + 1)); fi
    done
    [ "$n" -eq "$1" ] || { echo "$2 came $n times, and not $1" && return 1; }
}

post() {
    local text
    {
        printf 'EHLO %s\r\nMAIL FROM:%s\r\n' "${hello-client.example}" "${from-<a@example.org>}"
        printf 'RCPT TO:<%s>\r\n' "$@"
        printf 'DATA\r\n'
        # No subshell and no program: this is called often.
        while IFS= read -r text || [ -n "$text" ]; do
            case $text in .*) text=.$text ;; esac
            printf '%s\r\n' "$text"
        done
        printf '.\r\nQUIT\r\n'
    } >.asked
    talk "${options[@]}" <.asked >replies || return
    while IFS= read -r text; do
        case $text in '250 2.0.0 '*) return 0 ;; esac
    done <replies
    return 1
}

letter() {
    dialogue <<END
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<$1>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: ${2-hello}
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 ...
END
}

x() {
    local text=x
    while [ ${#text} -lt "$1" ]; do text+=$text; done
    echo "${text:0:$1}"
}

# Not every system has timeout(1).
bounded() {
    if command -v timeout >/dev/null; then timeout 60 "$@"; else "$@"; fi
}

mails() {
    local files
    while [ $# -gt 0 ]; do
        files=("mail/$1/new"/*)
        [ -e "${files[0]}" ] || files=()
        [ ${#files[@]} -eq "$2" ] || {
            echo "mail/$1/new has ${#files[@]} messages, and not $2"
            return 1
        }
        shift 2
    done
}

holds() {
    local text
    IFS= read -r -d '' text <"$1" || :
    # shellcheck disable=SC2053
    [[ $text == *$2* ]]
}

lacks() {
    [ -r "$1" ] || { echo "there is no $1" && return 1; }
    if holds "$1" "$2"; then echo "$1 has $2" && return 1; fi
}

files() {
    local each i folders=("$1") found=()
    for ((i = 0; i < ${#folders[@]}; i++)); do
        for each in "${folders[i]}"/* "${folders[i]}"/.[!.]*; do
            if [ -L "$each" ]; then continue; fi
            if [ -d "$each" ]; then folders+=("$each"); fi
            if [ -f "$each" ]; then found+=("$each"); fi
        done
    done
    [ ${#found[@]} -eq "$2" ] || {
        echo "$1 has ${#found[@]} files, and not $2: ${found[*]}"
        return 1
    }
}

message() {
    local files=("mail/$1/new"/*)
    # Names begin with the time of day, but not with digits of equal number.
    if [ ${#files[@]} -gt 1 ]; then
        IFS=$'\n' read -r -d '' -a files < <(ls -rtd "${files[@]}") || :
    fi
    [ -f "${files[${2:-1} - 1]-}" ] && echo "${files[${2:-1} - 1]}"
}

look() {
    local line LC_ALL=C
    IFS= read -r -d '' rest <"$1" || :
    path=${rest%%$'\n'*} rest=${rest#*$'\n'}
    received=${rest%%$'\n'*} rest=${rest#*$'\n'}
    while [[ $rest == [$' \t']* ]]; do
        line=${rest%%$'\n'*} rest=${rest#*$'\n'}
        received+=" ${line#"${line%%[!$' \t']*}"}"
    done
    text=$'\n'$rest
    case $text in
    *$'\n\n'*) text=${text#*$'\n\n'} ;;
    *) text= ;;
    esac
    case $path in 'Return-Path: '*) ;; *) echo "no Return-Path: $path" && return 1 ;; esac
    case $received in 'Received: '*) ;; *) echo "no Received: $received" && return 1 ;; esac
    path=${path#Return-Path: } received=${received#Received: }
}

mailboxes() {
    local there=(mail/*)
    [ -e "${there[0]}" ] || there=()
    [ "${there[*]#mail/}" = "$*" ] || {
        echo "there are the mailboxes ${there[*]#mail/}, and not $*"
        return 1
    }
}

body() {
    [ $# -eq 1 ] || { echo "body: which of these: $*?" && return 1; }
    sed '1,/^$/d' "$1"
}

field() {
    local line text='' space=$' \t' LC_ALL=C
    [ $# -eq 2 ] || { echo "field: which of these: $*?" && return 1; }
    shopt -s nocasematch
    while IFS= read -r line; do
        case $line in
        [$' \t']*) text+=" ${line#"${line%%[!"$space"]*}"}" && continue ;;
        esac
        case $text in "$1":*) echo "$text" ;; esac
        text=$line
        [ -n "$line" ] || break
    done <"$2"
    case $text in "$1":*) echo "$text" ;; esac
    shopt -u nocasematch
}

py() { "$PYTHON" -IS - "$@"; }

# Imported, not run, so that Python compiles it once, and not once a test.
pieces() {
    "$PYTHON" -EsS -X "pycache_prefix=${results:-$BATS_RUN_TMPDIR}/python" -c '
import os, sys
sys.path.insert(0, os.environ["ROOT"] + "/tests")
from pieces import run
run({})' "$@"
}

need() {
    local each
    for each in "$@"; do
        command -v "$each" >/dev/null || skip "$each is not installed"
    done
}
