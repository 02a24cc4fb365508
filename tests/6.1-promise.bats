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
    bounded strace -f -y -s 4000 "${strace[@]}" "$SMTPD" -i -m mail -n mail.example.com "$@" \
        >replies 2>>log 3>&- 4>&-
}

CALLS='?open,?openat,?creat,?mkdir,?mkdirat,?rename,?renameat,?renameat2,?link,?linkat,?chdir'
CALLS+=',write,?writev,?pwrite64,?sendto,?sendmsg,fsync,?fdatasync'

# Replay the trace. A file's octets, and each name in a directory, are dirty
# until that file, or that directory, is synced. None of a message in new may
# be dirty where a 250 for it is written, nor its octets where it enters new.
replay() { # MESSAGES
    py "$@" <<'END'
import os, re, sys
cwd = os.getcwd()
root = os.path.join(cwd, "mail")
inode, dirty_data, dirty_names = {}, set(), set()
promised = 0
call = re.compile(r'(?:\d+ +|\[pid +\d+\] )?(\w+)\((.*)\) += (-?\d+)')
quoted = re.compile(r'"((?:[^"\\]|\\.)*)"')
for line in open("trace"):
    m = call.match(line)
    if not m or int(m[3]) < 0:
        continue
    name, args = m[1], m[2]
    paths = [os.path.normpath(os.path.join(cwd, p)) for p in quoted.findall(args)]
    fd = re.match(r'(\d+)<(.*?)>', args)
    if name == "chdir":
        cwd = paths[0]
    elif name.startswith(("open", "creat")) and ("O_CREAT" in args or name == "creat"):
        inode[paths[0]] = paths[0]
        dirty_names.add(paths[0])
    elif name.startswith("mkdir"):
        dirty_names.add(paths[0])
    elif name.startswith(("link", "rename")):
        old, new = paths
        inode[new] = inode.pop(old) if name[0] == "r" else inode[old]
        dirty_names.add(new)
        if os.path.basename(os.path.dirname(new)) == "new":
            assert inode[new] not in dirty_data, "in new before its octets were synced: " + line
    elif name in ("fsync", "fdatasync"):
        dirty_data.discard(inode.get(fd[2]))
        dirty_names = {n for n in dirty_names if os.path.dirname(n) != fd[2]}
    elif fd and fd[1] in "012":
        if fd[1] == "1" and "250 2.0.0" in args:
            promised += args.count("250 2.0.0")
            for path in [p for p in inode if os.path.dirname(p).endswith("/new")]:
                assert inode[path] not in dirty_data, "250 before the octets were synced: " + path
                while path != os.path.dirname(root):
                    assert path not in dirty_names, "250 before the name was synced: " + path
                    path = os.path.dirname(path)
    elif fd and fd[2] in inode:
        dirty_data.add(inode[fd[2]])
kept = {i for p, i in inode.items() if "/new/" in p}
assert (promised, len(kept)) == (int(sys.argv[1]), int(sys.argv[1])), (promised, kept)
END
}

@test "RFC 5321 6.1: octets and names are synced before the 250, for new mailboxes too" {
    need_strace
    mkdir mail
    session bob | traced -o trace -e trace="$CALLS" --
    [ "$(mail_count bob)" -eq 1 ]
    replay 1
    rm -r mail && mkdir mail
    session 'bob carol dave' | traced -o trace -e trace="$CALLS" --
    [ "$(mail_count bob)$(mail_count carol)$(mail_count dave)" = 111 ]
    replay 1
}

@test "RFC 5321 6.1: the name of the mail directory is synced too, where it was made" {
    need_strace
    session bob | traced -o trace -e trace="$CALLS" --
    [ "$(mail_count bob)" -eq 1 ]
    replay 1
}

@test "RFC 5321 6.1: likewise in a mailbox that is there, and one that lacks new or tmp" {
    need_strace
    mkdir -p mail/{bob,carol,dave}/{tmp,new,cur}
    session 'bob carol dave' | traced -o trace -e trace="$CALLS" --
    replay 1
    rm -r mail/bob/new mail/carol/tmp mail/carol/new
    session 'bob carol dave' | traced -o trace -e trace="$CALLS" --
    [ "$(mail_count bob)$(mail_count carol)$(mail_count dave)" = 112 ]
    replay 1
}

@test "RFC 5321 6.1: likewise for each of three short messages of one session" {
    need_strace
    printf 'Subject: short\r\n\r\ntext\r\n' >text
    TEXT=text session bob 'bob carol' carol | traced -o trace -e trace="$CALLS" --
    replay 3
}

