#!/usr/bin/env bats
# Exercise vrfy: VRFY tells friends, who are on this very host, and nobody else.

SMTPD=${SMTPD:-$BATS_TEST_DIRNAME/../../../smtpd}
load ../../helpers

# The replies to these commands, the greeting's left out. FROM is the client's
# address.
asked() { # COMMAND...
    printf '%s\r\n' "$@" | TCPREMOTEIP=${FROM-127.0.0.1} talk "${OPTIONS[@]}" | sed 1d | tr -d '\r'
}

OPTIONS=(-d example.com)

with_mailboxes() { mkdir -p mail/bob mail/carol%20smith; }

@test "RFC 5321 3.5.2: vrfy: who has a mailbox is told with the address in brackets" {
    with_mailboxes
    [ "$(asked 'VRFY bob')" = '250 2.1.5 <bob@example.com>' ]
}

@test "RFC 5321 3.5.1: vrfy: a name, an address, or either in brackets" {
    with_mailboxes
    [ "$(asked 'VRFY bob@example.com' 'VRFY <bob@example.com>' 'VRFY <bob>' 'vrfy bob' | uniq)" = \
        '250 2.1.5 <bob@example.com>' ]
    [ "$(asked 'VRFY "carol smith"')" = '250 2.1.5 <"carol smith"@example.com>' ]
}

@test "RFC 5321 2.4: vrfy: the domain in any case, the name too" {
    with_mailboxes
    [[ $(asked 'VRFY bob@EXAMPLE.com') == '250 2.1.5 <bob@'* ]]
    [[ $(asked 'VRFY BOB') == '250 2.1.5 <'[Bb]* ]]
}

@test "RFC 5321 3.5.2: vrfy: what the reply names, RCPT takes" {
    with_mailboxes
    OPTIONS=(-s -d example.com)
    for name in bob BOB '"carol smith"' postmaster; do
        path=$(asked "VRFY $name" | sed -n 's/^250 2\.1\.5 //p')
        [ -n "$path" ]
        [[ $(asked 'HELO me' 'MAIL FROM:<>' "RCPT TO:$path" | tail -n 1) == '250 2.1.5 '* ]]
    done
}

@test "RFC 5321 3.5.2: vrfy: the domain has a dot, where there is such a one" {
    with_mailboxes
    OPTIONS=()
    [ "$(asked 'VRFY bob@localhost')" = '250 2.1.5 <bob@example.com>' ]
    OPTIONS=(-d '*')
    [[ $(asked 'VRFY bob@wherever.example') == '250 2.1.5 <bob@'*.example*'>' ]]
}

@test "RFC 5321 3.5.3: vrfy: without -s, who has no mailbox yet could get one: 252" {
    with_mailboxes
    [[ $(asked 'VRFY dave') == '252 2.0.0 '* ]]
    [ ! -e mail/dave ]
}

@test "RFC 5321 3.5.1: vrfy: with -s, who has none gets 550 5.1.1" {
    with_mailboxes
    OPTIONS=(-s -d example.com)
    [[ $(asked 'VRFY dave') == '550 5.1.1 '* ]]
    [ "$(asked 'VRFY bob')" = '250 2.1.5 <bob@example.com>' ]
}

@test "RFC 5321 4.5.1: vrfy: postmaster is always there" {
    with_mailboxes
    OPTIONS=(-s -d example.com)
    [ "$(asked 'VRFY postmaster')" = '250 2.1.5 <postmaster@example.com>' ]
}

@test "vrfy: somebody in a domain that is not ours gets 550 5.7.1" {
    with_mailboxes
    [[ $(asked 'VRFY bob@elsewhere.example') == '550 5.7.1 '* ]]
    [[ $(asked 'VRFY bob@[192.0.2.1]') == '550 5.7.1 '* ]]
}

@test "RFC 5321 4.1.1.6: vrfy: what is no name gets 501 5.1.3" {
    with_mailboxes
    long=$(printf 'x%.0s' {1..300})
    for name in 'Bob Smith' 'bob@' '@example.com' '<bob' 'bob>' '<>' 'bob@example.com x' \
        '"bob' '<@a.example:bob@example.com>' 'bob@@example.com' '.bob' "$long"; do
        [[ $(asked "VRFY $name") == '501 5.1.3 '* ]]
    done
}

@test "vrfy: a name that leads out of the mail directory names nobody" {
    with_mailboxes
    OPTIONS=(-s -d example.com)
    mkdir outside
    for name in '"../outside"' '"."' '".."' '""' '"bob/new"' '"/tmp"'; do
        [[ $(asked "VRFY $name") == '550 5.1.1 '* ]]
    done
}

@test "RFC 6531 3.7.4.2: vrfy: a name in UTF-8 gets 252, in ASCII" {
    with_mailboxes
    mkdir -p mail/j%C3%BCrgen
    reply=$(asked $'VRFY j\xC3\xBCrgen')
    [[ $reply == '252 2.0.0 '* ]]
    run -1 env LC_ALL=C grep '[^ -~]' <<<"$reply"
}

@test "RFC 5321 4.5.3.1.5: vrfy: the longest name and domain fit a reply, or are not told" {
    with_mailboxes
    name=$(printf 'x%.0s' {1..200}) label=$(printf 'y%.0s' {1..60})
    mkdir "mail/$name"
    OPTIONS=(-d "$label.$label.$label.example")
    reply=$(asked "VRFY $name")
    [[ $reply == '252 2.0.0 '* ]]
}

@test "RFC 5321 7.3: vrfy: nobody else is told: always 252, in the same words" {
    with_mailboxes
    OPTIONS=(-s -d example.com)
    for FROM in 192.0.2.1 2001:db8::1 ''; do
        replies=$(asked 'VRFY bob' 'VRFY dave' 'VRFY postmaster' 'VRFY Bob Smith' \
            'VRFY bob@elsewhere.example')
        [ "$(wc -l <<<"$replies")" -eq 5 ]
        [ "$(sort -u <<<"$replies" | wc -l)" -eq 1 ]
        [[ $replies == '252 2.0.0 '* ]]
    done
}

@test "vrfy: friends come by IPv4, by IPv6, and by IPv4 over IPv6" {
    with_mailboxes
    for FROM in 127.0.0.1 127.9.9.9 ::1 ::ffff:127.0.0.1; do
        [ "$(asked 'VRFY bob')" = '250 2.1.5 <bob@example.com>' ]
    done
}

@test "RFC 5321 4.1.1.6: vrfy: the buffers are left alone" {
    with_mailboxes
    serve
    dialogue <<'OVER'
S: 220 ...
C: VRFY bob
S: 250 2.1.5 <bob@example.com>
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 ...
C: RCPT TO:<carol@example.com>
S: 250 ...
C: VRFY bob
S: 250 2.1.5 <bob@example.com>
C: DATA
S: 354 ...
C: .
S: 250 ...
C: QUIT
S: 221 ...
OVER
    mails carol 1 bob 0
}
