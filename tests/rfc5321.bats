#!/usr/bin/env bats
# What RFC 5321 asks for and no test named by its section shows: rfc5321.tsv
# lists every requirement of a server, and the tests that show it.
load helpers

# Send bob a message of these lines; print the codes of the last two replies.
post() { # LINE...
    printf '%s\r\n' 'EHLO me' 'MAIL FROM:<a@b.example>' 'RCPT TO:<bob@localhost>' DATA "$@" . QUIT |
        talk | tail -n 2 | cut -c 1-9 | xargs
}

x() { printf 'x%.0s' $(seq "$1"); }

@test "RFC 5321 4.5.1: the nine verbs of the minimum, each of them good" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: EHLO me
S: 250-...
S: 250-...
S: 250-...
S: 250-...
S: 250-...
S: 250-...
S: 250 ...
C: NOOP
S: 250 ...
C: VRFY bob
S: 252 ...
C: MAIL FROM:<a@b.example>
S: 250 ...
C: RSET
S: 250 ...
C: MAIL FROM:<a@b.example>
S: 250 ...
C: RCPT TO:<bob@localhost>
S: 250 ...
C: DATA
S: 354 ...
C: Subject: the minimum
C: .
S: 250 ...
C: QUIT
S: 221 ...
END
    [ "$(tail -n 1 "$(message bob)")" = 'Subject: the minimum' ]
}

@test "RFC 5321 2.2.2: what begins with X is unknown here, verb and parameter" {
    serve
    dialogue <<'END'
S: 220 ...
C: EHLO me
S: 250-...
S: 250-...
S: 250-...
S: 250-...
S: 250-...
S: 250-...
S: 250 ...
C: XFOO
S: 500 5.5.1 ...
C: X-FOO bar
S: 500 5.5.1 ...
C: MAIL FROM:<a@b.example> XFOO
S: 555 5.5.4 ...
C: MAIL FROM:<a@b.example> X-FOO=bar
S: 555 5.5.4 ...
C: MAIL FROM:<a@b.example>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost> XFOO=bar
S: 555 5.5.4 ...
END
}

@test "RFC 5321 2.4: BODY=8BITMIME lets no 8-bit octet into an address" {
    serve
    dialogue <<'END'
S: 220 ...
C: EHLO me
S: 250-...
S: 250-...
S: 250-...
S: 250-...
S: 250-...
S: 250-...
S: 250 ...
X: MAIL FROM:<\xE9@b.example> BODY=8BITMIME\r\n
S: 553 5.6.7 ...
C: MAIL FROM:<a@b.example> BODY=8BITMIME
S: 250 2.1.0 ...
X: RCPT TO:<\xE9@localhost>\r\n
S: 553 5.6.7 ...
C: DATA
S: 554 5.5.1 ...
END
}

@test "RFC 5321 3.7.2: Received fields of any form are taken, and kept as they are" {
    cat >sent <<END
Received:
Received: $(x 10000)
Received: not by SMTP, and no date;;; (an open comment
Received : from (()) by "
	;
received:from a.example
END
    mapfile -t lines <sent
    [ "$(post "${lines[@]}")" = '250 2.0.0 221 2.0.0' ]
    tail -n 6 "$(message bob)" | diff sent -
}

@test "RFC 5321 4.3.2: DATA, RSET and QUIT with an argument get 501, and nothing changes" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: RSET x
S: 501 5.5.4 ...
C: MAIL FROM:<a@b.example>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA x
S: 501 5.5.4 ...
C: RSET x
S: 501 5.5.4 ...
C: QUIT x
S: 501 5.5.4 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
}

@test "RFC 5321 4.2: only EHLO and HELP have replies of several lines" {
    printf '%s\r\n' 'HELO me' 'EHLO me' NOOP 'VRFY bob' 'EXPN x' FOOBAR 'HELP x' 'MAIL FROM:<>' \
        'RCPT TO:<x>' DATA 'RCPT TO:<bob@localhost>' DATA . 'MAIL FROM:<>' RSET QUIT | talk >out
    grep '^...-' out >several
    [ "$(wc -l <several)" -eq 6 ]
    run ! grep -v '^250-' several
    # What follows EHLO's lines is one line for each of the fourteen.
    [ "$(sed '1,/^250 HELP/d' out | wc -l)" -eq 14 ]
}

