#!/usr/bin/env bats
# The form of every reply, whatever was said: code, enhanced code, text, length.

# shellcheck disable=SC2034,SC2154
load helpers

# Hold a session on two pipes; add to the file replies a line for each line of
# reply: the command, a TAB, the reply line with its CR. Before the first
# command it is "connect". To the file all, the line alone. And to the file counts: how many commands there were,
# how many replies, and the last reply. Options of smtpd stand in $options.
session() { # COMMAND...
    local line last='' n=0 commands=(connect "$@")
    printf '%b\r\n' "$@" >commands
    # shellcheck disable=SC2086
    talk ${options-} <commands >said || :
    while IFS= read -r line || [ -n "$line" ]; do
        printf '%s\t%s\n' "${commands[n]-}" "$line" >&8
        printf '%s\n' "$line"
        last=$line
        case $line in [0-9][0-9][0-9]\ *) n=$((n + 1)) ;; esac
    done <said >>all 8>>replies
    echo "$# $n $last" >>counts
}

# Sessions in which, between them, nearly all that can be replied is. Each
# command here has one reply: text after DATA is one command with its dot.
hold_sessions() { # [OPTIONS]
    local verb n mail=('MAIL FROM:<a@b.example>' 'RCPT TO:<bob@localhost>') many=() helps=()
    local received='' bangs=${xs:0:90} long options=${1-}
    for n in {1..101}; do many+=("RCPT TO:<u$n@localhost>") received+='Received: x\r\n'; done
    # With this in its place, there can be no mailbox "file".
    mkdir -p mail && : >mail/file && : >replies

    session 'HELO me' "${mail[@]}" 'RCPT TO:<postmaster>' DATA . RSET NOOP 'NOOP x' 'VRFY bob' HELP QUIT
    for verb in EHLO HELO MAIL RCPT DATA RSET VRFY EXPN HELP NOOP QUIT TURN SEND SOML SAML \
        ETRN STARTTLS AUTH BDAT; do
        helps+=("HELP $verb")
    done
    session "${helps[@]}" 'EHLO [192.0.2.1]' HELP "${helps[@]:0:11}"
    session EHLO 'HELO <me>' MAIL RCPT DATA 'RSET x' VRFY 'HELP x' 'QUIT x' FOOBAR '' 'NOOP \x1B[A' \
        "NOOP ${xs:0:1100}" QUIT
    session NOOP 'NOOP \n' QUIT
    session NOOP "NOOP ${xs:0:1100}\nQUIT" QUIT
    session 'EXPN x' TURN 'SEND FROM:<>' 'SOML FROM:<>' 'SAML FROM:<>' 'ETRN x' STARTTLS \
        'AUTH PLAIN' 'BDAT 1' QUIT
    session 'EHLO me' 'RCPT TO:<bob@localhost>' DATA 'MAIL FROM:bad' 'MAIL FROM:<> FOO' \
        'MAIL FROM:<> SIZE=x' 'MAIL FROM:<\xC3\xA9@b>' 'MAIL FROM:<\xC3@b> SMTPUTF8' \
        'MAIL FROM:<>x' 'MAIL FROM:<> SIZE=999999999999' "MAIL FROM:<a@${xs:0:300}>" \
        'MAIL FROM:<> SMTPUTF8' MAIL DATA 'RCPT TO:bad' 'RCPT TO:<\xFF@localhost>' DATA QUIT
    session 'HELO me' 'MAIL FROM:<> SIZE=5' 'MAIL FROM:<>' 'RCPT TO:<bob@elsewhere.example>' \
        'RCPT TO:<bob@localhost> X' 'RCPT TO:<\xC3\xA9@localhost>' 'RCPT TO:<bob@localhost>x' \
        "RCPT TO:<${xs:0:300}@localhost>" \
        "RCPT TO:<${bangs//x/!}@localhost>" 'RCPT TO:<file@localhost>' DATA .
    session 'EHLO me' "${mail[@]}" DATA 'a\x00b\r\n.'
    session 'EHLO me' "${mail[@]}" DATA "$received."
    session 'HELO me' 'MAIL FROM:<>' "${many[@]}"
    session 'GET / HTTP/1.1' 'EHLO me'
    session "${many[@]/RCPT/RSET}"
    options="$options -z 65536"
    printf -v long %066000d 0
    session 'EHLO me' "${mail[@]}" DATA "$long\r\n."
    options="$options -s"
    session 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<nobody@localhost>'
}

