#!/usr/bin/env bats
# The 250 after the final dot promises that the message survives a crash. That
# the disk was asked in time can be seen only from outside, with strace, which
# can also make any one system call fail, or be the process's last.

load helpers

setup_file() {
    # Longer than the buffers: some of it is written before its end has come.
    for i in {1..3000}; do
        printf 'line %d of the message, which is of some length for a line\r\n' "$i"
    done >"$BATS_FILE_TMPDIR/text"
}

need_strace() {
    need strace
    strace -o trace true 2>/dev/null || skip "strace may not trace here"
    # LeakSanitizer does not work under it.
    export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
}

# One message, from standard input, for each argument, a list of recipients.
session() {
    local users user
    printf 'HELO client.example\r\n'
    for users; do
        printf 'MAIL FROM:<alice@example.org>\r\n'
        for user in $users; do printf 'RCPT TO:<%s@example.com>\r\n' "$user"; done
        printf 'DATA\r\n'
        cat "${TEXT:-$BATS_FILE_TMPDIR/text}"
        printf '.\r\n'
    done
}

# Run smtpd -i under strace, with strace's options before --, its own after it.
traced() {
    local strace=()
    while [ "$1" != -- ]; do strace+=("$1") && shift; done
    shift
    strace -f -y -s 4000 "${strace[@]}" "$SMTPD" -i -m mail -n mail.example.com "$@" \
        >replies 2>>log 3>&- 4>&-
}

CALLS='?open,?openat,?creat,?mkdir,?mkdirat,?rename,?renameat,?renameat2,?link,?linkat,?chdir,?fchdir'
CALLS+=',write,?writev,?pwrite64,?sendto,?sendmsg,fsync,?fdatasync'

# Were the octets, and the names, of so many messages synced in time?
replay() { "$PYTHON" -I "$ROOT/tests/replay.py" "$@"; } # MESSAGES

@test "RFC 5321 6.1: octets and names are synced before the 250, for new mailboxes too" {
    need_strace
    mkdir mail
    session bob | traced -o trace -e trace="$CALLS" --
    mails bob 1
    replay 1
    rm -r mail && mkdir mail
    session 'bob carol dave' | traced -o trace -e trace="$CALLS" --
    mails bob 1 carol 1 dave 1
    replay 1
}

@test "RFC 5321 6.1: the name of the mail directory is synced too, where it was made" {
    need_strace
    session bob | traced -o trace -e trace="$CALLS" --
    mails bob 1
    replay 1
}

@test "RFC 5321 6.1: likewise in a mailbox that is there, and one that lacks new or tmp" {
    need_strace
    mkdir -p mail/{bob,carol,dave}/{tmp,new,cur}
    session 'bob carol dave' | traced -o trace -e trace="$CALLS" --
    replay 1
    rm -r mail/bob/new mail/carol/tmp mail/carol/new
    session 'bob carol dave' | traced -o trace -e trace="$CALLS" --
    mails bob 1 carol 1 dave 2
    replay 1
}

@test "RFC 5321 6.1: likewise for each of three short messages of one session" {
    need_strace
    printf 'Subject: short\r\n\r\ntext\r\n' >text
    TEXT=text session bob 'bob carol' carol | traced -o trace -e trace="$CALLS" --
    replay 3
}

