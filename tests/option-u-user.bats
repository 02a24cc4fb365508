#!/usr/bin/env bats
# -u USER: once its port is bound the server locks itself into the mail
# directory, as USER, for good.

load helpers

setup_file() {
    NOBODY_GROUPS=$(id -G nobody 2>/dev/null) || :
    export NOBODY_GROUPS
}

need_root() {
    [ "$EUID" -eq 0 ] || skip "needs root"
    [ -n "$NOBODY_GROUPS" ] || skip "needs a user nobody"
    # LeakSanitizer needs a /proc, which is not there after the chroot.
    export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
}

# Whether the process has no group but the user's.
no_other_groups() { # PID
    local group groups
    while read -r -a groups; do
        if [ "${groups[0]}" = Groups: ]; then break; fi
    done <"/proc/$1/status"
    [ "${groups[0]}" = Groups: ] || return
    for group in "${groups[@]:1}"; do
        [[ " $NOBODY_GROUPS " == *" $group "* ]] || return
    done
}

# It must say one line, with each WORD in it, and exit CODE.
cannot() { # CODE WORDS COMMAND...
    local code=$1 words=$2 word
    shift 2
    run "-$code" timeout 5 "$@"
    [[ $output == 'smtpd: '* && $output != *$'\nsmtpd: '* ]] || return
    for word in $words; do [[ ${lines[0]} == "smtpd: "*"$word"* ]] || return; done
    [[ $output != *listening* ]]
}

@test "-u: the mail directory is made, given to the user, and all in it is the user's" {
    need_root
    serve -u nobody
    [ "$(find mail -maxdepth 0 -user nobody -perm 700)" = mail ]
    letter bob@localhost
    mails bob 1
    files mail 1
    [ -z "$(find mail ! -user nobody -o ! -group "${NOBODY_GROUPS%% *}")" ]
}