# The messages that lie in new must be whole: end with the text.
whole() {
    local file
    for file in mail/*/new/*; do
        [ ! -e "$file" ] || sed '1,/^	*.*[+-][0-9][0-9][0-9][0-9]$/d' "$file" | cmp - text || return
    done
}

# Once for each call of that kind, until it is made no more: smtpd gets a
# message for bob and carol, and that one call has the fate given. check is
# then called with the reply to the message in $reply, "" where none came.
each_call() { # CALL FATE
    local n=0 at=0
    tr -d '\r' <"$BATS_FILE_TMPDIR/text" >text
    session 'bob carol' >input
    while n=$((n + 1)); do
        rm -rf mail trace
        mkdir mail
        traced -o trace -e trace="$1" -e inject="$1:$2:when=$n" -- <input || :
        grep -qE "INJECTED|killed by" trace || break
        reply=$(sed -n '/^354/{n;p;}' replies | cut -c 1-9)
        echo "$1 number $n: reply '$reply', bob $(mail_count bob), carol $(mail_count carol)"
        whole
        check
        # Calls the C library makes before main() are of no interest, but many
        # in a build with sanitizers.
        [ "$n" -lt 40 ]
        case $reply in 4*) at=$((at + 1)) ;; esac
    done
    [ "$at" -gt 0 ] || [[ $2 == signal=* ]]
}

all_or_none() {
    case $reply in
    '250 2.0.0') [ "$(mail_count bob)$(mail_count carol)" = 11 ] || return ;;
    # Only the reply was lost: then the message may be there, for all of them.
    '') [ "$(mail_count bob)" = "$(mail_count carol)" ] || return ;;
    "$wanted") [ "$(mail_count bob)$(mail_count carol)" = 00 ] || return ;;
    *) return 1 ;;
    esac
    # Nothing in tmp, nor any other file left.
    [ "$(find mail -type f | wc -l)" -eq "$(($(mail_count bob) + $(mail_count carol)))" ]
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
        [ "$reply" != '250 2.0.0' ] || [ "$(mail_count bob)$(mail_count carol)" = 11 ]
    }
    for call in fsync '?rename,?renameat,?renameat2' '?link,?linkat' write; do
        each_call "$call" signal=KILL
    done
    # What it left harms nothing: the next message is kept as ever.
    rm -rf mail && mkdir mail
    traced -o trace -e inject='?link,?linkat:signal=KILL' -- <input || :
    [ "$(find mail -path '*/tmp/*' -type f | wc -l)" -ge 1 ]
    talk <input >replies
    [ "$(mail_count bob)$(mail_count carol)" = 11 ]
}

@test "RFC 5321 4.1.1.4: a message refused leaves nothing in new and nothing in tmp" {
    # Each in the middle of a text so long that a file had been begun.
    text=$BATS_FILE_TMPDIR/text
    printf 'short\r\n' >short
    # The session goes on, with a message that is kept, and is the only file.
    refused() { # REPLY FILE
        { TEXT=$2 session 'bob carol' && TEXT=short session dave; } | talk -z 1000000 >replies
        grep -q "^$1 " replies
        [ "$(find mail -type f | wc -l)" -eq 1 ]
        [ "$(mail_count dave)" -eq 1 ]
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
        begun "$octets" | talk >replies
        [ "$(tail -n 1 replies | cut -c 1-4)" = '354 ' ]
        [ -z "$(find mail -type f)" ]
    done
    # The dot is there, but not the line end after it.
    begun "$(($(session 'bob carol' | wc -c) - 2))" >input
    [ "$(tail -c 2 input)" = $'\n.' ]
    talk <input >replies
    [ -z "$(find mail -type f)" ]
}

@test "RFC 5321 4.1.1.5: likewise when it resets the connection, or stalls" {
    serve -t 1
    begun 150000 >input
    py "$PORT" <<'END'
import glob, socket, struct, sys, time
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(open("input", "rb").read())
# Not before a file has been begun: a reset takes unread input with it.
end = time.monotonic() + 10
while not glob.glob("mail/bob/tmp/*") and time.monotonic() < end:
    time.sleep(0.01)
# Closed so, it sends a reset.
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
END
    wait_until no_sessions
    [ -d mail/bob ]
    [ -z "$(find mail -type f)" ]
    { cat input && sleep 3; } | nc 127.0.0.1 "$PORT" >replies
    grep -q '^421 4.4.2 ' replies
    [ -z "$(find mail -type f)" ]
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
$: [ "$(mail_count bob)$(mail_count carol)" = 11 ]
END
    [ "$(find mail -type f | wc -l)" -eq 2 ]
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