@test "RFC 5321 4.1.1.10: a client that was cut off and sends again is kept once" {
    serve
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA 'Subject: again' |
        send_raw >out
    [ "$(tail -n 1 out | cut -c 1-3)" = 354 ]
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA 'Subject: again' . |
        send_raw >out
    [ "$(tail -n 1 out | cut -c 1-3)" = 250 ]
    wait_until no_sessions
    [ "$(find mail -type f | wc -l) $(mail_count bob)" = '1 1' ]
}

@test "RFC 5321 4.5.3.1: the least sizes of all kinds in one session" {
    # 512 octets of command, 255 of domain, 256 of path, 64 of local-part.
    domain=$(x 80).$(x 80).$(x 93)
    path="<$(x 64)@$(x 90).$(x 98)>"
    [ "${#domain} ${#path}" = '255 256' ]
    noop="NOOP $(x 505)"
    # A text line of 1000 octets with its CRLF, and one with a dot doubled.
    text=$(x 998)
    {
        printf '%s\r\n' "EHLO $domain" "$noop" "MAIL FROM:$path" "RCPT TO:<$(x 64)@localhost>"
        printf 'RCPT TO:<u%s@localhost>\r\n' {1..99}
        printf '%s\r\n' DATA 'Subject: least' '' "$text" "..${text#?}"
        # All in all 65536 octets.
        for _ in {1..63}; do printf '%s\r\n' "$text"; done
        printf '%s\r\n' "$(x 516)" . QUIT
    } >session
    sed '1,/^DATA/d; /^\.\r$/,$d; s/^\.//' session >message
    [ "$(wc -c <message)" -eq 65536 ]
    talk <session >out
    [ "$(sed 1,8d out | cut -c 1-9 | uniq -c | xargs)" = \
        '1 250 2.0.0 1 250 2.1.0 100 250 2.1.5 1 354 Start 1 250 2.0.0 1 221 2.0.0' ]
    [ "$(find mail -path '*/new/*' | wc -l)" -eq 100 ]
    body "$(message u99)" | cmp - <(sed '1,/^\r$/d' message | tr -d '\r')
}

@test "RFC 5321 4.5.3.1: lengths count octets, not characters" {
    # 122 characters of two octets each, and 12 octets beside them: 256.
    local=$(printf '\xC3\xA9%.0s' {1..122})
    printf '%s\r\n' 'EHLO me' "MAIL FROM:<x$local@b.example> SMTPUTF8" \
        "MAIL FROM:<$local@b.example> SMTPUTF8" | talk | tail -n 2 | cut -c 1-9 >out
    [ "$(xargs <out)" = '501 5.1.7 250 2.1.0' ]
}

@test "RFC 5321 4.5.3.1.8: a To field of 5000 addresses is no matter of recipients" {
    mapfile -t lines < <(printf ' user%s@elsewhere.example,\n' {1..5000})
    [ "$(post 'Subject: many' 'To: bob@localhost,' "${lines[@]}" ' last@elsewhere.example')" = \
        '250 2.0.0 221 2.0.0' ]
    [ "$(grep -c elsewhere "$(message bob)")" -eq 5001 ]
    [ "$(ls mail)" = bob ]
}

@test "RFC 5321 6.1: the answer to the final dot comes soon" {
    serve
    WAIT=2 dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: Subject: soon
C: .
S: 250 2.0.0 ...
END
}

@test "RFC 5321 6.2: a sender whose domain does not exist is taken, and the mail kept" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<nobody@no-such-domain.invalid>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
END
    [ "$(mail_count bob)" -eq 1 ]
}

@test "RFC 5321 7.2: only the envelope says who gets it, and no header field changes" {
    header=('To: carol@localhost' 'Cc: dave@localhost' 'Bcc: eve@localhost' 'From: frank@localhost')
    [ "$(post "${header[@]}")" = '250 2.0.0 221 2.0.0' ]
    [ "$(ls mail)" = bob ]
    [ "$(tail -n 4 "$(message bob)")" = "$(printf '%s\n' "${header[@]}")" ]
    rm -r mail
    [ "$(post 'Subject: to nobody')" = '250 2.0.0 221 2.0.0' ]
    # Our two fields, and the one that was sent.
    [ "$(grep -oE '^[A-Za-z-]+:' "$(message bob)" | xargs)" = 'Return-Path: Received: Subject:' ]
}

@test "RFC 5321 7.5: greeting and HELP name the software and its version" {
    printf 'HELP\r\n' | talk >out
    grep -qE '^220 mail\.example\.com ESMTP smtpd [0-9]+\.[0-9]+ ' out
    grep -qE '^214-2\.0\.0 .*smtpd [0-9]+\.[0-9]+' out
}