# They are held once for all tests that want no options.
setup_file() { cd "$BATS_FILE_TMPDIR" && hold_sessions; }

# Sets replies and counts to those files. The lines of reply are in the array all.
battery() { # [OPTIONS]
    local folder=$BATS_FILE_TMPDIR
    if [ $# -gt 0 ]; then
        hold_sessions "$@"
        folder=.
    fi
    replies=$folder/replies counts=$folder/counts
    mapfile -t all <"$folder/all"
    [ ${#all[@]} -gt 300 ]
}

# All lines of reply, or those of these that are given, match this.
every_reply() { # REGULAR-EXPRESSION [LINE...]
    local line LC_ALL=C regex=$1
    shift
    [ $# -gt 0 ] || set -- "${all[@]}"
    for line; do
        [[ $line =~ $regex ]] || { printf '%q\n' "$line" && return 1; }
    done
}

@test "RFC 5321 4.2: a reply line is a code, a space or hyphen, ASCII text and CRLF" {
    battery
    # RFC 5321 4.2: Reply-code = %x32-35 %x30-35 %x30-39
    every_reply $'^[2-5][0-5][0-9][ -][ -~]+\r$'
}

@test "RFC 5321 4.3.2: only codes of RFC 5321 4.2.3 are used" {
    battery
    every_reply '^(211|214|220|221|250|251|252|354|421|45[0125]|50[0-4]|55[0-5])'
}

@test "RFC 5321 4.5.3.1.5: a reply line has at most 512 octets, be our name as long as it may" {
    name=${xs:0:255}
    battery "-n $name"
    # awk has taken the LF off.
    LC_ALL=C awk -v name="$name" '
        length > 511 { print; bad = 1 }
        index($0, name) { n++ }
        END { exit bad || n <= 25 }' all
    every_reply $'^[2-5][0-5][0-9][ -][ -~]+\r$'
}

@test "RFC 5321 4.2.1: all lines of a reply have one code, and the last alone a space" {
    battery
    awk -F '\t' '
        code != "" && substr($2, 1, 3) != code { print "another code: " $0; bad = 1 }
        { code = substr($2, 4, 1) == "-" ? substr($2, 1, 3) : "" }
        END { exit bad || code != "" || NR < 300 }' "$replies"
}

@test "RFC 5321 4.2: every command has exactly one reply" {
    battery
    # With the greeting that is one more than commands, unless they went on
    # after the end of the session. And not one in the middle of mail data,
    # however much goes wrong there.
    awk -F '\t' '
        FILENAME ~ /counts$/ { split($0, n, " ") }
        FILENAME ~ /counts$/ && n[2] != n[1] + 1 &&
            (n[2] > n[1] || !/This is SMTP|Too many errors|A bare LF/) { print; bad = 1 }
        FILENAME ~ /counts$/ { sessions++ }
        FILENAME ~ /replies$/ && $1 ~ /\.$/ { dots = dots " " substr($2, 1, 3) }
        END { exit bad || sessions < 15 || dots != " 250 451 554 554 552" }' "$counts" "$replies"
}

@test "RFC 3463 2: each 2yz, 4yz and 5yz has an enhanced code of the same class" {
    battery
    mapfile -t coded < <(awk -F '\t' \
        '$1 !~ /^(connect|EHLO \[|EHLO me|HELO me)/ && $2 !~ /^354 / { print $2 }' "$replies")
    [ "${#coded[@]}" -gt 200 ]
    # None has leading zeros.
    number='(0|[1-9][0-9]{0,2})'
    every_reply "^(2[0-9][0-9][ -]2|4[0-9][0-9][ -]4|5[0-9][0-9][ -]5)\\.$number\\.$number [!-~]" \
        "${coded[@]}"
}

@test "RFC 3463 2: the greeting, HELO's and EHLO's 250 and 354 have no enhanced code" {
    battery
    mapfile -t bare < <(awk -F '\t' \
        '$1 ~ /^(connect|EHLO \[|EHLO me|HELO me)/ || $2 ~ /^354 / { print $2 }' "$replies")
    every_reply $'^(220|250|354)[ -]([^0-9]|[0-9]+[^0-9.]|[0-9]+\\.[^0-9]|[0-9]+\\.[0-9]+[^0-9.])' "${bare[@]}"
    [ "${#bare[@]}" -gt 50 ]
}

@test "RFC 3463 3: enhanced codes are those that RFC 3463 and RFC 6531 define" {
    battery
    mapfile -t enhanced < <(awk -F '\t' '
        match(substr($2, 5), /^[245]\.[0-9]+\.[0-9]+ /) {
            code = substr($2, 7, RLENGTH - 3)
            if (!seen[code]++) print code
        }' "$replies")
    [ "${#enhanced[@]}" -ge 9 ]
    every_reply '^(0\.0|1\.[0-8]|2\.[0-4]|3\.[0-5]|4\.[0-7]|5\.[0-5]|6\.[0-5]|7\.[0-7]|6\.7)$' "${enhanced[@]}"
}

@test "RFC 5321 4.2.1: the lines of a reply all have one enhanced code, or none has" {
    battery
    awk -F '\t' '
        { code = substr($2, 5) ~ /^[245]\.[0-9]+\.[0-9]+ / ? substr($2, 5, 5) : "none" }
        on && code != first { print "not " first ": " $2; bad = 1 }
        !on { first = code }
        { on = substr($2, 4, 1) == "-"; several += on }
        END { exit bad || several < 80 }' "$replies"
}

@test "RFC 5321 4.3.2: each command gets only the codes listed for it" {
    battery
    cat >listed <<'END'
connect 220 554
EHLO 250 504 550 502
HELO 250 504 550 502
MAIL 250 552 451 452 550 553 503 455 555
RCPT 250 251 550 551 552 553 450 451 452 503 455 555
DATA 354 503 554
. 250 552 554 451 452 450 550
RSET 250
VRFY 250 251 252 550 551 553 502 504
EXPN 250 252 550 500 502 504
HELP 211 214 502 504
NOOP 250
QUIT 221
END
    awk -F '\t' '
        FILENAME == "listed" {
            verb = codes = $0
            sub(/ .*/, "", verb)
            # Any command may get 500, 501 or 421.
            sub(/^[^ ]*/, " 500 501 421", codes)
            listed[verb] = codes " "
            next
        }
        { split($1, word, " "); verb = $1 ~ /\.$/ ? "." : word[1] }
        verb in listed {
            seen[verb] = 1
            if (!index(listed[verb], " " substr($2, 1, 3) " ")) { print; bad = 1 }
        }
        END { for (verb in listed) n += verb in seen; exit bad || n != 13 }' listed "$replies"
}

@test "RFC 5321 4.3.1: greeting, HELO, EHLO, 221 and 421 begin with our name" {
    battery '-n mx.example.net'
    # Of HELO's and EHLO's 250, the first line.
    awk -F '\t' '
        { name = "" }
        $2 ~ /^220 / { name = "220 " }
        $2 ~ /^221 2\.0\.0 / { name = "221 2.0.0 " }
        $2 ~ /^421 4\.7\.0 / { name = "421 4.7.0 " }
        $1 ~ /^[EH][HE]LO (me|\[)/ && $2 ~ /^250/ && before !~ /^250-/ { name = substr($2, 1, 4) }
        { before = $2 }
        name == "" { next }
        { seen[substr(name, 1, 3)]++ }
        index($2, name "mx.example.net ") != 1 { print; bad = 1 }
        END { exit bad || !seen[220] || !seen[221] || !seen[421] || seen[250] < 9 }' replies
}

@test "RFC 5321 4.5.4.2: too many sessions: the first line is a 421 and our name, and all" {
    serve -c 1
    dialogue <<'END'
S: 220 mail.example.com ...
$: [[ $(send_raw </dev/null) == "421 4.7.0 mail.example.com "*$'\r' ]]
C: QUIT
S: 221 2.0.0 mail.example.com ...
END
    end_server
    serve -k 1
    dialogue <<'END'
S: 220 mail.example.com ...
$: [[ $(send_raw </dev/null) == "421 4.7.0 mail.example.com "*$'\r' ]]
END
}

@test "RFC 5321 3.8: a server that inetd started and that can't serve says 421 4.3.0" {
    : >file
    py >out <<'END'
import os, socket, subprocess, sys
ours, its = socket.socketpair()
subprocess.run([os.environ["SMTPD"], "-i", "-n", "mx.example.net", "-m", "file/mail"],
               stdin=its, stdout=its, stderr=its)
its.close()
sys.stdout.buffer.write(ours.recv(1000))
END
    mapfile out <out
    [ ${#out[@]} -eq 1 ]
    [[ ${out[0]} == "421 4.3.0 mx.example.net "*$'\r\n' ]]
}

@test "RFC 5321 4.2.2: a refusal says where it is written" {
    battery
    mapfile -t refusals < <(awk -F '\t' '$2 ~ /^[45]/ && !seen[$2]++ { print $2 }' "$replies")
    [ "${#refusals[@]}" -gt 25 ]
    every_reply $'[a-z].*\\(RFC [0-9]+ (appendix )?[0-9A-F][0-9.]*\\)\r$' "${refusals[@]}"
}

@test "RFC 5321 4.2: what a client sends is never sent back" {
    word=qZxJvK
    battery
    [[ ${all[*]} != *[qQ][zZ][xX][jJ][vV][kK]* ]]
    : >all
    session "EHLO <$word>" "EHLO $word" "HELO $word" "$word" "MAIL FROM:<$word" "RCPT TO:<$word@localhost>" \
        "DATA $word" "RSET $word" "HELP $word" "QUIT $word" "EXPN $word" "NOOP \x01$word" "VRFY $word"
    session "EHLO $word.example" "MAIL FROM:<$word@b.example> $word=$word" \
        "MAIL FROM:<$word@b.example> SIZE=$word" "MAIL FROM:<$word@b.example>" \
        "RCPT TO:<$word@localhost> $word" "RCPT TO:<$word@$word.example>" \
        "RCPT TO:<$word@localhost>" DATA "Subject: $word\r\n$word\r\n." QUIT
    mapfile -t all <all
    [ "${#all[@]}" -gt 25 ]
    [[ ${all[*]} != *[qQ][zZ][xX][jJ][vV][kK]* ]]
    # Nor as a format: no reply has what printf would make of these.
    : >all
    session 'HELO <%s%n>' 'HELO %s%s%n' '%s%n%x' 'MAIL FROM:<%s%n@%d>' 'HELO me' 'MAIL FROM:<%s%n%100000d@b>' QUIT
    mapfile -t all <all
    [ "$(cut -c 1-3 all | xargs)" = '220 501 250 500 501 250 250 221' ]
    [[ ${all[*]} != *%* ]]
}

@test "RFC 5321 4.2.5: after a 4yz or 5yz to the data nothing is kept" {
    mkdir mail && : >mail/file
    mail=('MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA)
    printf -v many 'Received: x\\r\\n%.0s' {1..101}
    printf -v long %066000d 0
    { printf 'HELO me\r\n' && for data in 'a\x00b' 'a\rb' 'a\nb' "$many" "$long"; do
        printf '%s\r\n' "${mail[@]}"
        printf '%b\r\n.\r\n' "$data"
    done
    # A mailbox which can't be made, beside one which can.
    printf '%s\r\n' "${mail[@]:0:2}" 'RCPT TO:<file@localhost>' DATA .; } >session
    options=(-z 65536)
    tell session
    asked='250 2.1.0 250 2.1.5 354'
    [ "${codes[*]}" = "250 $asked 554 5.6.0 $asked 554 5.6.0 $asked 554 5.6.0 \
$asked 554 5.4.6 $asked 552 5.3.4 250 2.1.0 250 2.1.5 250 2.1.5 354 451 4.3.0" ]
    files mail 1
    [ -f mail/file ]
}

@test "RFC 5321 4.2.1: the same mistake again gets the same reply" {
    ask EHLO FOOBAR DATA 'HELP x' TURN EHLO FOOBAR DATA 'HELP x' TURN
    [ ${#said[@]} -eq 11 ]
    [ "${said[*]:1:5}" = "${said[*]:6:5}" ]
}

@test "RFC 5321 4.2: only EHLO and HELP have replies of several lines" {
    ask 'HELO me' 'EHLO me' NOOP 'VRFY bob' 'EXPN x' FOOBAR 'HELP x' 'MAIL FROM:<>' \
        'RCPT TO:<x>' DATA 'RCPT TO:<bob@localhost>' DATA . 'MAIL FROM:<>' RSET QUIT
    # The greeting, HELO's line and EHLO's seven, and one line for each of the fourteen.
    [ "${#said[@]}" -eq $((2 + 7 + 14)) ]
    every_reply '^250-' "${said[@]:2:6}"
    every_reply '^... ' "${said[@]:0:2}" "${said[@]:8}"
}
