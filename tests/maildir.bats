#!/usr/bin/env bats
# Where mail lies: the layout, the names of mailboxes and of messages, several
# recipients, and what a server finds there when it starts.

# shellcheck disable=SC2034
load helpers

# A short message to these recipients, which must be taken.
posted() { from='<a@example.org> SMTPUTF8' post "$@" <<<$'Subject: x\n\ntext'; }

# Everything under mail, directories first; message names become NAME.
tree() { find mail | LC_ALL=C sort | sed -E 's,/(tmp|new|cur)/.+,/\1/NAME,'; }

@test "maildir: mail/user/{tmp,new,cur} are made, 0700, and the message 0600" {
    umask 0
    posted bob@example.com
    [ "$(tree)" = 'mail
mail/bob
mail/bob/cur
mail/bob/new
mail/bob/new/NAME
mail/bob/tmp' ]
    [ -z "$(find mail -type d ! -perm 700)" ]
    [ -z "$(find mail -type f ! -perm 600)" ]
}

@test "maildir: so they are where the umask allows nothing at all" {
    : >log && : >replies # made now, or we could not read them
    (umask 0777 && posted bob@example.com)
    [ -z "$(find mail -type d ! -perm 700)" ]
    [ "$(find mail -type f -perm 600 | wc -l)" -eq 1 ]
}

@test "maildir: the mail directory is made where it is not there, but not its parent" {
    run -73 "$SMTPD" -i -m deep/mail </dev/null
    [ ! -e deep ]
    mkdir deep
    "$SMTPD" -i -m deep/mail </dev/null
    [ -d deep/mail ]
}

@test "maildir: a message lies there octet for octet, line ends LF" {
    # Every octet but NUL, CR and LF, in the header section and in the body.
    py >text <<'END'
import sys
octets = bytes(i for i in range(1, 256) if i not in (10, 13))
line = octets + b"\r\n"
sys.stdout.buffer.write(b"Subject: " + line + b"\r\n" + line + b"\r\n\r\n \r\nlast\t \r\n\r\n")
END
    {
        printf '%s\r\n' 'EHLO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA
        cat text
        printf '%s\r\n' . QUIT
    } >.asked
    talk <.asked >replies
    sed '1,/[+-][0-9][0-9][0-9][0-9]$/d' mail/bob/new/* | cmp - <(tr -d '\r' <text)
}

@test "maildir: a Maildir that is there is used, its mail and folders left alone" {
    mkdir -p mail/bob/{tmp,new,cur} mail/bob/.Sent/{tmp,new,cur}
    echo old >mail/bob/cur/1.old:2,S
    echo new >mail/bob/new/2.new
    echo other >mail/bob/subscriptions
    chmod 750 mail/bob
    posted bob@example.com
    mails bob 2
    [ "$(cat mail/bob/cur/* mail/bob/new/2.new mail/bob/subscriptions)" = $'old\nnew\nother' ]
    files mail 4
    [ "$(find mail/bob -prune -perm 750)" ]
}

@test "maildir: whatever directory is missing in a mailbox is made" {
    for missing in tmp new cur 'tmp new' 'new cur' 'tmp cur' 'tmp new cur'; do
        rm -rf mail
        mkdir -p mail/bob/{tmp,new,cur} mail/carol/{tmp,new,cur}
        for directory in $missing; do rmdir mail/*/"$directory"; done
        echo "without $missing:"
        posted bob@localhost carol@localhost
        [ "$(tree | grep -c '/NAME$')" -eq 2 ]
        [ "$(find mail/*/* -type d | wc -l)" -eq 6 ]
    done
}

@test "maildir: names are lower-cased, odd octets escaped, and nothing leads out" {
    # The local-part as said in RCPT, and the mailbox's directory. All in one
    # session: the text of each message is its local-part.
    cat >names <<'END'
bob                     bob
BOB                     bob
Bob.Smith-Jones_2+tag=x bob.smith-jones_2+tag=x
"bob"                   bob
"b\o\b"                 bob
"bob."                  bob.
a.b.c                   a.b.c
".bob"                  %2Ebob
"."                     %2E
".."                    %2E.
"..."                   %2E..
"../bob"                %2E.%2Fbob
"../../etc/passwd"      %2E.%2F..%2Fetc%2Fpasswd
"/etc"                  %2Fetc
/etc/passwd             %2Fetc%2Fpasswd
"a/../../b"             a%2F..%2F..%2Fb
a/./b                   a%2F.%2Fb
"bob/new"               bob%2Fnew
"bob/../carol"          bob%2F..%2Fcarol
%2F                     %252f
"..%2f.."               %2E.%252f..
%2e%2e                  %252e%252e
%00                     %2500
bob%00                  bob%2500
!#$&'*?^`{|}~           %21%23%24%26%27%2A%3F%5E%60%7B%7C%7D%7E
"\""                    %22
"\\"                    %5C
"a_SP_b"                a%20b
"_SP_"                  %20
"a@b"                   a%40b
"<>(),:;[]"             %3C%3E%28%29%2C%3A%3B%5B%5D
-rf                     -rf
*                       %2A
~root                   %7Eroot
$HOME                   %24home
jürgen                  j%C3%BCrgen
JÜRGEN                  j%C3%9Crgen
ÀÉ                      %C3%80%C3%89
"ü"                     %C3%BC
用户                    %E7%94%A8%E6%88%B7
tmp                     tmp
new                     new
END
    {
        printf 'EHLO me\r\n'
        while read -r local _; do
            printf '%s\r\n' 'MAIL FROM:<> SMTPUTF8' "RCPT TO:<${local//_SP_/ }@localhost>" \
                DATA '' "$local" .
        done <names
    } >.asked
    talk <.asked >replies
    while read -r file; do
        mailbox=${file#mail/}
        printf '%-23s %s\n' "$(tail -n 1 "$file")" "${mailbox%%/*}"
    done < <(find mail -path 'mail/*/new/*' -type f) >got
    diff <(LC_ALL=C sort names | tr -s ' ') <(LC_ALL=C sort got | tr -s ' ')
    [ "$(ls)" = $'got\nlog\nmail\nnames\nreplies' ]
}

@test "RFC 5321 4.1.2: all quoted forms of a local-part are one mailbox" {
    posted bob@example.com '"bob"@example.com' '"b\ob"@example.com' '"\B\o\b"@example.com'
    mails bob 1
    files mail 1
    for form in '"a b"' '"a\ b"' '"\a\ \b"' '"A b"'; do posted "$form@example.com"; done
    mails a%20b 4
    [ "$(ls mail)" = $'a%20b\nbob' ]
}

@test "maildir: mailboxes of different local-parts are different" {
    # Some are alike once escaped.
    posted '"a/b"@localhost' 'a%2Fb@localhost' 'a%252Fb@localhost' '"a b"@localhost' \
        a_b@localhost a+b@localhost ab@localhost '"ab "@localhost'
    files mail 8
}

@test "maildir: all served domains share the mailboxes" {
    options=(-d one.example -d two.example)
    posted bob@one.example
    posted BOB@Two.Example
    posted bob@one.example bob@two.example '"Bob"@ONE.example'
    posted postmaster
    posted Postmaster@one.example
    mails bob 3 postmaster 2
    [ "$(ls mail)" = $'bob\npostmaster' ]
}

@test "maildir: a name of 255 octets is taken, one too long for a file gets 501" {
    name=$(printf 'ü%.0s' {1..42})xxx # 42 * 2 octets, each of them three: 252
    posted "$name@localhost"
    mails "$(printf '%%C3%%BC%.0s' {1..42})xxx" 1
    run -1 posted "${name}x@localhost"
    grep -q '^501 5\.1\.3 ' replies
    [ "$(find mail -mindepth 1 -maxdepth 1 | wc -l)" -eq 1 ]
}

@test "maildir: one file, linked into the mailbox of each recipient" {
    posted bob@localhost carol@localhost dave@example.com
    for user in bob carol dave; do
        mails "$user" 1
        [ "$(message bob)" -ef "$(message "$user")" ]
    done
    [ "$(find mail -type f -links 3 | wc -l)" -eq 3 ]
    posted bob@localhost
    [ "$(find mail -type f -links 1 | wc -l)" -eq 1 ]
}

@test "RFC 5321 4.1.1.4: a mailbox that can't be written: nobody gets the message" {
    # Where a directory should be lies a file: that hinders root as well.
    mkdir mail && : >mail/bad
    mkdir -p mail/{badtmp,badnew}/{tmp,new,cur}
    rmdir mail/badtmp/tmp mail/badnew/new
    : >mail/badtmp/tmp && : >mail/badnew/new
    for bad in bad badtmp badnew; do
        for order in "$bad bob" "bob $bad" "bob $bad carol" "bob carol $bad"; do
            echo "$order:"
            # shellcheck disable=SC2086
            run -1 posted ${order// /@localhost }@localhost
            grep -q '^451 4\.3\.0 ' replies
            [ -z "$(find mail -type f -size +0)" ]
        done
    done
    posted bob@localhost carol@localhost
    mails bob 1 carol 1
    [ "$(find mail -type f -size +0 | wc -l)" -eq 2 ]
}

@test "RFC 5321 4.1.1.4: after such a refusal the session goes on, nothing left over" {
    mkdir mail && : >mail/bad
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: RCPT TO:<bad@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: first
C: .
S: 451 4.3.0 ...
C: RCPT TO:<bob@localhost>
S: 503 5.5.1 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: second
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 ...
END
    mails bob 1
    [ "$(tail -n 1 mail/bob/new/*)" = second ]
}

@test "maildir: names of messages are time, a unique part and host, and safe" {
    now=$(date +%s)
    posted bob@localhost
    file=$(message bob) && file=${file##*/}
    [[ $file =~ ^([0-9]+)\.([A-Za-z0-9_-]+)\.[0-9]+\.mail\.example\.com$ ]]
    later=$((BASH_REMATCH[1] - now))
    [ "$later" -ge 0 ]
    [ "$later" -le 60 ]
    # No slash, no colon, which begins the flags, whatever -n is.
    rm -r mail
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA . |
        talk -n '[IPv6:2001:db8::1]'
    file=$(message bob)
    [[ ${file##*/} =~ ^[0-9]+\.[^./:]+\.[0-9]+\.[A-Za-z0-9%.]+$ ]]
}

@test "maildir: names of messages tell hosts with long names apart" {
    label=$(printf 'x%.0s' {1..60})
    for host in "one.$label.$label.$label" "two.$label.$label.$label"; do
        printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA . |
            talk -n "$host"
        names+=("${host:0:99}")
    done
    # Where a long name is cut, nothing else may follow.
    diff <(find mail -type f -name '*.*' | sed 's/.*\/[0-9]*\.[^.]*\.[0-9]*\.//' | LC_ALL=C sort) \
        <(printf '%s\n' "${names[@]}")
}

@test "maildir: a mailbox that is another one by a link gets two copies, even if read at once" {
    need strace
    strace -o trace true 2>/dev/null || skip "strace may not trace here"
    export ASAN_OPTIONS=detect_leaks=0
    mkdir -p mail/bob/{tmp,new,cur} && ln -s bob mail/postmaster
    # A mail reader takes each message out of new as soon as it is there.
    (until [ -e over ]; do
        if compgen -G 'mail/bob/new/*' >/dev/null; then mv mail/bob/new/* mail/bob/cur/; fi
        pause
    done) 3>&- 4>&- &
    reader=$!
    for to in 'bob postmaster' 'postmaster bob'; do
        { printf '%s\r\n' 'HELO me' 'MAIL FROM:<>'
            # shellcheck disable=SC2086
            printf 'RCPT TO:<%s@localhost>\r\n' $to
            printf '%s\r\n' DATA x . QUIT; } >input
        strace -f -o trace -e trace=rename,renameat,renameat2 \
            -e inject=rename,renameat,renameat2:delay_exit=300000 \
            "$SMTPD" -i -m mail -n mail.example.com <input >>replies 2>>log
    done
    : >over
    wait "$reader" || :
    [ "$(grep -c '^250 2\.0\.0 Message kept' replies)" -eq 2 ]
    [ "$(find mail/bob/cur mail/bob/new -type f | wc -l)" -eq 4 ]
    files mail 4
}

@test "maildir: mailboxes that share a part only get one copy each" {
    mkdir -p mail/{a,b,c,d}/{tmp,new,cur}
    rm -r mail/b/tmp mail/d/new
    ln -s ../a/tmp mail/b/tmp           # a and b: the same tmp, and two new
    ln -s ../c/new mail/d/new           # c and d: the same new, and two tmp
    for to in 'a b' 'b a' 'c d' 'd c'; do
        { printf '%s\r\n' 'HELO me' 'MAIL FROM:<>'
            # shellcheck disable=SC2086
            printf 'RCPT TO:<%s@localhost>\r\n' $to
            printf '%s\r\n' DATA x .; } | talk >>replies
    done
    [ "$(grep -c '^250 2\.0\.0 Message kept' replies)" -eq 4 ]
    mails a 2 b 2 c 4 d 4
    files mail 8
}

@test "maildir: names are unique among messages, sessions and servers at one time" {
    one_session() {
        {
            printf 'HELO me\r\n'
            for _ in {1..25}; do
                printf '%s\r\n' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA .
            done
        } >"asked.$1"
        talk <"asked.$1" >"replies.$1"
    }
    pids=()
    for i in 1 2 3 4; do
        one_session "$i" 3>&- 4>&- &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    [ "$(cat replies.* | grep -c '^250 2\.0\.0 ')" -eq 100 ]
    mails bob 100
    files mail 100
}

@test "maildir: names differ even where the clock stands still" {
    need "${CC:-cc}"
    cat >still.h <<'END'
#include <time.h>
static int still_clock(clockid_t clock, struct timespec *t)
{
    int result = clock_gettime(clock, t);
    if (clock == CLOCK_REALTIME)
        t->tv_sec = 1225500000, t->tv_nsec = 0;
    return result;
}
#define time(t) 1225500000
#define clock_gettime(clock, t) still_clock(clock, t)
END
    "${CC:-cc}" -w -include ./still.h -o still "$ROOT/smtpd.c"
    SMTPD=./still posted bob@localhost
    SMTPD=./still posted bob@localhost
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA . \
        'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' DATA . >.asked
    SMTPD=./still talk <.asked >replies
    mails bob 4
    [[ $(message bob) == */1225500000.* ]]
}

@test "maildir: nothing that lies there is removed at the start, nor later" {
    mkdir -p mail/{bob,carol}/{tmp,new,cur} mail/.hidden/tmp mail/half/tmp
    touch -t 200001010000 mail/bob/{tmp/old,tmp/.dot,new/old,cur/old:2,S,other} mail/old \
        mail/.hidden/tmp/old mail/half/tmp/notes
    touch mail/carol/tmp/young
    find mail | LC_ALL=C sort >before
    serve
    diff before <(find mail | LC_ALL=C sort)
    letter bob@localhost
    letter half@localhost
    end_server
    diff before <(find mail | LC_ALL=C sort | comm -12 before -)
}

@test "maildir: at the start, what else lies in the mail directory does no harm" {
    mkdir -p mail/empty mail/.hidden/tmp outside/tmp
    : >mail/file && ln -s nowhere mail/dangling && ln -s "$PWD/outside" mail/link
    touch -t 200001010000 mail/.hidden/tmp/kept outside/tmp/old
    ln -s "$PWD/mail/file" mail/empty/tmp
    serve
    [ -e mail/file ]
    [ -L mail/dangling ]
    [ -e mail/.hidden/tmp/kept ]
    posted bob@localhost
    mails bob 1
}

@test "maildir: a server killed inside a message harms nothing, nor does its file" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 ...
C: RCPT TO:<bob@localhost>
S: 250 ...
C: DATA
S: 354 ...
$: printf 'a long line\r\n%.0s' {1..10000} >&8
$: wait_until test -d mail/bob/tmp
$: kill -9 $(sessions)
E:
END
    files mail/bob/tmp 1
    mails bob 0
    end_server KILL || :
    serve
    posted bob@localhost
    mails bob 1
    files mail/bob/tmp 1
}
