#!/usr/bin/env bats
# No room on the disk, and other trouble with it. The server has a small tmpfs
# of its own, in a mount namespace, where the machine lets us make one.

# tell sets codes.
# shellcheck disable=SC2154
load helpers

setup_file() {
    export USER_MAP=--map-root-user
    [ "$EUID" -ne 0 ] || USER_MAP=
    # shellcheck disable=SC2086
    if unshare -m $USER_MAP mount -t tmpfs -o size=64k tmpfs "$BATS_FILE_TMPDIR" 2>/dev/null; then
        export MAY_MOUNT=yes
    fi
}

# serve, with mail/ on a tmpfs of this size that only the server sees. We get
# at it through the server's working directory, $MAIL.
serve_on_tmpfs() { # TMPFS-OPTIONS [OPTIONS]
    local size=$1
    shift
    [ -n "${MAY_MOUNT-}" ] || skip "may not mount a tmpfs here"
    [ -d mail ] || mkdir mail
    # shellcheck disable=SC2016,SC2086
    start unshare -m $USER_MAP sh -c 'mount -t tmpfs -o "$1" tmpfs mail && shift && exec "$@"' \
        sh "$size" "$SMTPD" -l 127.0.0.1 -p 0 -m mail -n mail.example.com "$@"
    MAIL=/proc/$SERVER/cwd
    [ -d "$MAIL/" ] || skip "can't look into the server's directory"
}

# Take all of the room there but so many KiB.
fill_but() {
    : >"$MAIL/filler"
    dd if=/dev/zero of="$MAIL/filler" bs=4096 2>/dev/null || :
    dd if=/dev/zero of="$MAIL/filler" bs=1024 count=0 \
        seek=$(($(wc -c <"$MAIL/filler") / 1024 - $1)) 2>/dev/null
}

# Lines of 62 x that make so many KiB of text, for dialogue's descriptor 8.
text() {
    local lines n=$(($1 * 1024 / 62 + 1))
    printf -v lines '%062d\r\n' 0
    lines=${lines//0/x}
    while [ "$n" -gt 0 ]; do
        if [ $((n % 2)) -eq 1 ]; then printf '%s' "$lines"; fi
        lines+=$lines n=$((n / 2))
    done
}

# What was answered after the dots of a session, in order.
after_dots() { # CODE...
    local each said=()
    for each in "${codes[@]}"; do
        case $each in '250 2.0.0' | [45]*) said+=("$each") ;; esac
    done
    [ "${said[*]}" = "$*" ] || { echo "wanted $*, got ${said[*]}" && return 1; }
}

@test "RFC 5321 4.2.3: a full disk is told after the dot, not at MAIL, whatever SIZE= says" {
    serve_on_tmpfs size=1m
    # A mailbox is there, but for more than its directories there is no room.
    mkdir -p "$MAIL"/bob/{tmp,new,cur}
    script=$'S: 220 ...\nC: EHLO me\nS*: 250 ...\n'
    for size in '' ' SIZE=1000' ' SIZE=400000'; do
        script+="C: MAIL FROM:<>$size
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
\$: text 100 >&8
C: .
S: 452 4.3.1 ...
\$: files $MAIL 1
# A limit that is ours is told at once, before the disk's.
C: MAIL FROM:<> SIZE=99999999
S: 552 5.3.4 ...
"
    done
    for left in 0 60; do
        fill_but "$left"
        dialogue <<<"$script"
    done
    rm "$MAIL/filler"
    letter bob@localhost
}

