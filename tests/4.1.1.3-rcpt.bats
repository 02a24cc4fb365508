#!/usr/bin/env bats
# RCPT: who shall have the message. What is an address, and what is not, is
# tested in 4.1.2-addresses.bats.

# shellcheck disable=SC2034,SC2154
load helpers

# What RCPT is answered in a transaction. OPTIONS are smtpd's.
rcpt() { # ARGUMENT [OPTIONS...]
    local options=("${@:2}")
    ask "${before[@]}" "RCPT$1"
    echo "$code"
}
before=('HELO me' 'MAIL FROM:<>')

# Each line of the table on standard input: CODES|ARGUMENT of RCPT
check() { # [OPTIONS...]
    local want argument options=("$@")
    while IFS='|' read -r want argument; do
        ask "${before[@]}" "RCPT$argument"
        [ "$code" = "$want" ] || {
            echo "RCPT$argument: wanted $want, got $code"
            return 1
        }
    done
}

@test "RFC 5321 4.1.1.3: RCPT names one recipient each time, and gets 250 2.1.5" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: RCPT TO:<carol@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: Subject: hello
C: .
S: 250 2.0.0 ...
END
    mails bob 1 carol 1
    [ "$(find mail -path '*/new/*' | wc -l)" -eq 2 ]
}

@test "RFC 5321 4.1.1.3: what is no argument of RCPT gets 501: 5.1.3 for the path, else 5.5.4" {
    check <<'END'
501 5.5.4|
501 5.5.4| TO
501 5.1.3| TO:
501 5.1.3| TO:<>
501 5.5.4| TO bob@localhost
501 5.5.4| TO <bob@localhost>
501 5.5.4| TO :<bob@localhost>
501 5.1.3| TO:bob@localhost
501 5.1.3| TO:<bob@localhost
501 5.1.3| TO:bob@localhost>
501 5.1.3| TO:<<bob@localhost>>
501 5.1.3| TO:Bob <bob@localhost>
501 5.1.3| TO:< bob@localhost>
501 5.1.3| TO:<bob@localhost >
501 5.1.3| TO:<bob>
501 5.1.3| TO:postmaster
501 5.1.3| TO:<bob@localhost>,<carol@localhost>
501 5.1.3| TO:<bob@localhost>x
501 5.5.4| FROM:<bob@localhost>
501 5.5.4| <bob@localhost>
501 5.5.4| bob
END
}

@test "RFC 5321 2.4: TO and RCPT are the same in any case, spaces after the colon pass" {
    check <<'END'
250 2.1.5| to:<bob@localhost>
250 2.1.5| To:<bob@localhost>
250 2.1.5| TO: <bob@localhost>
250 2.1.5| TO:   <bob@localhost>
END
    [ "$(answers 'rcpt TO:<bob@localhost>' 'Rcpt tO:<bob@localhost>')" = '250 2.1.5 250 2.1.5' ]
}

@test "RFC 5321 4.1.1: white space at the end is let pass, a TAB elsewhere is not" {
    for end in ' ' '   ' $'\t' $' \t \t'; do
        [ "$(rcpt " TO:<bob@localhost>$end")" = '250 2.1.5' ]
    done
    [ "$(rcpt $' TO:\t<bob@localhost>')" = '500 5.5.2' ]
}

@test "RFC 5321 4.1.1.11: RCPT has no parameters here: 555 5.5.4" {
    check <<'END'
555 5.5.4| TO:<bob@localhost> FOO
555 5.5.4| TO:<bob@localhost> FOO=BAR
555 5.5.4| TO:<bob@localhost>  X=1 Y=2
555 5.5.4| TO:<bob@localhost> NOTIFY=NEVER
555 5.5.4| TO:<bob@localhost> ORCPT=rfc822;bob@localhost
555 5.5.4| TO:<bob@localhost> SIZE=5
555 5.5.4| TO:<bob@localhost> SMTPUTF8
555 5.5.4| TO:<bob@[192.0.2.1]> FOO=a:b
END
    [ "$(answers 'RCPT TO:<bob@localhost> SIZE=5' DATA)" = '555 5.5.4 503 5.5.1' ]
}

