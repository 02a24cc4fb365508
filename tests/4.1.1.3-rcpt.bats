#!/usr/bin/env bats
# RCPT: who shall have the message. What is an address, and what is not, is
# tested in 4.1.2-addresses.bats.

# shellcheck disable=SC2034,SC2154
load helpers

before=('HELO me' 'MAIL FROM:<>')

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
    files mail 2
}

@test "RFC 5321 4.1.1.3: what is no argument of RCPT gets 501: 5.1.3 for the path, else 5.5.4" {
    table RCPT <<'END'
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
    table RCPT <<'END'
250 2.1.5| to:<bob@localhost>
250 2.1.5| To:<bob@localhost>
250 2.1.5| TO: <bob@localhost>
250 2.1.5| TO:   <bob@localhost>
END
    gets '250 2.1.5 250 2.1.5' 'rcpt TO:<bob@localhost>' 'Rcpt tO:<bob@localhost>'
}

@test "RFC 5321 4.1.1: white space at the end is let pass, a TAB elsewhere is not" {
    gets '250 2.1.5 250 2.1.5 250 2.1.5 250 2.1.5 500 5.5.2' 'RCPT TO:<bob@localhost> ' \
        'RCPT TO:<bob@localhost>   ' $'RCPT TO:<bob@localhost>\t' \
        $'RCPT TO:<bob@localhost> \t \t' $'RCPT TO:\t<bob@localhost>'
}

@test "RFC 5321 4.1.1.11: RCPT has no parameters here: 555 5.5.4" {
    table RCPT <<'END'
555 5.5.4| TO:<bob@localhost> FOO
555 5.5.4| TO:<bob@localhost> FOO=BAR
555 5.5.4| TO:<bob@localhost>  X=1 Y=2
555 5.5.4| TO:<bob@localhost> NOTIFY=NEVER
555 5.5.4| TO:<bob@localhost> ORCPT=rfc822;bob@localhost
555 5.5.4| TO:<bob@localhost> SIZE=5
555 5.5.4| TO:<bob@localhost> SMTPUTF8
555 5.5.4| TO:<bob@[192.0.2.1]> FOO=a:b
END
    gets '555 5.5.4 503 5.5.1' 'RCPT TO:<bob@localhost> SIZE=5' DATA
}

@test "RFC 5321 3.6.2: only served domains are taken, the rest get 550 5.7.1" {
    table RCPT <<'END'
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
    options=(-d One.example -d two.example)
    table RCPT <<'END'
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
    options=(-d '*')
    table RCPT <<'END'
250 2.1.5| TO:<bob@anywhere.example>
250 2.1.5| TO:<bob@localhost>
250 2.1.5| TO:<bob@x>
250 2.1.5| TO:<bob@[192.0.2.1]>
250 2.1.5| TO:<bob@[IPv6:2001:db8::1]>
501 5.1.3| TO:<bob@[192.0.2]>
501 5.1.3| TO:<bob>
501 5.1.3| TO:<bob@>
END
    gets '250 2.1.5 250 2.1.5 354 250 2.0.0' 'RCPT TO:<bob@one.example>' \
        'RCPT TO:<carol@two.example>' DATA .
    mails bob 1 carol 1
}

@test "-s: a mailbox must be there already, or 550 5.1.1" {
    mkdir -p mail/bob mail/o%27neil && : >mail/file
    options=(-s)
    table RCPT <<'END'
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
    mailboxes bob file o%27neil
    files mail 1
}

@test "RFC 5321 3.3: without -s a mailbox is made by its first message, not by RCPT" {
    gets '250 2.1.5' 'RCPT TO:<bob@localhost>'
    [ ! -e mail/bob ]
    gets '250 2.1.5 354 250 2.0.0' 'RCPT TO:<bob@localhost>' DATA .
    mails bob 1
}