@test "RFC 5321 4.2.3: a disk that fills up in DATA: 452, nothing stored, then recovery" {
    serve_on_tmpfs size=1m
    fill_but 200
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
C: RCPT TO:<carol@localhost>
S: 250 2.1.5 ...
S: 250 2.1.5 ...
C: DATA
S: 354 ...
# It is read to its end all the same, or the rest would be taken for commands.
$: text 3000 >&8
C: NOOP
C: .
S: 452 4.3.1 ...
$: files "$MAIL" 1 # the filler
C: RCPT TO:<bob@localhost>
S: 503 5.5.1 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
$: text 100 >&8
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 ...
END
    files "$MAIL/bob/new" 1
    files "$MAIL" 2 # with the filler
    [ "$(grep -c '^x' "$MAIL"/bob/new/*)" -eq $((100 * 1024 / 62 + 1)) ]
    lacks "$MAIL"/bob/new/* NOOP
}

@test "RFC 5321 4.2.3: not even room for a short message's file, mailbox or name: 452" {
    # As many files as the mailbox of one user needs; then as many as one less.
    for inodes in 6 5 4 3 2; do
        serve_on_tmpfs "size=1m,nr_inodes=$inodes"
        if [ "$inodes" -eq 6 ]; then wanted='250 2.0.0' left=1; else wanted='452 4.3.1' left=0; fi
        dialogue <<END
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: hello
C: .
S: $wanted ...
C: NOOP
S: 250 ...
END
        files "$MAIL" "$left"
    done
}

# 100 KiB of it are on disk; -size has blocks of 512 octets.
half_written() { [ -n "$(find "$MAIL"/bob/tmp/ -type f -size +200)" ]; }

@test "RFC 5321 4.2.3: where a message in progress has the room, others get 452" {
    serve_on_tmpfs size=1m
    mkdir -p "$MAIL"/bob/{tmp,new,cur}
    fill_but 150
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
$: text 130 >&8
$: wait_until half_written
$: another_gets 452
C: .
S: 250 2.0.0 ...
$: another_gets 452
$: rm "$MAIL"/bob/new/*
$: another_gets 250
END
}

# A message of 100 KiB, after whose dot this is said.
another_gets() { # CODE
    local line
    two_messages 100 0 >.asked
    send_raw <.asked >others
    while read -r line; do
        case $line in '250 2.0.0 '* | [45]*) break ;; esac
    done <others
    [[ $line == "$1 "* ]]
}

# A session with one message of so many KiB for bob, one for carol.
two_messages() {
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA
    text "$1"
    printf '%s\r\n' . 'MAIL FROM:<>' 'RCPT TO:<carol@localhost>' DATA
    text "$2"
    printf '%s\r\n' . QUIT
}

@test "RFC 5321 4.2.3: a limit on the size of files is no crash, but 452" {
    two_messages 300 20 >input
    # In the shell's blocks, of 512 or 1024 octets: enough for the log.
    ulimit -f 100
    tell input
    after_dots '452 4.3.1' '250 2.0.0'
    [ ! -d mail/bob/new ] || mails bob 0
    mails carol 1
    files mail 1
}

@test "RFC 5321 4.2.3: other trouble is 451, and the session goes on" {
    mkdir mail && : >mail/bob
    two_messages 1 1 >.asked
    tell .asked
    after_dots '451 4.3.0' '250 2.0.0'
    # Also where the trouble shows long before the dot.
    two_messages 300 300 >.asked
    tell .asked
    after_dots '451 4.3.0' '250 2.0.0'
    mails carol 2
    files mail 3 # with the one in bob's place
    holds log '[Nn]ot a directory'
}

@test "RFC 5321 4.2.3: a mailbox without write permission is 451" {
    [ "$EUID" -ne 0 ] || skip "root may write anywhere"
    mkdir -p mail/bob/{tmp,new,cur}
    for closed in tmp new; do
        chmod 500 "mail/bob/$closed"
        two_messages 1 1 >.asked
        tell .asked
        chmod 700 "mail/bob/$closed"
        after_dots '451 4.3.0' '250 2.0.0'
    done
    files mail/bob 0
}

@test "RFC 5321 4.2.3: a full disk under the log costs log lines and no mail" {
    [ -c /dev/full ] || skip "needs /dev/full"
    two_messages 1 1 >.asked
    "$SMTPD" -i -v -m mail -n mail.example.com <.asked >replies 2>/dev/full
    holds replies $'\n250 2.0.0 *\n250 2.0.0 '
    mails bob 1 carol 1
}