@test "RFC 5321 3.6.2: only served domains are taken, the rest get 550 5.7.1" {
    check <<'END'
250 2.1.5| TO:<bob@localhost>
250 2.1.5| TO:<bob@example.com>
250 2.1.5| TO:<bob@mail.example.com>
250 2.1.5| TO:<bob@LocalHost>
250 2.1.5| TO:<bob@Mail.EXAMPLE.Com>
550 5.7.1| TO:<bob@example.net>
550 5.7.1| TO:<bob@www.example.com>
550 5.7.1| TO:<bob@com>
550 5.7.1| TO:<bob@xexample.com>
550 5.7.1| TO:<bob@example.comx>
550 5.7.1| TO:<bob@localhost.localdomain>
550 5.7.1| TO:<bob@[192.0.2.1]>
550 5.7.1| TO:<bob@[IPv6:2001:db8::1]>
550 5.7.1| TO:<bob%elsewhere.example@elsewhere.example>
END
}

@test "-d: only these domains are served, not the defaults" {
    check -d One.example -d two.example <<'END'
250 2.1.5| TO:<bob@one.example>
250 2.1.5| TO:<bob@ONE.Example>
250 2.1.5| TO:<bob@two.example>
550 5.7.1| TO:<bob@localhost>
550 5.7.1| TO:<bob@example.com>
550 5.7.1| TO:<bob@mail.example.com>
550 5.7.1| TO:<bob@example>
END
}

@test "-d '*': every domain is served, and mail for it kept here" {
    check -d '*' <<'END'
250 2.1.5| TO:<bob@anywhere.example>
250 2.1.5| TO:<bob@localhost>
250 2.1.5| TO:<bob@x>
250 2.1.5| TO:<bob@[192.0.2.1]>
250 2.1.5| TO:<bob@[IPv6:2001:db8::1]>
501 5.1.3| TO:<bob@[192.0.2]>
501 5.1.3| TO:<bob>
501 5.1.3| TO:<bob@>
END
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@one.example>' \
        'RCPT TO:<carol@two.example>' DATA . >.asked
    talk -d '*' <.asked >out
    mails bob 1 carol 1
}

@test "-s: a mailbox must be there already, or 550 5.1.1" {
    mkdir -p mail/bob mail/o%27neil && : >mail/file
    check -s <<'END'
250 2.1.5| TO:<bob@localhost>
250 2.1.5| TO:<Bob@example.com>
250 2.1.5| TO:<"BOB"@localhost>
250 2.1.5| TO:<O'Neil@localhost>
550 5.1.1| TO:<carol@localhost>
550 5.1.1| TO:<bobby@localhost>
550 5.1.1| TO:<file@localhost>
550 5.1.1| TO:<"bob/new"@localhost>
550 5.1.1| TO:<"."@localhost>
550 5.1.1| TO:<"../mail/bob"@localhost>
550 5.7.1| TO:<bob@elsewhere.example>
END
    [ "$(find mail -mindepth 1 | wc -l)" -eq 3 ]
}

@test "RFC 5321 3.3: without -s a mailbox is made by its first message, not by RCPT" {
    [ "$(rcpt ' TO:<bob@localhost>')" = '250 2.1.5' ]
    [ ! -e mail/bob ]
    [ "$(answers 'RCPT TO:<bob@localhost>' DATA .)" = '250 2.1.5 354 250 2.0.0' ]
    mails bob 1
}

@test "RFC 5321 4.5.1: postmaster is taken at any served domain and without one, -s or not" {
    for strict in '' -s; do
        # shellcheck disable=SC2086
        check -d one.example -d two.example $strict <<'END'
250 2.1.5| TO:<postmaster>
250 2.1.5| TO:<Postmaster>
250 2.1.5| TO:<POSTMASTER>
250 2.1.5| TO:<pOSTmaster@one.example>
250 2.1.5| TO:<Postmaster@TWO.example>
250 2.1.5| TO:<"postmaster"@one.example>
550 5.7.1| TO:<postmaster@elsewhere.example>
501 5.1.3| TO:<postmaster@>
501 5.1.3| TO:<postmasters>
501 5.1.3| TO:<xpostmaster>
555 5.5.4| TO:<postmaster> FOO
501 5.1.3| TO:<postmaster>x
END
    done
}

@test "RFC 5321 4.5.1: mail for postmaster, with a domain or without, is one mailbox's" {
    for path in '<Postmaster>' '<postMaster@example.com>'; do
        printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' "RCPT TO:$path" DATA . >.asked
        talk -s <.asked >out
        [[ $(tail -n 1 out) == "250 2.0.0 "* ]]
    done
    [ "$(ls mail)" = postmaster ]
    mails postmaster 2
}

