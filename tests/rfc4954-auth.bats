#!/usr/bin/env bats
# AUTH, which -a offers: anyone may log in, with any name and password, but by
# the rules of RFC 4954, and no password is ever shown. Whole clients log in in
# option-a-clients.bats.

# shellcheck disable=SC2034,SC2154
load helpers

# RFC 4954 4.1's own: the name "test" and the password "test1234".
plain=dGVzdAB0ZXN0ADEyMzQ=

options=(-a) before=('EHLO me')

# The protocol that Received: names for this message.
with() { # PROTOCOL FILE
    look "$2"
    [[ $received == *" by mail.example.com with $1 id "* ]] || {
        echo "wanted with $1, got $received"
        return 1
    }
}

letter=('MAIL FROM:<a@example.org>' 'RCPT TO:<bob@localhost>' DATA 'Subject: x' .)
second=("${letter[0]}" 'RCPT TO:<carol@localhost>' "${letter[@]:2}")
kept='250 2.1.0 250 2.1.5 354 250 2.0.0'

@test "RFC 4954 3: EHLO says AUTH PLAIN LOGIN with -a, and only then; HELO never" {
    ask 'EHLO me'
    holds replies $'\r\n250-AUTH PLAIN LOGIN\r\n'
    ask 'HELO me'
    lacks replies AUTH
    options=()
    ask 'EHLO me'
    lacks replies AUTH
}

@test "RFC 4954 4: PLAIN in one step" {
    gets '235 2.7.0' "AUTH PLAIN $plain"
}

@test "RFC 4954 4: PLAIN in two steps, with a challenge of a space and nothing more" {
    gets '334 235 2.7.0' 'AUTH PLAIN' "$plain"
    holds replies $'\n334 \r\n'
}

@test "RFC 4954 4: LOGIN asks for the name, then for the password, both in base64" {
    gets '334 334 235 2.7.0' 'AUTH LOGIN' dGVzdA== MTIzNA==
    holds replies $'\n334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n'
}

@test "RFC 4954 4: LOGIN with the name at once asks for the password alone" {
    gets '334 235 2.7.0' 'AUTH LOGIN dGVzdA==' MTIzNA==
    holds replies $'\n334 UGFzc3dvcmQ6\r\n'
}

@test "RFC 4954 4: verbs and mechanisms in any case, spaces around them" {
    for line in "auth plain $plain" "Auth Plain  $plain" "AUTH  PLAIN $plain  "; do
        gets '235 2.7.0' "$line"
    done
    gets '334 334 235 2.7.0' 'auth login ' dGVzdA== MTIzNA==
}

@test "RFC 4954 4: any name and any password will do, as long as it is base64" {
    for answer in AAAA 'AAA=' 'AA==' '+/+/' "${xs:0:1000}" =; do
        gets '235 2.7.0' "AUTH PLAIN $answer"
        gets '334 235 2.7.0' "AUTH LOGIN $answer" AAAA
    done
    # What is asked for is empty if its line is.
    gets '334 235 2.7.0' 'AUTH PLAIN' ''
    gets '334 334 235 2.7.0' 'AUTH LOGIN' '' ''
}

@test "RFC 4954 4: * cancels, at each step, with 501 5.7.0" {
    gets '501 5.7.0 334 501 5.7.0 334 501 5.7.0 334 334 501 5.7.0 334 501 5.7.0 250 2.0.0 235 2.7.0' \
        \
        'AUTH PLAIN *' 'AUTH PLAIN' '*' 'AUTH LOGIN' '*' 'AUTH LOGIN' dGVzdA== '*' \
        'AUTH LOGIN dGVzdA==' '*' NOOP "AUTH PLAIN $plain"
}

@test "RFC 4954 4: what is not base64 gets 501 5.5.2, and ends the exchange" {
    local bad='501 5.5.2 250 2.0.0' wanted='' lines=()
    # The RFC's own two are the first.
    for answer in =AAA AAA=BBB A AA AAA A=== ==== AAAA= AA=A 'AAAA AAAA' AAA- AAA_ AAA*; do
        wanted+="$bad 334 $bad $bad 334 334 $bad $kept "
        # A message that is kept, or there would be too many blunders.
        lines+=("AUTH PLAIN $answer" NOOP 'AUTH PLAIN' "$answer" NOOP \
            "AUTH LOGIN $answer" NOOP 'AUTH LOGIN' AAAA "$answer" NOOP "${letter[@]}")
    done
    # = is for what is said at once.
    gets "${wanted}334 501 5.5.2 334 501 5.5.2 334 501 5.5.2" "${lines[@]}" 'AUTH PLAIN' = \
        'AUTH PLAIN' $'AAA\xc3\xa9' 'AUTH PLAIN' $'AA\tAA'
}

