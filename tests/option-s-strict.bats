#!/usr/bin/env bats
# -s: only a mailbox which is there already, a directory mail/user, gets mail.

# shellcheck disable=SC2030,SC2031,SC2034,SC2154
load helpers

before=('EHLO me' 'MAIL FROM:<> SMTPUTF8') options=(-s)
yes='250 2.1.5'
no='550 5.1.1'

# What RCPT is answered for each of these addresses, all in one transaction.
rcpt() { # CODES ADDRESS...
    local addresses=("${@:2}")
    addresses=("${addresses[@]/%/>}")
    gets "$1" "${addresses[@]/#/RCPT TO:<}"
}

@test "-s: mail for who has no mailbox gets 550 5.1.1, the others get theirs" {
    mkdir -p mail/bob
    serve -s
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<carol@localhost>
S: 550 5.1.1 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: RCPT TO:<dave@localhost>
S: 550 5.1.1 ...
C: DATA
S: 354 ...
C: hello
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 ...
END
    mails bob 1
    mailboxes bob
}

@test "-s: when all recipients are refused DATA gets 503 and nothing is made" {
    serve -s
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<carol@localhost>
S: 550 5.1.1 ...
C: DATA
S: 503 5.5.1 ...
END
    mailboxes
    files mail 0
}

@test "-s: without it a mailbox is made by its first message, not by RCPT" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<carol@localhost>
S: 250 2.1.5 ...
$: [ ! -e mail/carol ]
C: DATA
S: 354 ...
C: hello
C: .
S: 250 2.0.0 ...
$: mails carol 1
END
}

@test "-s: case, quoting and served domain make no difference" {
    mkdir -p mail/bob mail/a%20b mail/j%C3%BCrgen mail/%2Ex
    rcpt "$yes $yes $yes $yes" bob@localhost BOB@example.com '"b\ob"@LOCALHOST' bob@mail.example.com
    rcpt "$yes $yes $yes $yes" '"a b"@localhost' '"A\ B"@localhost' jürgen@localhost '".X"@localhost'
    rcpt "$no 501 5.1.3 $no $no" '"bob "@localhost' bob.@localhost jÜrgen@localhost bo@localhost
    rcpt "550 5.7.1 $yes" bob@elsewhere.example @a.example:bob@localhost
}

@test "-s: what is no directory under the mail directory is no mailbox" {
    rows=()
    mkdir -p mail/bob/new mail/Carol outside mail/.hidden
    : >mail/file
    for local in file carol '"bob/new"' '"../outside"' '".."' '"."' '""' '".hidden"' hidden \
        "\"$PWD/outside\"" '"bob/"' '"bob\/."' '*' 'b?b' '%62ob'; do
        rows+=("$no|RCPT TO:<$local@localhost>")
    done
    rows
    rcpt "$yes" bob@localhost
}

@test "RFC 5321 4.5.1: -s: postmaster is there all the same, in any case" {
    options=(-s -d one.example)
    rcpt "$yes $yes $yes $yes" postmaster POSTMASTER PostMaster@one.example '"postmaster"@ONE.example'
    rcpt "550 5.7.1 $no $no" postmaster@elsewhere.example postmaster2@one.example post@one.example
    options=(-s)
    gets '250 2.1.5 354 250 2.0.0 221 2.0.0' 'RCPT TO:<Postmaster>' DATA hello . QUIT
    mails postmaster 1
}

@test "-s: a mailbox made while the server runs counts at once, one removed no more" {
    serve -s
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 550 5.1.1 ...
$: mkdir mail/bob
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: RSET
S: 250 ...
$: rmdir mail/bob
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 550 5.1.1 ...
END
}

@test "-s: with -d '*' too, only mailboxes which are there get mail" {
    mkdir -p mail/bob
    options=(-s -d '*')
    rcpt "$yes $no $yes" bob@anywhere.example carol@anywhere.example postmaster@anywhere.example
}

@test "RFC 5321 7.3: -s: VRFY tells nothing about who is there" {
    mkdir -p mail/bob
    ask 'VRFY bob' 'VRFY carol' 'VRFY bob@localhost'
    count 3 '252 2.0.0'
    [ "${said[1]}" = "${said[2]}" ]
    [ "${said[2]}" = "${said[3]}" ]
}