@test "RFC 5321 4.5.1: postmaster is taken at any served domain and without one, -s or not" {
    for strict in '' -s; do
        # shellcheck disable=SC2206
        options=(-d one.example -d two.example $strict)
        table RCPT <<'END'
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
    options=(-s)
    gets '250 2.1.5 354 250 2.0.0 250 2.1.0 250 2.1.5 354 250 2.0.0' 'RCPT TO:<Postmaster>' DATA . \
        'MAIL FROM:<>' 'RCPT TO:<postMaster@example.com>' DATA .
    mailboxes postmaster
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
    options=(-d '[192.0.2.1]' -d '[IPv6:2001:DB8::a]')
    table RCPT <<'END'
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
    gets '250 2.1.5 354 250 2.0.0' 'RCPT TO:<bob@[192.0.2.1]>' DATA .
    look mail/bob/new/*
    [[ $received == *'for <bob@[192.0.2.1]>;'* ]]
}

@test "RFC 5321 4.1.3: -d's address literal is compared as text: no other spelling is it" {
    options=(-d '[192.0.2.1]' -d '[IPv6:2001:db8::1]')
    table RCPT <<'END'
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
    table RCPT <<'END'
250 2.1.5| TO:<@hosta.int,@jkl.org:userc@localhost>
250 2.1.5| TO:<@hosta.int:userc@localhost>
550 5.7.1| TO:<@localhost:userc@d.bar.org>
501 5.1.3| TO:<@localhost>
501 5.1.3| TO:<@localhost:>
501 5.1.3| TO:<@localhost:postmaster>
END
    gets '250 2.1.5 354 250 2.0.0' 'RCPT TO:<@hosta.int,@jkl.org:userc@localhost>' DATA .
    mails userc 1
    look mail/userc/new/*
    [[ $received == *'for <userc@localhost>;'* ]]
}

@test "RFC 5321 4.5.3.1.3: a path of 256 octets is taken, one of 257 is not" {
    # <, >, @ and the domain are 12 octets. RFC 5321 4.5.3.1.2: the domain of the
    # last three may have 255, were they to fit.
    table RCPT <<END
250 2.1.5| TO:<${xs:0:244}@localhost>
501 5.1.3| TO:<${xs:0:245}@localhost>
250 2.1.5| TO:<@a.example:${xs:0:233}@localhost>
501 5.1.3| TO:<@a.example:${xs:0:234}@localhost>
550 5.7.1| TO:<b@${xs:0:252}>
501 5.1.3| TO:<b@${xs:0:253}>
501 5.1.3| TO:<b@${xs:0:256}>
END
}

@test "RFC 5321 4.5.3.1: a local-part may be longer than 64 octets, and is not cut" {
    gets '250 2.1.5 250 2.1.5 354 250 2.0.0' "RCPT TO:<${xs:0:65}@localhost>" \
        "RCPT TO:<${xs:0:244}@localhost>" DATA .
    mails "${xs:0:65}" 1 "${xs:0:244}" 1
}

@test "RFC 5321 4.5.3.1: a mailbox whose directory's name would be too long gets 501 5.1.3" {
    # Each ! is written %21: 255 octets are the longest name of a file.
    bangs=${xs:0:85} bangs=${bangs//x/!}
    gets '501 5.1.3 501 5.1.3 250 2.1.5 354 250 2.0.0' "RCPT TO:<x$bangs@localhost>" \
        "RCPT TO:<!$bangs@localhost>" "RCPT TO:<$bangs@localhost>" DATA .
    mailboxes "${bangs//!/%21}"
}

@test "RFC 5321 4.5.3.1.8: 100 recipients are taken, and all get the message" {
    mapfile -t recipients < <(printf 'RCPT TO:<user%s@localhost>\n' {1..100})
    ask "${before[@]}" "${recipients[@]}" DATA .
    count 100 '250 2.1.5'
    [ "$code" = '250 2.0.0' ]
    files mail 100
    mails user1 1 user50 1 user100 1
}

@test "RFC 5321 4.5.3.1.10: the 101st recipient gets 452 4.5.3, and those before stand" {
    local i recipients=()
    for i in {1..103}; do recipients+=("RCPT TO:<user$i@localhost>"); done
    # One of the hundred, said again, is no new one.
    ask "${before[@]}" "${recipients[@]}" "${recipients[6]}" DATA . \
        'MAIL FROM:<>' "${recipients[100]}" DATA .
    for i in {1..100}; do [ "${codes[i + 1]}" = '250 2.1.5' ]; done
    [ "${codes[*]:102}" = '452 4.5.3 452 4.5.3 452 4.5.3 250 2.1.5 354 250 2.0.0 250 2.1.0 250 2.1.5 354 250 2.0.0' ]
    files mail 101
}

@test "RFC 5321 4.1.1.3: a mailbox named several times gets one copy" {
    # RFC 5321 4.1.2: "all quoted forms MUST be treated as equivalent".
    gets '250 2.1.5 250 2.1.5 250 2.1.5 250 2.1.5 250 2.1.5 250 2.1.5 354 250 2.0.0' \
        'RCPT TO:<bob@localhost>' 'RCPT TO:<bob@localhost>' 'RCPT TO:<BOB@example.com>' \
        'RCPT TO:<"bob"@localhost>' 'RCPT TO:<"b\o\b"@localhost>' \
        'RCPT TO:<@a.example:Bob@mail.example.com>' DATA .
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
    ask "${before[@]}" 'RCPT TO:<""@localhost>'
    [[ $code == 5* ]]
    options=(-s)
    ask "${before[@]}" 'RCPT TO:<""@localhost>'
    [[ $code == 5* ]]
    files mail 0
}

@test "RFC 5321 4.5.3.1.8: a To field of 5000 addresses is no matter of recipients" {
    mapfile -t lines < <(printf ' user%s@elsewhere.example,\n' {1..5000})
    gets '250 2.1.5 354 250 2.0.0 221 2.0.0' 'RCPT TO:<bob@localhost>' DATA 'Subject: many' \
        'To: bob@localhost,' "${lines[@]}" ' last@elsewhere.example' . QUIT
    [ "$(grep -c elsewhere mail/bob/new/*)" -eq 5001 ]
    mailboxes bob
}