@test "RFC 5321 4.1.3: a mailbox at an address literal is ours only where -d names it" {
    # Not that by which we were reached, nor that of -n.
    serve -n '[192.0.2.1]' -d one.example
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@[127.0.0.1]>
S: 550 5.7.1 ...
C: RCPT TO:<Postmaster@[127.0.0.1]>
S: 550 5.7.1 ...
C: RCPT TO:<bob@[192.0.2.1]>
S: 550 5.7.1 ...
C: RCPT TO:<bob@one.example>
S: 250 2.1.5 ...
END
    check -d '[192.0.2.1]' -d '[IPv6:2001:DB8::a]' <<'END'
250 2.1.5| TO:<bob@[192.0.2.1]>
250 2.1.5| TO:<Postmaster@[192.0.2.1]>
250 2.1.5| TO:<bob@[IPv6:2001:DB8::a]>
250 2.1.5| TO:<bob@[ipv6:2001:db8::A]>
250 2.1.5| TO:<postmaster>
550 5.7.1| TO:<bob@[192.0.2.2]>
550 5.7.1| TO:<bob@[127.0.0.1]>
550 5.7.1| TO:<bob@[IPv6:2001:db8::b]>
550 5.7.1| TO:<bob@192.0.2.1>
550 5.7.1| TO:<bob@localhost>
550 5.7.1| TO:<bob@mail.example.com>
END
    before=('HELO me' 'MAIL FROM:<>')
    options=(-d '[192.0.2.1]')
    [ "$(answers 'RCPT TO:<bob@[192.0.2.1]>' DATA .)" = '250 2.1.5 354 250 2.0.0' ]
    [[ $(field Received mail/bob/new/*) == *'for <bob@[192.0.2.1]>;'* ]]
}

@test "RFC 5321 4.1.3: -d's address literal is compared as text: no other spelling is it" {
    check -d '[192.0.2.1]' -d '[IPv6:2001:db8::1]' <<'END'
550 5.7.1| TO:<bob@[192.0.2.001]>
550 5.7.1| TO:<bob@[192.0.02.1]>
550 5.7.1| TO:<bob@[IPv6:2001:db8:0::1]>
550 5.7.1| TO:<bob@[IPv6:2001:0db8::1]>
550 5.7.1| TO:<bob@[IPv6:2001:db8:0:0:0:0:0:1]>
550 5.7.1| TO:<bob@[IPv6:2001:db8::0.0.0.1]>
250 2.1.5| TO:<bob@[IPv6:2001:db8::1]>
END
}

@test "RFC 5321 4.1.1.3: a source route is accepted, and the mailbox after it counts" {
    check <<'END'
250 2.1.5| TO:<@hosta.int,@jkl.org:userc@localhost>
250 2.1.5| TO:<@hosta.int:userc@localhost>
550 5.7.1| TO:<@localhost:userc@d.bar.org>
501 5.1.3| TO:<@localhost>
501 5.1.3| TO:<@localhost:>
501 5.1.3| TO:<@localhost:postmaster>
END
    [ "$(answers 'RCPT TO:<@hosta.int,@jkl.org:userc@localhost>' DATA .)" = '250 2.1.5 354 250 2.0.0' ]
    mails userc 1
    [[ $(field Received mail/userc/new/*) == *'for <userc@localhost>;'* ]]
}

@test "RFC 5321 4.5.3.1.3: a path of 256 octets is taken, one of 257 is not" {
    # <, >, @ and the domain are 12 octets.
    [ "$(rcpt " TO:<$(x 244)@localhost>")" = '250 2.1.5' ]
    [ "$(rcpt " TO:<$(x 245)@localhost>")" = '501 5.1.3' ]
    [ "$(rcpt " TO:<@a.example:$(x 233)@localhost>")" = '250 2.1.5' ]
    [ "$(rcpt " TO:<@a.example:$(x 234)@localhost>")" = '501 5.1.3' ]
    # RFC 5321 4.5.3.1.2: the domain may have 255 octets, were they to fit.
    [ "$(rcpt " TO:<b@$(x 252)>")" = '550 5.7.1' ]
    [ "$(rcpt " TO:<b@$(x 253)>")" = '501 5.1.3' ]
    [ "$(rcpt " TO:<b@$(x 256)>")" = '501 5.1.3' ]
}

@test "RFC 5321 4.5.3.1: a local-part may be longer than 64 octets, and is not cut" {
    [ "$(answers "RCPT TO:<$(x 65)@localhost>" "RCPT TO:<$(x 244)@localhost>" DATA .)" = \
        '250 2.1.5 250 2.1.5 354 250 2.0.0' ]
    mails "$(x 65)" 1 "$(x 244)" 1
}

@test "RFC 5321 4.5.3.1: a mailbox whose directory's name would be too long gets 501 5.1.3" {
    # Each ! is written %21: 255 octets are the longest name of a file.
    bangs=$(x 85 | tr x '!')
    [ "$(answers "RCPT TO:<$bangs@localhost>" DATA .)" = '250 2.1.5 354 250 2.0.0' ]
    [ "$(ls mail)" = "${bangs//!/%21}" ]
    [ "$(rcpt " TO:<x$bangs@localhost>")" = '501 5.1.3' ]
    [ "$(rcpt " TO:<!$bangs@localhost>")" = '501 5.1.3' ]
}

@test "RFC 5321 4.5.3.1.8: 100 recipients are taken, and all get the message" {
    { printf '%s\r\n' 'HELO me' 'MAIL FROM:<>'
        printf 'RCPT TO:<user%s@localhost>\r\n' {1..100}
        printf '%s\r\n' DATA . QUIT; } | talk >out
    [ "$(grep -c '^250 2.1.5 ' out)" -eq 100 ]
    [ "$(grep -c '^250 2.0.0 ' out)" -eq 1 ]
    [ "$(find mail -path '*/new/*' | wc -l)" -eq 100 ]
}

@test "RFC 5321 4.5.3.1.10: the 101st recipient gets 452 4.5.3, and those before stand" {
    { printf '%s\r\n' 'HELO me' 'MAIL FROM:<>'
        printf 'RCPT TO:<user%s@localhost>\r\n' {1..103}
        # One of the hundred, said again, is no new one.
        printf '%s\r\n' 'RCPT TO:<user7@localhost>' DATA . 'MAIL FROM:<>' \
            'RCPT TO:<user101@localhost>' DATA .; } | talk >out
    [ "$(sed 1,3d out | sed 's/^354.*/354/' | cut -c 1-9 | uniq -c | xargs)" = \
        '100 250 2.1.5 3 452 4.5.3 1 250 2.1.5 1 354 1 250 2.0.0 1 250 2.1.0 1 250 2.1.5 1 354 1 250 2.0.0' ]
    [ "$(find mail -path '*/new/*' | wc -l)" -eq 101 ]
}

@test "RFC 5321 4.1.1.3: a mailbox named several times gets one copy" {
    # RFC 5321 4.1.2: "all quoted forms MUST be treated as equivalent".
    [ "$(answers 'RCPT TO:<bob@localhost>' 'RCPT TO:<bob@localhost>' 'RCPT TO:<BOB@example.com>' \
        'RCPT TO:<"bob"@localhost>' 'RCPT TO:<"b\o\b"@localhost>' \
        'RCPT TO:<@a.example:Bob@mail.example.com>' DATA .)" = \
        '250 2.1.5 250 2.1.5 250 2.1.5 250 2.1.5 250 2.1.5 250 2.1.5 354 250 2.0.0' ]
    files mail 1
    mails bob 1
}

@test "RFC 5321 4.1.1.3: a refused RCPT leaves those before and after alone" {
    mkdir -p mail/bob mail/carol
    serve -s
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: RCPT TO:<dave@localhost>
S: 550 5.1.1 ...
C: RCPT TO:<bob@elsewhere.example>
S: 550 5.7.1 ...
C: RCPT TO:carol
S: 501 5.1.3 ...
C: RCPT TO:<carol@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
END
    mails bob 1 carol 1
    files mail 2
}

@test "RFC 5321 4.1.1.3: an empty local-part names no mailbox" {
    [[ $(rcpt ' TO:<""@localhost>') == 5* ]]
    [[ $(rcpt ' TO:<""@localhost>' -s) == 5* ]]
    files mail 0
}

@test "RFC 5321 4.5.3.1.8: a To field of 5000 addresses is no matter of recipients" {
    mapfile -t lines < <(printf ' user%s@elsewhere.example,\n' {1..5000})
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA 'Subject: many' \
        'To: bob@localhost,' "${lines[@]}" ' last@elsewhere.example' . QUIT >.asked
    talk <.asked >out
    [ "$(tail -n 2 out | cut -c 1-9 | xargs)" = '250 2.0.0 221 2.0.0' ]
    [ "$(grep -c elsewhere mail/bob/new/*)" -eq 5001 ]
    [ "$(ls mail)" = bob ]
}