@test "RFC 4954 4: no mechanism gets 501 5.5.4, another one 504 5.5.4" {
    table AUTH <<END
501 5.5.4|
504 5.5.4| CRAM-MD5
504 5.5.4| PLAI $plain
504 5.5.4| PLAINLOGIN
504 5.5.4| XOAUTH2 AAAA
504 5.5.4| $plain
504 5.5.4| * PLAIN
504 5.5.4| =
END
    # Nothing more is waited for.
    gets '501 5.5.4 250 2.0.0 504 5.5.4 250 2.0.0' AUTH NOOP 'AUTH CRAM-MD5' NOOP
}

@test "RFC 4954 4: an answer that is too long gets 500, whole, and nothing of it is obeyed" {
    long=${xs:0:5000}
    gets '334 500 5.5.2 250 2.0.0 334 334 500 5.5.2 250 2.0.0 500 5.5.2 250 2.0.0' \
        'AUTH PLAIN' "$long" NOOP 'AUTH LOGIN' AAAA "$long" NOOP "AUTH PLAIN $long" NOOP
    # RFC 4616 2: three times 255 octets with two NULs between, which is 1024 in base64.
    gets '334 500 5.5.2 334 235 2.7.0' 'AUTH PLAIN' "${xs:0:1028}" 'AUTH PLAIN' "${xs:0:1024}"
}

@test "RFC 5321 2.3.8: a bare LF in an answer to AUTH closes the session" {
    printf '%b' 'EHLO me\r\nAUTH LOGIN\r\nAAAA\nAAAA\r\nNOOP\r\n' >.asked
    tell .asked
    [ "${codes[*]:1}" = '334 500 5.5.2' ]
    [[ $last == *' (RFC 5321 2.3.8)' ]]
    holds replies $'\n334 VXNlcm5hbWU6\r\n500 5.5.2 '
}

@test "RFC 4954 4: AUTH before EHLO, and after HELO, gets 503" {
    before=()
    gets '503 5.5.1 503 5.5.1 250 503 5.5.1 250 2.0.0' "AUTH PLAIN $plain" AUTH 'HELO me' \
        "AUTH PLAIN $plain" NOOP
    holds replies $'\n503 5.5.1 Send EHLO first (RFC 4954 4)\r\n250 2.0.0 '
    gets '250 503 5.5.1 250 235 2.7.0' 'HELO me' 'AUTH LOGIN' 'EHLO me' "AUTH PLAIN $plain"
}

@test "RFC 4954 4: after one that succeeded, a second AUTH gets 503, whatever comes between" {
    gets "235 2.7.0 503 5.5.1 250 2.0.0 503 5.5.1 250 2.0.0 503 5.5.1 250 2.0.0 503 5.5.1 250 2.0.0 \
503 5.5.1 250 2.0.0" "AUTH PLAIN $plain" "AUTH PLAIN $plain" NOOP 'AUTH LOGIN' NOOP 'AUTH PLAIN' NOOP \
        'AUTH CRAM-MD5' NOOP 'AUTH PLAIN *' NOOP
    gets "235 2.7.0 250 2.0.0 503 5.5.1 250 503 5.5.1 $kept 503 5.5.1" "AUTH PLAIN $plain" \
        RSET "AUTH PLAIN $plain" 'EHLO me' "AUTH PLAIN $plain" "${letter[@]}" "AUTH PLAIN $plain"
}

