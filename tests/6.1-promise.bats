#!/usr/bin/env bats
# The 250 after the final dot promises that the message survives a crash. That
# the disk was asked in time can be seen only from outside, with strace, which
# can also make any one system call fail, or be the process's last.

# tell has options, and sets codes and last.
# shellcheck disable=SC2034,SC2154
load helpers

setup_file() {
    if strace -o /dev/null true 2>/dev/null; then export MAY_TRACE=yes; fi
}

need_strace() {
    need strace
    [ -n "${MAY_TRACE-}" ] || skip "strace may not trace here"
    # LeakSanitizer does not work under it.
    export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
}

# The text of a message. It is longer than the buffers: some of it is written before
# its end has come. KEPT is the same with LF.
text() {
    if [ -z "${TEXT-}" ]; then
        printf -v TEXT 'line %d of the message, which is of some length for a line\r\n' {1..3000}
        printf -v KEPT 'line %d of the message, which is of some length for a line\n' {1..3000}
    fi
    printf '%s' "$TEXT"
}

# To the file input: one message, with what $1 prints, for each other argument, a list
# of recipients.
session() {
    local users user text=$1
    shift
    {
        printf 'HELO client.example\r\n'
        for users; do
            printf 'MAIL FROM:<alice@example.org>\r\n'
            for user in $users; do printf 'RCPT TO:<%s@example.com>\r\n' "$user"; done
            printf 'DATA\r\n'
            "$text"
            printf '.\r\n'
        done
    } >input
}

# Run smtpd -i under strace, with strace's options before --, its own after it; it is
# said what is in the file input.
traced() {
    local strace=()
    while [ "$1" != -- ]; do strace+=("$1") && shift; done
    shift
    strace -f -y -s 4000 "${strace[@]}" "$SMTPD" -i -m mail -n mail.example.com "$@" \
        <input >replies 2>>log 3>&- 4>&-
}

CALLS='?open,?openat,?creat,?mkdir,?mkdirat,?rename,?renameat,?renameat2,?link,?linkat,?chdir,?fchdir'
CALLS+=',write,?writev,?pwrite64,?sendto,?sendmsg,fsync,?fdatasync'

# Were the octets, and the names, of so many messages synced in time, in each trace?
replay() { "$PYTHON" -I "$ROOT/tests/replay.py" "$@"; } # MESSAGES TRACE...

@test "RFC 5321 6.1: octets and names are synced before the 250, for new mailboxes too" {
    need_strace
    mkdir mail
    session text bob
    traced -o trace.one -e trace="$CALLS" --
    mails bob 1
    rm -r mail && mkdir mail
    session text 'bob carol dave'
    traced -o trace.three -e trace="$CALLS" --
    mails bob 1 carol 1 dave 1
    replay 1 trace.one trace.three
}

@test "RFC 5321 6.1: the name of the mail directory is synced too, where it was made" {
    need_strace
    session text bob
    traced -o trace -e trace="$CALLS" --
    mails bob 1
    replay 1 trace
}

@test "RFC 5321 6.1: likewise in a mailbox that is there, and one that lacks new or tmp" {
    need_strace
    mkdir -p mail/{bob,carol,dave}/{tmp,new,cur}
    session text 'bob carol dave'
    traced -o trace.there -e trace="$CALLS" --
    rm -r mail/bob/new mail/carol/tmp mail/carol/new
    traced -o trace.lacking -e trace="$CALLS" --
    mails bob 1 carol 1 dave 2
    replay 1 trace.there trace.lacking
}

@test "RFC 5321 6.1: likewise for each of three short messages of one session" {
    need_strace
    short() { printf 'Subject: short\r\n\r\ntext\r\n'; }
    session short bob 'bob carol' carol
    traced -o trace -e trace="$CALLS" --
    replay 3 trace
}

