#!/usr/bin/env bats
# -s: only a mailbox which is there already, a directory mail/user, gets mail.

load helpers

# The replies to RCPT for each of these addresses, all in one transaction: the
# codes, with | between them.
rcpt() { # ADDRESS...
    {
        printf 'EHLO me\r\nMAIL FROM:<> SMTPUTF8\r\n'
        printf 'RCPT TO:<%s>\r\n' "$@"
    } | talk -s "${options[@]}" | sed '/SMTPUTF8/,/2\.1\.0/d' |
        sed -nE 's/^([245][0-9]{2} [0-9.]+) .*/\1/p' | paste -s -d '|' -
}

options=()
yes='250 2.1.5'
no='550 5.1.1'

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
    [ "$(ls mail)" = bob ]
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
    [ -z "$(ls -A mail)" ]
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
    [ "$(rcpt bob@localhost BOB@example.com '"b\ob"@LOCALHOST' bob@mail.example.com)" = "$yes|$yes|$yes|$yes" ]
    [ "$(rcpt '"a b"@localhost' '"A\ B"@localhost' jürgen@localhost '".X"@localhost')" = "$yes|$yes|$yes|$yes" ]
    [ "$(rcpt '"bob "@localhost' bob.@localhost jÜrgen@localhost bo@localhost)" = "$no|501 5.1.3|$no|$no" ]
    [ "$(rcpt bob@elsewhere.example @a.example:bob@localhost)" = "550 5.7.1|$yes" ]
}

@test "-s: what is no directory under the mail directory is no mailbox" {
    mkdir -p mail/bob/new mail/Carol outside mail/.hidden
    : >mail/file
    for local in file carol '"bob/new"' '"../outside"' '".."' '"."' '""' '".hidden"' hidden \
        "\"$PWD/outside\"" '"bob/"' '"bob\/."' '*' 'b?b' '%62ob'; do
        echo "$local"
        [ "$(rcpt "$local@localhost")" = "$no" ]
    done
    [ "$(rcpt bob@localhost)" = "$yes" ]
}

@test "RFC 5321 4.5.1: -s: postmaster is there all the same, in any case" {
    options=(-d one.example)
    [ "$(rcpt postmaster POSTMASTER PostMaster@one.example '"postmaster"@ONE.example')" = "$yes|$yes|$yes|$yes" ]
    [ "$(rcpt postmaster@elsewhere.example postmaster2@one.example post@one.example)" = "550 5.7.1|$no|$no" ]
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<Postmaster>' DATA hello . QUIT |
        talk -s >replies
    grep -q '^250 2\.0\.0 ' replies
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
    options=(-d '*')
    [ "$(rcpt bob@anywhere.example carol@anywhere.example postmaster@anywhere.example)" = "$yes|$no|$yes" ]
}

@test "RFC 5321 7.3: -s: VRFY tells nothing about who is there" {
    mkdir -p mail/bob
    printf '%s\r\n' 'VRFY bob' 'VRFY carol' 'VRFY bob@localhost' >.asked
    talk -s <.asked >replies
    [ "$(grep -c '^252 2\.0\.0 ' replies)" -eq 3 ]
    [ "$(sed 1d replies | sort -u | wc -l)" -eq 1 ]
}
