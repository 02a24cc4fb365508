#!/usr/bin/env bats
# Exercise greylist: -g SECONDS asks who is not known yet to come again later.

SMTPD=${SMTPD:-$BATS_TEST_DIRNAME/../../../smtpd}
load ../../helpers

# What RCPT gets: a code each. CLIENT and SENDER are who asks.
attempt() { # PATH...
    {
        printf '%s\r\n' 'EHLO client.example' "MAIL FROM:<${SENDER-alice@example.org}>"
        printf 'RCPT TO:<%s>\r\n' "$@"
    } | TCPREMOTEIP=${CLIENT-192.0.2.1} talk "${OPTIONS[@]}" | tail -n $# | cut -c 1-9 | xargs
}

later='450 4.7.0' fine='250 2.1.5'

@test "greylist: the first attempt gets 450 4.7.0, one after the time 250" {
    OPTIONS=(-g 2)
    [ "$(attempt bob@example.com)" = "$later" ]
    [ "$(attempt bob@example.com)" = "$later" ]
    sleep 2.1
    [ "$(attempt bob@example.com)" = "$fine" ]
    [ "$(attempt bob@example.com)" = "$fine" ]
}

@test "greylist: the time counts from the first attempt, not from the last" {
    OPTIONS=(-g 3)
    for _ in 1 2 3 4; do
        [ "$(attempt bob@example.com)" = "$later" ] || break
        sleep 0.8
    done
    wait_until passes
}

passes() { [ "$(attempt bob@example.com)" = "$fine" ]; }

@test "greylist: without -g nobody is put off" {
    OPTIONS=(-g 3600)
    [ "$(attempt bob@example.com)" = "$later" ]
    OPTIONS=()
    [ "$(attempt bob@example.com)" = "$fine" ]
}

@test "greylist: client, sender and recipient all count" {
    OPTIONS=(-g 1)
    attempt bob@example.com
    sleep 1.1
    OPTIONS=(-g 3600)
    [ "$(attempt carol@example.com)" = "$later" ]
    [ "$(SENDER=eve@example.org attempt bob@example.com)" = "$later" ]
    [ "$(SENDER='' attempt bob@example.com)" = "$later" ]
    [ "$(CLIENT=198.51.100.1 attempt bob@example.com)" = "$later" ]
    OPTIONS=(-g 1)
    [ "$(attempt bob@example.com)" = "$fine" ]
}

@test "greylist: another host of the client's network is the same client" {
    OPTIONS=(-g 1)
    [ "$(CLIENT=192.0.2.1 attempt bob@example.com)" = "$later" ]
    [ "$(CLIENT=2001:db8:1:2::1 attempt bob@example.com)" = "$later" ]
    sleep 1.1
    [ "$(CLIENT=192.0.2.200 attempt bob@example.com)" = "$fine" ]
    [ "$(CLIENT=::ffff:192.0.2.3 attempt bob@example.com)" = "$fine" ]
    [ "$(CLIENT=2001:db8:1:2:3:4:5:6 attempt bob@example.com)" = "$fine" ]
    [ "$(CLIENT=192.0.3.1 attempt bob@example.com)" = "$later" ]
    [ "$(CLIENT=2001:db8:1:3::1 attempt bob@example.com)" = "$later" ]
}

@test "greylist: one mailbox, however its path is written, is one recipient" {
    OPTIONS=(-g 1)
    [ "$(attempt bob@example.com)" = "$later" ]
    sleep 1.1
    [ "$(attempt '"b\ob"@LOCALHOST')" = "$fine" ]
}

@test "RFC 5321 4.1.1.3: greylist: of several recipients each is asked for itself" {
    OPTIONS=(-g 1)
    [ "$(attempt bob@example.com)" = "$later" ]
    sleep 1.1
    [ "$(attempt bob@example.com carol@example.com)" = "$fine $later" ]
    [ "$(attempt carol@example.com bob@example.com)" = "$later $fine" ]
}

@test "RFC 5321 4.5.1: greylist: postmaster is never put off" {
    OPTIONS=(-g 3600)
    [ "$(attempt postmaster Postmaster@example.com bob@example.com)" = "$fine $fine $later" ]
}

@test "greylist: nor are programs on this host, and on a pipe" {
    OPTIONS=(-g 3600)
    for CLIENT in 127.0.0.1 ::1 ::ffff:127.0.0.1 ''; do
        [ "$(attempt bob@example.com)" = "$fine" ]
    done
}

@test "RFC 5321 4.2.1: greylist: what will never be taken gets its 5yz at once" {
    OPTIONS=(-g 3600 -s)
    mkdir -p mail/bob
    [ "$(attempt x@elsewhere.example carol@example.com bob@ bob@example.com)" = \
        "550 5.7.1 550 5.1.1 501 5.1.3 $later" ]
}

@test "RFC 5321 3.3: greylist: all recipients put off: DATA gets 503, nothing is kept" {
    {
        printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@example.com>' DATA
    } | TCPREMOTEIP=192.0.2.1 talk -g 3600 | tail -n 1 | grep '^503 5\.5\.1 '
    [ ! -e mail/bob ]
}

@test "greylist: it is remembered by all sessions, and over a restart" {
    # talk is a new server each time. Here many ask at once.
    OPTIONS=(-g 1)
    for i in {1..20}; do
        attempt "u$i@example.com" >"out$i" 3>&- 4>&- &
        asking+=($!)
    done
    wait "${asking[@]}"
    [ "$(sort -u out*)" = "$later" ]
    sleep 1.1
    for i in {1..20}; do [ "$(attempt "u$i@example.com")" = "$fine" ]; done
}

@test "greylist: whatever comes, it stays small" {
    # A session may be refused 1000 times.
    for n in {1..51}; do
        printf -v recipients 'RCPT TO:<u%d@example.com>\r\n' $(seq $((n * 980 - 979)) $((n * 980)))
        printf 'HELO me\r\nMAIL FROM:<>\r\n%s' "$recipients" >.asked
        TCPREMOTEIP=192.0.2.1 talk -g 3600 <.asked
    done >out
    [ "$(grep -c "^$later" out)" -eq 49980 ]
    [ "$(du -sk mail | cut -f 1)" -le 2048 ]
}

@test "greylist: when what it remembers is garbage or can't be written, mail gets through" {
    OPTIONS=(-g 3600)
    attempt bob@example.com
    find mail -type f >files
    [ -s files ]
    while read -r file; do
        head -c 2000000 /dev/urandom >"$file"
    done <files
    [[ $(attempt bob@example.com) == [24]50* ]]
    while read -r file; do
        rm "$file" && mkdir "$file"
    done <files
    [ "$(attempt bob@example.com)" = "$fine" ]
    grep 'error: ' log
}

@test "greylist: -g: a number from 1 on, or exit 64" {
    for value in 0 -1 x '' 1x; do
        run -64 "$SMTPD" -g "$value" -i -m mail
    done
    "$SMTPD" -h | grep -e '-g SECONDS'
}
