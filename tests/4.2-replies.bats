#!/usr/bin/env bats
# The form of every reply, whatever was said: code, enhanced code, text, length.

load helpers

# Hold a session on two pipes; add to the file replies a line for each line of
# reply: the command, a TAB, the reply line with its CR. Before the first
# command it is "connect". And to the file counts: how many commands there were,
# how many replies, and the last reply. Options of smtpd stand in $options.
session() { # COMMAND...
    local line last='' n=0 commands=(connect "$@")
    printf '%b\r\n' "$@" >commands
    # shellcheck disable=SC2086
    talk ${options-} <commands >said || :
    while IFS= read -r line || [ -n "$line" ]; do
        printf '%s\t%s\n' "${commands[n]-}" "$line"
        last=$line
        case $line in [0-9][0-9][0-9]\ *) n=$((n + 1)) ;; esac
    done <said >>replies
    echo "$# $n $last" >>counts
}

# Sessions in which, between them, nearly all that can be replied is. Each
# command here has one reply: text after DATA is one command with its dot.
hold_sessions() { # [OPTIONS]
    local verb n mail=('MAIL FROM:<a@b.example>' 'RCPT TO:<bob@localhost>') many=() options=${1-}
    for n in {1..101}; do many+=("RCPT TO:<u$n@localhost>"); done
    # With this in its place, there can be no mailbox "file".
    mkdir -p mail && : >mail/file && : >replies

    session 'HELO me' "${mail[@]}" 'RCPT TO:<postmaster>' DATA . RSET NOOP 'NOOP x' 'VRFY bob' HELP QUIT
    for verb in EHLO HELO MAIL RCPT DATA RSET VRFY EXPN HELP NOOP QUIT TURN SEND SOML SAML \
        ETRN STARTTLS AUTH BDAT; do
        session "HELP $verb" 'EHLO [192.0.2.1]' HELP
    done
    session EHLO 'HELO <me>' MAIL RCPT DATA 'RSET x' VRFY 'HELP x' 'QUIT x' FOOBAR '' 'NOOP \x1B[A' \
        "NOOP $(printf 'x%.0s' {1..1100})" QUIT
    session NOOP 'NOOP \n' QUIT
    session NOOP "NOOP $(printf 'x%.0s' {1..1100})\nQUIT" QUIT
    session 'EXPN x' TURN 'SEND FROM:<>' 'SOML FROM:<>' 'SAML FROM:<>' 'ETRN x' STARTTLS \
        'AUTH PLAIN' 'BDAT 1' QUIT
    session 'EHLO me' 'RCPT TO:<bob@localhost>' DATA 'MAIL FROM:bad' 'MAIL FROM:<> FOO' \
        'MAIL FROM:<> SIZE=x' 'MAIL FROM:<\xC3\xA9@b>' 'MAIL FROM:<\xC3@b> SMTPUTF8' \
        'MAIL FROM:<>x' 'MAIL FROM:<> SIZE=999999999999' "MAIL FROM:<a@$(printf 'x%.0s' {1..300})>" \
        'MAIL FROM:<> SMTPUTF8' MAIL DATA 'RCPT TO:bad' 'RCPT TO:<\xFF@localhost>' DATA QUIT
    session 'HELO me' 'MAIL FROM:<> SIZE=5' 'MAIL FROM:<>' 'RCPT TO:<bob@elsewhere.example>' \
        'RCPT TO:<bob@localhost> X' 'RCPT TO:<\xC3\xA9@localhost>' 'RCPT TO:<bob@localhost>x' \
        "RCPT TO:<$(printf 'x%.0s' {1..300})@localhost>" \
        "RCPT TO:<$(printf '!%.0s' {1..90})@localhost>" 'RCPT TO:<file@localhost>' DATA .
    session 'EHLO me' "${mail[@]}" DATA 'a\x00b\r\n.'
    session 'EHLO me' "${mail[@]}" DATA "$(printf 'Received: x\\r\\n%.0s' {1..101})."
    session 'HELO me' 'MAIL FROM:<>' "${many[@]}"
    session 'GET / HTTP/1.1' 'EHLO me'
    session "${many[@]/RCPT/RSET}"
    options="$options -z 65536"
    session 'EHLO me' "${mail[@]}" DATA "$(printf 'x%.0s' {1..66000})\r\n."
    options="$options -s"
    session 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<nobody@localhost>'
}