@test "RFC 4954 4: after one that failed, the client may try another, or do without" {
    gets '504 5.5.4 501 5.5.2 501 5.7.0 235 2.7.0' 'AUTH CRAM-MD5' 'AUTH PLAIN x' 'AUTH LOGIN *' \
        "AUTH PLAIN $plain"
    gets "501 5.5.2 $kept" 'AUTH PLAIN x' "${letter[@]}"
    with ESMTP mail/bob/new/*
}

@test "RFC 4954 4: AUTH in a transaction gets 503, and changes nothing there" {
    # It is over after DATA and RSET.
    gets "250 2.1.0 503 5.5.1 250 2.1.5 503 5.5.1 354 250 2.0.0 235 2.7.0" "${letter[0]}" \
        "AUTH PLAIN $plain" "${letter[1]}" 'AUTH LOGIN' "${letter[@]:2}" "AUTH PLAIN $plain"
    with ESMTP mail/bob/new/*
    gets '250 2.1.0 250 2.0.0 235 2.7.0' "${letter[0]}" RSET "AUTH PLAIN $plain"
}

@test "RFC 4954 4: a refused AUTH leaves the client's name and the session as they were" {
    before=('HELO me')
    gets "503 5.5.1 $kept" "AUTH PLAIN $plain" "${letter[@]}"
    with SMTP mail/bob/new/*
    [[ $received == 'from me by '* ]]
}

@test "RFC 4954 4: pipelined, AUTH PLAIN with its response is answered in its turn" {
    serve -a
    dialogue <<END
S: 220 ...
C: EHLO me
C: AUTH PLAIN $plain
C: MAIL FROM:<a@example.org>
C: RCPT TO:<bob@localhost>
C: NOOP
S*: 250 HELP
S: 235 2.7.0 ...
S: 250 2.1.0 ...
S: 250 2.1.5 ...
S: 250 2.0.0 ...
END
}

@test "RFC 4954 4: pipelined, what follows AUTH without a response is its response" {
    gets '334 501 5.5.2 503 5.5.1' 'AUTH PLAIN' "${letter[0]}" "${letter[1]}"
}

@test "RFC 4954 4: without -a AUTH gets 502 5.5.1, and HELP knows nothing of it" {
    options=()
    gets '502 5.5.1 250 2.0.0 502 5.5.1 250 2.0.0 502 5.5.1 250 2.0.0 502 5.5.1 250 2.0.0' \
        AUTH NOOP "AUTH PLAIN $plain" NOOP 'AUTH LOGIN' NOOP 'AUTH CRAM-MD5' NOOP
    gets '214 2.0.0 504 5.5.4' HELP 'HELP AUTH'
    lacks replies 'AUTH '
}

@test "RFC 5321 4.1.1.8: with -a, HELP explains AUTH, and lists it while it can be said" {
    gets '214 2.0.0 214 2.0.0' HELP 'HELP AUTH'
    # In the list, and where it is explained.
    holds replies $'\r\n214-2.0.0 AUTH mechanism \[response]\r\n*\r\n214-2.0.0 AUTH mechanism \[response]\r\n'
    [[ $last == '214 2.0.0 '*'RFC 4954 4' ]]
    # Where AUTH would be refused, the list is without it.
    before=()
    gets '250 214 2.0.0 250 235 2.7.0 214 2.0.0' 'HELO me' HELP 'EHLO me' "AUTH PLAIN $plain" HELP
    lacks replies 'AUTH mechanism'
}

@test "RFC 4954 5: MAIL takes AUTH= with any value, with -a after EHLO and only then" {
    gets '250 2.1.0 250 2.0.0 250 2.1.0 250 2.0.0 250 2.1.0 250 2.0.0 501 5.5.4 555 5.5.4' \
        'MAIL FROM:<> AUTH=<>' RSET 'MAIL FROM:<> AUTH=e+3Dmc2@example.com' RSET \
        'MAIL FROM:<> AUTH=eve' RSET 'MAIL FROM:<> AUTH' 'MAIL FROM:<> AUTHOR=<>'
    gets '235 2.7.0 250 2.1.0 250 2.0.0 250 2.1.0 250 2.0.0 250 2.1.0' "AUTH PLAIN $plain" \
        'MAIL FROM:<> SIZE=9 auth=<> BODY=7BIT' RSET \
        'MAIL FROM:<> SIZE=9 auth=e+3Dmc2@example.com BODY=7BIT' RSET \
        'MAIL FROM:<> SIZE=9 auth=eve BODY=7BIT'
    gets '250 555 5.5.4' 'HELO me' 'MAIL FROM:<> AUTH=<>'
    options=()
    gets '555 5.5.4' 'MAIL FROM:<> AUTH=<>'
}

@test "RFC 5321 4.4: Received: says ESMTPA after AUTH (RFC 3848), ESMTP without" {
    gets "$kept 235 2.7.0 $kept" "${letter[@]}" "AUTH PLAIN $plain" "${second[@]}"
    with ESMTP mail/bob/new/*
    with ESMTPA mail/carol/new/*
}

@test "RFC 6531 4.3: Received: says UTF8SMTPA with SMTPUTF8 after AUTH, UTF8SMTP without" {
    from='MAIL FROM:<zoë@example.org> SMTPUTF8'
    gets "$kept 334 334 235 2.7.0 $kept" "$from" "${letter[@]:1}" 'AUTH LOGIN' AAAA AAAA \
        "$from" "${second[@]:1}"
    with UTF8SMTP mail/bob/new/*
    with UTF8SMTPA mail/carol/new/*
}

@test "RFC 5321 4.4: after AUTH, HELO's mail is SMTP's, and EHLO's again ESMTPA's" {
    gets "235 2.7.0 250 $kept 250 $kept" "AUTH PLAIN $plain" 'HELO me' "${letter[@]}" \
        'EHLO me' "${second[@]}"
    with SMTP mail/bob/new/*
    with ESMTPA mail/carol/new/*
}

# Say this to smtpd -i, with -a and without. -v logs all that is logged without it.
say() { # TEXT [OPTIONS]
    printf '%b' "$1" >.asked
    talk -v -a "${@:2}" <.asked >replies
    talk -v "${@:2}" <.asked >>replies
    [ -s replies ]
}

# What stands for the password in all that follows, "hunter2", is not in the log.
hidden() {
    [ -s log ]
    lacks log hunter2
}

@test "log: a password at AUTH is never there, however the line is spoilt" {
    # Before EHLO, after it, and cut off.
    while IFS= read -r line; do
        say "$line\r\nEHLO me\r\n$line\r\nNOOP\r\n$line"
    done <<'END'
AUTH PLAIN hunter2x
AUTH PLAIN hunter2
auth plain  hunter2x hunter2x
AUTH LOGIN hunter2
AUTH hunter2
AUTH CRAM-MD5 hunter2
AUTHhunter2
  AUTH PLAIN hunter2
\t AUTH PLAIN hunter2
AUTH\tPLAIN hunter2
qAUTH PLAIN hunter2
AUTHH PLAIN hunter2
q\x7FAUTH PLAIN hunter2
\x1B[AAUTH PLAIN hunter2
\xFF\xF4\xFF\xFD\x06AUTH PLAIN hunter2
\xC3\xA9AUTH PLAIN hunter2
\x00AUTH PLAIN hunter2
AUTH\x00PLAIN hunter2
AUTH PLAIN \x00hunter2
AUTH PLAIN hunter2\x1B[D
\x00 AUTH PLAIN hunter2
\x1B[A AUTH PLAIN hunter2
q AUTH PLAIN hunter2
\b AUTH PLAIN hunter2
hello AUTH PLAIN hunter2
NOOP\rAUTH PLAIN hunter2
NOOP\x00AUTH PLAIN hunter2
AUTH PLAIN hunter2\rhunter2
END
    # After the first of them has succeeded, the cut off one came too late.
    say 'EHLO me\r\nAUTH PLAIN hunter2x'
    # With a bare LF no line is obeyed that follows.
    line='AUTH PLAIN hunter2\nAUTH PLAIN hunter2'
    say "$line\r\n"
    say "EHLO me\r\n$line\r\nNOOP\r\n"
    say "EHLO me\r\n$line"
    hidden
    holds log $' C: (not shown)\n'
    run -1 grep -E 'refused.*after: ([^A]|A[^]]*[^]A-Z])' log
}

@test "log: a password in the lines after AUTH is never there" {
    while IFS= read -r lines; do
        printf '%b' "EHLO me\r\n$lines" >.asked
        talk -v -a <.asked >replies
        holds replies $'\n334 '
    done <<'END'
AUTH PLAIN\r\nhunter2x\r\n
AUTH PLAIN\r\nhunter2\r\n
AUTH PLAIN\r\n  NOOP hunter2\r\n
AUTH PLAIN\r\nhunter2
AUTH PLAIN\r\n\x00hunter2\r\n
AUTH PLAIN\r\nhunter2\rhunter2\r\n
AUTH PLAIN\r\nhunter2\nhunter2\r\n
AUTH LOGIN\r\nhunter2x\r\nhunter2x\r\n
AUTH LOGIN\r\nhunter2x\r\nhunter2\r\n
AUTH LOGIN\r\nhunter2x\r\nhunter2
AUTH LOGIN hunter2x\r\nGET hunter2\r\n
AUTH LOGIN hunter2x\r\nhunter2\n
END
    hidden
    [ "$(grep -c ' C: (not shown)$' log)" -eq 25 ]
    run -1 grep 'after: [^A]' log
}

@test "log: a password in a line that is too long is never there" {
    long=${xs:0:1100}
    say "EHLO me\r\nAUTH PLAIN hunter2$long hunter2 $long hunter2\r\nNOOP\r\n"
    say "EHLO me\r\nAUTH PLAIN$long hunter2\r\nNOOP\r\n"
    say "EHLO me\r\nAUTH PLAIN$long$long$long hunter2"
    options=(-v -a)
    ask 'EHLO me' 'AUTH PLAIN' "hunter2$long hunter2 $long hunter2" NOOP
    hidden
    # It is one line, and the next is a command again.
    [ "${codes[*]:1}" = '334 500 5.5.2 250 2.0.0' ]
    [ "$(grep -c ' C: NOOP$' log)" -eq 5 ]
}

@test "log: a password is not there when time runs out, or smtpd stops, in the middle of AUTH" {
    serve -a -v -t 1
    dialogue <<'END'
S: 220 ...
C: EHLO me
S*: 250 HELP
C: AUTH LOGIN hunter2x
S: 334 UGFzc3dvcmQ6
X: hunter2
S: 421 4.4.2 ...
END
    dialogue --to "$SMTPD" -i -a -v -m mail <<'END'
S: 220 ...
C: EHLO me
S*: 250 HELP
C: AUTH LOGIN
S: 334 VXNlcm5hbWU6
C: hunter2x
S: 334 UGFzc3dvcmQ6
X: hunter2
$: kill -TERM $client
S: 421 4.3.2 ...
END
    wait_until holds log 'refused: 421 4.4.2'
    hidden
}

@test "log: an AUTH that was refused is there as AUTH alone, with client=" {
    ask 'EHLO me' 'AUTH PLAIN hunter2' 'AUTH LOGIN' 'hunter2'
    [ "${codes[*]:1}" = '501 5.5.2 334 501 5.5.2' ]
    options=()
    ask 'AUTH PLAIN hunter2'
    [ "${codes[*]}" = '502 5.5.1' ]
    [ "$(grep -c 'refused: 50[12] 5\.5\.[12] .* client=unknown \[after: AUTH\]$' log)" -eq 3 ]
}

@test "log: what comes after an AUTH that was refused are commands, and there as such" {
    gets '504 5.5.4 500 5.5.1 501 5.7.0 500 5.5.1 501 5.5.2 500 5.5.1' 'AUTH CRAM-MD5' first \
        'AUTH LOGIN *' second 'AUTH PLAIN x' third
    options=()
    gets '502 5.5.1 500 5.5.1 500 5.5.1' 'AUTH LOGIN' fourth fifth
    [ "$(sed -n 's/.*refused: 500 5\.5\.1 .*\[after: \(.*\)\]$/\1/p' log)" = \
        $'first\nsecond\nthird\nfourth\nfifth' ]
}

@test "log: what was said before and after AUTH is there" {
    gets "235 2.7.0 $kept 500 5.5.1" "AUTH PLAIN $plain" "${letter[@]}" AUTUMN
    options=(-a -v)
    gets '334 334 235 2.7.0 250 2.0.0' 'AUTH LOGIN' AAAA AAAA 'NOOP AUTH'
    for said in 'after: AUTUMN\]' ' C: EHLO me' ' C: NOOP AUTH' ' S: 334 VXNlcm5hbWU6' \
        ' S: 235 2.7.0 '; do
        holds log "$said"
    done
}

@test "-a: on an address that is not loopback, one line at the start says so" {
    need unshare
    user=--map-root-user
    [ "$(id -u)" -ne 0 ] || user=
    # A network of its own, which nobody reaches.
    # shellcheck disable=SC2086
    unshare -n $user true 2>/dev/null || skip "may have no network of its own here"
    # shellcheck disable=SC2086
    start unshare -n $user "$SMTPD" -p 0 -m mail -a -l 0.0.0.0
    wait_until holds log 'smtpd: -a: *0.0.0.0'
    end_server
    [ "$(grep -c '^smtpd: ' log)" -eq 2 ]
    # The same address, as the C library reads it too.
    # shellcheck disable=SC2086
    start unshare -n $user "$SMTPD" -p 0 -m mail -a -l 0
    wait_until holds log 'smtpd: -a: '
    end_server
    # Without -a there is nothing to say.
    # shellcheck disable=SC2086
    start unshare -n $user "$SMTPD" -p 0 -m mail -l 0.0.0.0
    end_server
    [ "$(grep -c '^smtpd: ' log)" -eq 1 ]
}

@test "-a: on loopback addresses nothing is said but the ready lines" {
    serve -a -l 127.0.0.1 -l 127.0.0.2
    dialogue <<'END'
S: 220 ...
C: QUIT
S: 221 ...
END
    [ "$(grep -c '^smtpd: ' log)" -eq 2 ]
    [ "$(grep -c '^smtpd: listening on ' log)" -eq 2 ]
}