# How many messages bob and carol have, in $bob and $carol. They must be whole:
# end with the text.
look() {
    local file text=$BATS_FILE_TMPDIR/text.lf
    bob=0 carol=0
    [ -e "$text" ] || tr -d '\r' <"$BATS_FILE_TMPDIR/text" >"$text"
    for file in mail/{bob,carol}/new/*; do
        case $file in
        */new/'*') continue ;;
        mail/bob/*) bob=$((bob + 1)) ;;
        mail/carol/*) carol=$((carol + 1)) ;;
        esac
        sed '1,/^	*.*[+-][0-9][0-9][0-9][0-9]$/d' "$file" | cmp - "$text" || return
    done
}

# Once for each call of that kind, until it is made no more: smtpd gets a
# message for bob and carol, and that one call has the fate given. check is
# then called with the reply to the message in $reply, "" where none came.
each_call() { # CALL FATE
    local n=0 at=0 text
    [ -e input ] || session 'bob carol' >input
    while n=$((n + 1)); do
        rm -rf mail
        mkdir mail
        traced -o trace -e trace="$1" -e inject="$1:$2:when=$n" -- <input || :
        IFS= read -r -d '' text <trace || :
        [[ $text == *INJECTED* || $text == *"killed by"* ]] || break
        IFS= read -r -d '' reply <replies || :
        case $reply in
        *$'\n354 '*) reply=${reply#*$'\n354 '} reply=${reply#*$'\n'} reply=${reply:0:9} ;;
        *) reply= ;;
        esac
        look
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
    [ "$(find mail -type f | wc -l)" -eq "$((bob + carol))" ]
}

@test "RFC 5321 6.1: where one call fails there is no 250 and no message, for nobody" {
    need_strace
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
    check() {
        [ "$reply" != '250 2.0.0' ] || [ "$bob$carol" = 11 ]
    }
    for call in fsync '?rename,?renameat,?renameat2' '?link,?linkat' write; do
        each_call "$call" signal=KILL
    done
    # What it left harms nothing: the next message is kept as ever.
    rm -rf mail && mkdir mail
    traced -o trace -e inject='?link,?linkat:signal=KILL' -- <input || :
    [ "$(find mail -path '*/tmp/*' -type f | wc -l)" -ge 1 ]
    talk <input >replies
    mails bob 1 carol 1
}

@test "RFC 5321 4.1.1.4: a message refused leaves nothing in new and nothing in tmp" {
    # Each in the middle of a text so long that a file had been begun.
    text=$BATS_FILE_TMPDIR/text
    printf 'short\r\n' >short
    # The session goes on, with a message that is kept, and is the only file.
    refused() { # REPLY FILE
        { TEXT=$2 session 'bob carol' && TEXT=short session dave; } >.asked
        talk -z 1000000 <.asked >replies
        grep -q "^$1 " replies
        files mail 1
        mails dave 1
        rm -r mail
    }
    for octets in 'bare\rCR\r\n' 'bare\nLF\r\n' 'NUL\000\r\n'; do
        { cat "$text" && printf '%b' "$octets" && cat "$text"; } >foul
        refused '554 5\.6\.0' foul
    done
    for _ in 1 2 3 4 5 6; do cat "$text"; done >large
    refused '552 5\.3\.4' large
    { printf 'Received: x\r\n%.0s' {1..101} && printf '\r\n' && cat "$text"; } >loop
    refused '554 5\.4\.6' loop
}

# A session that has sent this much of a message, which is not all of it.
begun() {
    session 'bob carol' | head -c "$1"
}

@test "RFC 5321 4.1.1.5: a client that leaves inside a message leaves nothing behind" {
    for octets in 114 1000 100000; do
        begun "$octets" >.asked
        talk <.asked >replies
        [ "$(tail -n 1 replies | cut -c 1-4)" = '354 ' ]
        files mail 0
    done
    # The dot is there, but not the line end after it.
    begun "$(($(session 'bob carol' | wc -c) - 2))" >input
    [ "$(tail -c 2 input)" = $'\n.' ]
    talk <input >replies
    files mail 0
}

@test "RFC 5321 4.1.1.5: likewise when it resets the connection, or stalls" {
    serve -t 1
    begun 150000 >input
    pieces <<'END'
c = Client()
with open('input', 'rb') as file:
    c.send(file.read())
# Not before a file has been begun: a reset takes unread input with it.
until(lambda: glob.glob('mail/bob/tmp/*'), 'a file in tmp')
c.leave('reset')
END
    wait_until no_sessions
    [ -d mail/bob ]
    files mail 0
    { cat input && sleep 3; } | nc 127.0.0.1 "$PORT" >replies
    grep -q '^421 4.4.2 ' replies
    files mail 0
}

@test "RFC 5321 6.1: no part of a message is to be seen in new before the 250" {
    serve
    begun 150000 >input
    # shellcheck disable=SC2094
    dialogue <<'END'
S: 220 ...
$: cat input >&8
S: 250 mail.example.com ...
S: 250 2.1.0 ...
S: 250 2.1.5 ...
S: 250 2.1.5 ...
S: 354 ...
$: wait_until test -d mail/bob/tmp
$: [ "$(find mail/*/new -type f)" = '' ]
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