# They are held once for all tests that want no options.
setup_file() { cd "$BATS_FILE_TMPDIR" && hold_sessions; }
battery() {
    if [ $# -eq 0 ]; then
        cp "$BATS_FILE_TMPDIR"/{replies,counts,log} .
    else
        hold_sessions "$@"
    fi
}

# Which lines of the file replies don't match? There must be none.
every_reply() { # REGULAR-EXPRESSION
    cut -f 2 replies >all
    run -1 env LC_ALL=C grep -vE "$1" all
    [ "$(wc -l <replies)" -gt 300 ]
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
    name=$(printf 'x%.0s' {1..255})
    battery "-n $name"
    # awk has taken the LF off.
    [ "$(cut -f 2 replies | LC_ALL=C awk '{ if (length > n) n = length } END { print n }')" -le 511 ]
    [ "$(grep -c "$name" replies)" -gt 50 ]
    every_reply $'^[2-5][0-5][0-9][ -][ -~]+\r$'
}

@test "RFC 5321 4.2.1: all lines of a reply have one code, and the last alone a space" {
    battery
    cut -f 2 replies | awk '
        code != "" && substr($0, 1, 3) != code { print "another code: " $0; bad = 1 }
        { code = substr($0, 4, 1) == "-" ? substr($0, 1, 3) : "" }
        END { exit bad || code != "" || NR < 300 }'
}

@test "RFC 5321 4.2: every command has exactly one reply" {
    battery
    # With the greeting that is one more than commands, unless they went on
    # after the end of the session.
    awk '$2 != $1 + 1 && ($2 > $1 || !/This is SMTP|Too many errors|A bare LF/) { print; bad = 1 }
        END { exit bad || NR < 25 }' counts
    # Not one in the middle of mail data, however much goes wrong there.
    [ "$(awk -F '\t' '$1 ~ /\.$/ { print $2 }' replies | cut -c 1-3 | xargs)" = \
        '250 451 554 554 552' ]
}

@test "RFC 3463 2: each 2yz, 4yz and 5yz has an enhanced code of the same class" {
    battery
    awk -F '\t' '$1 !~ /^(connect|EHLO \[|EHLO me|HELO me)/ && $2 !~ /^354 /' replies >coded
    [ "$(wc -l <coded)" -gt 300 ]
    # None has leading zeros.
    run -1 env LC_ALL=C grep -vE \
        $'\t(2[0-9][0-9][ -]2|4[0-9][0-9][ -]4|5[0-9][0-9][ -]5)\\.(0|[1-9][0-9]{0,2})\\.(0|[1-9][0-9]{0,2}) [!-~]' coded
}

@test "RFC 3463 2: the greeting, HELO's and EHLO's 250 and 354 have no enhanced code" {
    battery
    awk -F '\t' '$1 ~ /^(connect|EHLO \[|EHLO me|HELO me)/ || $2 ~ /^354 /' replies | cut -f 2 >bare
    [ "$(grep -cE '^(220|250|354)' bare)" -eq "$(wc -l <bare)" ]
    run -1 grep -qE '^...[ -][0-9]+\.[0-9]+\.[0-9]+( |.$)' bare
    [ "$(wc -l <bare)" -gt 100 ]
}

@test "RFC 3463 3: enhanced codes are those that RFC 3463 and RFC 6531 define" {
    battery
    cut -f 2 replies | sed -nE 's/^...[ -][245]\.([0-9]+\.[0-9]+) .*/\1/p' | sort -u >codes
    [ "$(wc -l <codes)" -ge 9 ]
    run -1 grep -vE '^(0\.0|1\.[0-8]|2\.[0-4]|3\.[0-5]|4\.[0-7]|5\.[0-5]|6\.[0-5]|7\.[0-7]|6\.7)$' codes
}

@test "RFC 5321 4.2.1: the lines of a reply all have one enhanced code, or none has" {
    battery
    cut -f 2 replies | awk '
        { code = substr($0, 5) ~ /^[245]\.[0-9]+\.[0-9]+ / ? substr($0, 5, 5) : "none" }
        on && code != first { print "not " first ": " $0; bad = 1 }
        !on { first = code }
        { on = substr($0, 4, 1) == "-"; several += on }
        END { exit bad || several < 100 }'
}

@test "RFC 5321 4.3.2: each command gets only the codes listed for it" {
    battery
    while read -r verb codes; do
        # Any command may get 500, 501 or 421.
        awk -F '\t' -v verb="$verb" -v listed=" 500 501 421 $codes " '
            { split($1, word, " ") }
            word[1] == verb || (verb == "." && $1 ~ /\.$/) {
                seen = 1
                if (!index(listed, " " substr($2, 1, 3) " ")) { print; bad = 1 }
            }
            END { exit bad || !seen }' replies
    done <<'END'
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
}

@test "RFC 5321 4.3.1: greeting, HELO, EHLO, 221 and 421 begin with our name" {
    battery '-n mx.example.net'
    for code in '220 ' '221 2.0.0 ' '421 4.7.0 '; do
        cut -f 2 replies | grep "^$code" >begin
        run -1 grep -v "^${code}mx.example.net " begin
    done
    # The first line of each 250 to HELO and EHLO.
    awk -F '\t' '/^[EH][HE]LO (me|\[)/ && $2 ~ /^250/ && before !~ /^250-/ { print $2 }
        { before = $2 }' replies >hello
    [ "$(grep -cE '^250[ -]mx\.example\.net ' hello)" -eq "$(wc -l <hello)" ]
    [ "$(wc -l <hello)" -gt 20 ]
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
    [ "$(wc -l <out)" -eq 1 ]
    [[ $(cat out) == "421 4.3.0 mx.example.net "*$'\r' ]]
}

@test "RFC 5321 4.2.2: a refusal says where it is written" {
    battery
    cut -f 2 replies | grep '^[45]' >refusals
    [ "$(sort -u refusals | wc -l)" -gt 25 ]
    run -1 grep -vE $'[a-z].*\\(RFC [0-9]+ (appendix )?[0-9A-F][0-9.]*\\)\r$' refusals
}

@test "RFC 5321 4.2: what a client sends is never sent back" {
    word=qZxJvK
    battery
    session "EHLO <$word>" "EHLO $word" "HELO $word" "$word" "MAIL FROM:<$word" "RCPT TO:<$word@localhost>" \
        "DATA $word" "RSET $word" "HELP $word" "QUIT $word" "EXPN $word" "NOOP \x01$word" "VRFY $word"
    session "EHLO $word.example" "MAIL FROM:<$word@b.example> $word=$word" \
        "MAIL FROM:<$word@b.example> SIZE=$word" "MAIL FROM:<$word@b.example>" \
        "RCPT TO:<$word@localhost> $word" "RCPT TO:<$word@$word.example>" \
        "RCPT TO:<$word@localhost>" DATA "Subject: $word\r\n$word\r\n." QUIT
    cut -f 2 replies >sent
    run -1 grep -qi "$word" sent
    # Nor as a format: no reply has what printf would make of these.
    : >replies
    session 'HELO <%s%n>' 'HELO %s%s%n' '%s%n%x' 'MAIL FROM:<%s%n@%d>' 'HELO me' 'MAIL FROM:<%s%n%100000d@b>' QUIT
    [ "$(cut -f 2 replies | cut -c 1-3 | xargs)" = '220 501 250 500 501 250 250 221' ]
    run -1 grep -q '%' <(cut -f 2 replies)
}

@test "RFC 5321 4.2.5: after a 4yz or 5yz to the data nothing is kept" {
    : >replies
    mkdir mail && : >mail/file
    for data in 'a\x00b' 'a\rb' 'a\nb' "$(printf 'Received: x\\r\\n%.0s' {1..101})" \
        "$(printf 'x%.0s' {1..66000})"; do
        options='-z 65536' session 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA "$data\r\n."
    done
    # A mailbox which can't be made, beside one which can.
    session 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' 'RCPT TO:<file@localhost>' DATA .
    [ "$(awk -F '\t' '$1 ~ /\.$/ { print $2 }' replies | cut -c 1-9 | xargs)" = \
        '554 5.6.0 554 5.6.0 554 5.6.0 554 5.4.6 552 5.3.4 451 4.3.0' ]
    [ "$(find mail -type f)" = mail/file ]
}

@test "RFC 5321 4.2.1: the same mistake again gets the same reply" {
    : >replies
    session EHLO FOOBAR DATA 'HELP x' TURN EHLO FOOBAR DATA 'HELP x' TURN
    [ "$(wc -l <replies)" -eq 11 ]
    [ "$(cut -f 2 replies | sed -n 2,6p)" = "$(cut -f 2 replies | sed -n 7,11p)" ]
}

@test "RFC 5321 4.2: only EHLO and HELP have replies of several lines" {
    printf '%s\r\n' 'HELO me' 'EHLO me' NOOP 'VRFY bob' 'EXPN x' FOOBAR 'HELP x' 'MAIL FROM:<>' \
        'RCPT TO:<x>' DATA 'RCPT TO:<bob@localhost>' DATA . 'MAIL FROM:<>' RSET QUIT >.asked
    talk <.asked >out
    grep '^...-' out >several
    [ "$(wc -l <several)" -eq 6 ]
    run -1 grep -v '^250-' several
    # What follows EHLO's lines is one line for each of the fourteen.
    [ "$(sed '1,/^250 HELP/d' out | wc -l)" -eq 14 ]
}