@test "-u: server and sessions are in the mail directory, as the user, for good" {
    need_root
    [ -r /proc/self/status ] || skip "needs Linux's /proc"
    uid=$(id -u nobody) gid=${NOBODY_GROUPS%% *}
    none=$'\nCapPrm:\t0+\nCapEff:\t0+\n'
    serve -u nobody
    # shellcheck disable=SC2034
    check() {
        for pid in "$SERVER" $(sessions); do
            [ "/proc/$pid/root" -ef mail ] && [ "/proc/$pid/cwd" -ef mail ] || return
            # Real, effective, saved and file system's; capabilities; groups.
            IFS= read -r -d '' status <"/proc/$pid/status" || :
            [[ $status == *$'\n'"Uid:	$uid	$uid	$uid	$uid"$'\n'* ]] || return
            [[ $status == *$'\n'"Gid:	$gid	$gid	$gid	$gid"$'\n'* ]] || return
            [[ $status =~ $none ]] || return
            no_other_groups "$pid" || return
            # No directory outside is held open: it would lead out again.
            for fd in "/proc/$pid/fd"/*; do [ ! -d "$fd" ] || return; done
        done
    }
    dialogue <<'END'
S: 220 ...
$: check
C: HELO me
S: 250 ...
$: children; [[ $CHILDREN =~ ^[0-9]+\ ?$ ]]
END
}

@test "-u: supplementary groups of who starts it are given up" {
    need_root
    need setpriv
    [ -r /proc/self/status ] || skip "needs Linux's /proc"
    start setpriv --groups 0,4,24 "$SMTPD" -u nobody -l 127.0.0.1 -p 0 -m mail
    no_other_groups "$SERVER"
}

@test "-u: the local time is kept in Received, though its file can't be seen" {
    need_root
    # A time zone of ours, 5:45 before UT all year: its file is outside.
    py >zone <<'END'
import struct, sys
sys.stdout.buffer.write(b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) +
                        struct.pack(">lBB", 5 * 3600 + 45 * 60, 0, 0) + b"XXX\0")
END
    [ "$(TZ=:$PWD/zone date +%z)" = +0545 ] || skip "no such time zone files here"
    TZ=:$PWD/zone serve -u nobody
    letter bob@localhost
    received=$(field Received mail/bob/new/*)
    [[ $received == *" +0545" ]]
    py "${received##*; }" <<'END'
import sys, time
from email.utils import parsedate_to_datetime
assert abs(parsedate_to_datetime(sys.argv[1]).timestamp() - time.time()) < 60
END
}

@test "-u: a link that leads out of the mail directory leads nowhere" {
    need_root
    mkdir -m 777 outside mail
    ln -s "$PWD/outside" mail/bob
    chmod 755 . && chown nobody mail
    serve -u nobody
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
C: hello
C: .
S: 451 4.3.0 ...
END
    files outside 0
}

@test "-u: a mail directory that is there keeps its owner" {
    need_root
    mkdir -m 700 mail && mkdir -m 700 mail/carol && chown -R nobody mail
    serve -u nobody
    letter bob@localhost
    letter carol@localhost
    mails bob 1 carol 1
    end_server
    # That it is not the user's is found out at the start, not with the first mail.
    chown root mail
    cannot 73 mail "$SMTPD" -u nobody -l 127.0.0.1 -p 0 -m mail
    [ "$(find mail -maxdepth 0 -user root)" ]
}

# smtpd -u nobody -m mail, where mail is exchanged for a link to the directory theirs,
# root's, while this system call is held up. The rest of what it does is in trace.
exchanged() { # CALL WHERE
    need strace
    strace -o trace true 2>/dev/null || skip "strace may not trace here"
    mkdir -p theirs && rm -rf mail
    strace -o trace -e trace=%file,%desc -e inject="$1,$1at:$2=500000" \
        "$SMTPD" -i -u nobody -m mail </dev/null >replies 2>err 3>&- 4>&- &
    wait_until test -d mail
    wait_until holds trace "$1"
    mv mail moved && ln -s theirs mail
    wait "$!"
}

@test "-u: a new mail directory that somebody exchanges at once is not given away" {
    need_root
    # Between making and opening it: the server gives up.
    run -73 exchanged mkdir delay_exit
    [[ $'\n'$(<err) == *$'\nsmtpd: mail: '* && $'\n'$(<err) != *$'\nsmtpd: mail: '*$'\nsmtpd: mail: '* ]]
    [ "$(find theirs -maxdepth 0 -user root)" ]
    # Just before it is given away: what was made is, whatever its name is now.
    rm -r moved
    exchanged fchown delay_enter
    [ "$(find theirs -maxdepth 0 -user root)" ]
    [ "$(find moved -maxdepth 0 -user nobody)" ]
    run -1 grep -E '^(l?chown|fchownat)\(' trace
}

@test "-u: with a path of several parts, and with -i" {
    need_root
    mkdir -m 700 deep
    # shellcheck disable=SC2034 # ask has them
    options=(-u nobody -m "$PWD/deep/mail")
    ask 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA hello . QUIT
    holds replies $'\n250 2.0.0 '
    files deep/mail 1
    [ -n "$(find deep/mail -type f -user nobody)" ]
}

@test "-u: SIGTERM ends it" {
    need_root
    serve -u nobody
    dialogue <<'END'
S: 220 ...
$: kill "$SERVER"
S: 421 4.3.2 ...
END
    end_server TERM
}

@test "-u: only for root: exit 77, and one line that says why" {
    if [ "$EUID" -eq 0 ]; then
        need setpriv
        chmod 755 . && cp "$SMTPD" smtpd && mkdir -m 777 mail
        # The folder can't be reached from above, but from where we are.
        cannot 77 '-u nobody root' setpriv --reuid=65534 --regid=65534 --clear-groups \
            ./smtpd -u nobody -l 127.0.0.1 -p 0 -m mail
    else
        cannot 77 '-u nobody root' "$SMTPD" -u nobody -l 127.0.0.1 -p 0 -m mail
    fi
}

@test "-u: an unknown user, and root, are refused in one line that names them" {
    for user in no-such-user '' 65534x root; do
        [ "$user" != root ] || [ "$EUID" -eq 0 ] || continue
        run timeout 5 "$SMTPD" -u "$user" -l 127.0.0.1 -p 0 -m mail
        [ "$status" -ge 64 ]
        [ "$status" -le 78 ]
        [[ ${lines[0]} == "smtpd: "*"$user"* ]]
        [[ $output != *listening* ]]
    done
}