# How many messages bob and carol have in this folder, in $bob and $carol. They must be
# whole: our header fields, the last of which ends with the date, then the text.
look() {
    local file said LC_ALL=C
    bob=0 carol=0
    for file in "$1"/{bob,carol}/new/*; do
        case $file in
        */new/'*') continue ;;
        */bob/new/*) bob=$((bob + 1)) ;;
        */carol/new/*) carol=$((carol + 1)) ;;
        esac
        IFS= read -r -d '' said <"$file" || :
        [ "${said: -${#KEPT}}" = "$KEPT" ] || return
        said=${said:0:${#said} - ${#KEPT}}
        [[ $said == 'Return-Path: '*[+-][0-9][0-9][0-9][0-9]$'\n' && $said != *'line 1 '* ]] || return
    done
}

# Once for each call of that kind, until it is made no more: smtpd gets a
# message for bob and carol, and that one call has the fate given. check is
# then called with the reply to the message in $reply, "" where none came, and
# the folder with the mail in $mail.
each_call() { # CALL FATE
    local n=0 at=0 text
    tried=$((${tried-0} + 1))
    mkdir -p "$tried"/{1..40}
    while n=$((n + 1)); do
        mail=$tried/$n
        traced -o trace -e trace="$1" -e inject="$1:$2:when=$n" -- -m "$mail" || :
        IFS= read -r -d '' text <trace || :
        [[ $text == *INJECTED* || $text == *"killed by"* ]] || break
        IFS= read -r -d '' reply <replies || :
        case $reply in
        *$'\n354 '*) reply=${reply#*$'\n354 '} reply=${reply#*$'\n'} reply=${reply:0:9} ;;
        *) reply= ;;
        esac
        look "$mail"
        echo "$1 number $n: reply '$reply', bob $bob, carol $carol"
        check
        # Calls the C library makes before main() are of no interest, but many
        # in a build with sanitizers.
        [ "$n" -lt 40 ]
        case $reply in 4*) at=$((at + 1)) ;; esac
    done
    [ "$n" -gt 1 ]
    [ "$at" -gt 0 ] || [[ $2 == signal=* ]]
}

all_or_none() {
    case $reply in
    '250 2.0.0') [ "$bob$carol" = 11 ] || return ;;
    # Only the reply was lost: then the message may be there, for all of them.
    '') [ "$bob" = "$carol" ] || return ;;
    "$wanted") [ "$bob$carol" = 00 ] || return ;;
    *) return 1 ;;
    esac
    # Nothing in tmp, nor any other file left.
    files "$mail" "$((bob + carol))"
}

@test "RFC 5321 6.1: where one call fails there is no 250 and no message, for nobody" {
    need_strace
    session text 'bob carol'
    check() { all_or_none; }
    while read -r call error wanted; do
        each_call "$call" "error=$error"
    done <<'END'
fsync EIO 451 4.3.0
?rename,?renameat,?renameat2 EIO 451 4.3.0
?link,?linkat EMLINK 451 4.3.0
?link,?linkat EDQUOT 452 4.3.1
?mkdir,?mkdirat ENOSPC 452 4.3.1
write ENOSPC 452 4.3.1
END
}

@test "RFC 5321 6.1: killed at any call, the server leaves whole messages in new, or none" {
    need_strace
    session text 'bob carol'
    check() {
        [ "$reply" != '250 2.0.0' ] || [ "$bob$carol" = 11 ]
    }
    for call in fsync '?rename,?renameat,?renameat2' '?link,?linkat' write; do
        each_call "$call" signal=KILL
    done
    # What it left harms nothing: the next message is kept as ever.
    mkdir mail
    traced -o trace -e inject='?link,?linkat:signal=KILL' -- || :
    compgen -G 'mail/*/tmp/*'
    talk <input >replies
    holds replies $'\n250 2.0.0 '
    mails bob 1 carol 1
}

@test "RFC 5321 4.1.1.4: a message refused leaves nothing in new and nothing in tmp" {
    # Each in the middle of a text so long that a file had been begun. The session
    # goes on, and its last message is kept, and is the only file.
    number=0
    each() {
        number=$((number + 1))
        case $number in
        1) text && printf 'bare\rCR\r\n' && text ;;
        2) text && printf 'bare\nLF\r\n' && text ;;
        3) text && printf 'NUL\0\r\n' && text ;;
        4) text && text && text && text && text && text ;;
        5) printf 'Received: x\r\n%.0s' {1..101} && printf '\r\n' && text ;;
        6) printf 'short\r\n' ;;
        esac
    }
    session each bob 'bob carol' bob bob 'carol bob' dave
    options=(-z 1000000)
    tell input
    said=()
    for code in "${codes[@]:1}"; do
        case $code in '250 2.1.'* | 354) ;; *) said+=("$code") ;; esac
    done
    [ "${said[*]}" = '554 5.6.0 554 5.6.0 554 5.6.0 552 5.3.4 554 5.4.6 250 2.0.0' ]
    files mail 1
    mails dave 1
}

# A session that has sent this much of a message, which is not all of it, to the file
# begun and in $begun.
begun() {
    local LC_ALL=C
    session text 'bob carol'
    IFS= read -r -d '' begun <input || :
    begun=${begun:0:$1}
    printf '%s' "$begun" >begun
}

@test "RFC 5321 4.1.1.5: a client that leaves inside a message leaves nothing behind" {
    # With the last, the dot is there, but not the line end after it.
    for octets in 114 1000 100000 -2; do
        begun "$octets"
        tell begun
        [[ $last == '354 '* ]]
        files mail 0
    done
    [[ $begun == *$'\n.' ]]
}

@test "RFC 5321 4.1.1.5: likewise when it resets the connection, or stalls" {
    serve -t 1
    begun 150000
    pieces <<'END'
with open('begun', 'rb') as file:
    octets = file.read()
c = Client()
c.send(octets)
# Not before a file has been begun: a reset takes unread input with it.
until(lambda: glob.glob('mail/bob/tmp/*'), 'a file in tmp')
c.leave('reset')
until(lambda: glob.glob('mail/*/*/*') == [], 'no files')
c = Client()
c.send(octets)
same(c.rest()[-2:], ['354', '421 4.4.2'], 'the last replies')
END
    [ -d mail/bob ]
    files mail 0
}

@test "RFC 5321 6.1: no part of a message is to be seen in new before the 250" {
    serve
    begun 150000
    dialogue <<'END'
S: 220 ...
$: printf '%s' "$begun" >&8
S: 250 mail.example.com ...
S: 250 2.1.0 ...
S: 250 2.1.5 ...
S: 250 2.1.5 ...
S: 354 ...
$: wait_until test -d mail/bob/tmp
$: mails bob 0 carol 0
C:
C: .
S: 250 2.0.0 ...
$: mails bob 1 carol 1
END
    files mail 2
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
