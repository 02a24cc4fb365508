#!/usr/bin/env bats
# Where mail lies: the layout, the names of mailboxes and of messages, several
# recipients, and what a server finds there when it starts.

# ask takes options, and sets codes.
# shellcheck disable=SC2034,SC2154
load helpers

# A short message to these recipients, which must be taken.
posted() { from='<a@example.org> SMTPUTF8' post "$@" <<<$'Subject: x\n\ntext'; }

# All that lies under mail, to the array all.
everything() {
    shopt -s dotglob nullglob
    all=(mail/* mail/*/* mail/*/*/*)
    shopt -u dotglob nullglob
}

# Directories are for the user alone, and so are files.
private() { [ -z "$(find mail -type d ! -perm 700 -o -type f ! -perm 600)" ]; }

# Say to smtpd -i, in one session, a message to each of these, who may be several.
say() { # 'USER...'...
    local to user lines=('EHLO me')
    for to; do
        lines+=('MAIL FROM:<>')
        for user in $to; do lines+=("RCPT TO:<$user@localhost>"); done
        lines+=(DATA 'Subject: x' '' text .)
    done
    ask "${lines[@]}"
}

# Of so many messages this is what was said after the dot.
answered() { # N CODE
    local each n=0 other=''
    for each in "${codes[@]:1}"; do
        case $each in
        "$2") n=$((n + 1)) ;;
        '250 2.1.'[05] | 354) ;;
        *) other+=" $each" ;;
        esac
    done
    [ "$n,$other" = "$1," ] || { echo "$2 came $n times;$other" && return 1; }
}

@test "maildir: mail/user/{tmp,new,cur} are made, 0700, and the message 0600" {
    umask 0
    posted bob@example.com
    everything
    [ "${all[*]/%[0-9]*/NAME}" = 'mail/bob mail/bob/cur mail/bob/new mail/bob/tmp mail/bob/new/NAME' ]
    private
}

@test "maildir: so they are where the umask allows nothing at all" {
    : >log && : >replies # made now, or we could not read them
    (umask 0777 && posted bob@example.com)
    private
    files mail 1
}

@test "maildir: the mail directory is made where it is not there, but not its parent" {
    run -73 "$SMTPD" -i -m deep/mail </dev/null
    [ ! -e deep ]
    mkdir deep
    "$SMTPD" -i -m deep/mail </dev/null
    [ -d deep/mail ]
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
    folders=() to=()
    for missing in tmp new cur tmp-new new-cur tmp-cur tmp-new-cur; do
        folders+=(mail/{bob,carol}-without-"$missing")
        for each in tmp new cur; do
            [[ $missing == *$each* ]] || folders+=(mail/{bob,carol}-without-"$missing/$each")
        done
        to+=("bob-without-$missing carol-without-$missing")
    done
    mkdir -p "${folders[@]}"
    say "${to[@]}"
    answered 7 '250 2.0.0'
    for pair in "${to[@]}"; do mails "${pair% *}" 1 "${pair#* }" 1; done
    files mail 14
    everything
    [ ${#all[@]} -eq $((14 * 5)) ] # the mailbox, its three directories, the message
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
    everything
    got=$'\n'
    for file in "${all[@]}"; do
        [ -f "$file" ] || continue
        text=$(<"$file") mailbox=${file#mail/}
        got+="${text##*$'\n'}|${mailbox%/new/*}"$'\n'
    done
    number=0
    while read -r local mailbox; do
        echo "$local should be in $mailbox"
        [[ $got == *$'\n'"$local|$mailbox"$'\n'* ]]
        number=$((number + 1))
    done <names
    files mail "$number"
    there=(*)
    [ "${there[*]}" = 'log mail names replies' ]
}

@test "RFC 5321 4.1.2: all quoted forms of a local-part are one mailbox" {
    posted bob@example.com '"bob"@example.com' '"b\ob"@example.com' '"\B\o\b"@example.com'
    mails bob 1
    files mail 1
    for form in '"a b"' '"a\ b"' '"\a\ \b"' '"A b"'; do posted "$form@example.com"; done
    mails a%20b 4
    there=(mail/*)
    [ "${there[*]}" = 'mail/a%20b mail/bob' ]
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
    there=(mail/*)
    [ "${there[*]}" = 'mail/bob mail/postmaster' ]
}

@test "maildir: a name of 255 octets is taken, one too long for a file gets 501" {
    printf -v name 'ü%.0s' {1..42}                      # 42 * 2 octets, each of them three: 252
    printf -v user '%%C3%%BC%.0s' {1..42}
    posted "${name}xxx@localhost"
    mails "${user}xxx" 1
    run -1 posted "${name}xxxx@localhost"
    holds replies $'\n501 5.1.3 '
    there=(mail/*)
    [ ${#there[@]} -eq 1 ]
}

@test "maildir: one file, linked into the mailbox of each recipient" {
    posted bob@localhost carol@localhost dave@example.com
    first=(mail/bob/new/*)
    for user in bob carol dave; do
        mails "$user" 1
        for file in mail/"$user"/new/*; do [ "${first[0]}" -ef "$file" ]; done
    done
    [ -z "$(find mail -type f ! -links 3)" ]
    posted bob@localhost
    mails bob 2
    [ -n "$(find mail/bob -type f -links 1)" ]
}

@test "RFC 5321 4.1.1.4: a mailbox that can't be written: nobody gets the message" {
    # Where a directory should be lies a file: that hinders root as well.
    mkdir -p mail/badtmp/{new,cur} mail/badnew/{tmp,cur}
    for file in bad badtmp/tmp badnew/new; do : >"mail/$file"; done
    to=()
    for bad in bad badtmp badnew; do
        to+=("$bad bob" "bob $bad" "bob $bad carol" "bob carol $bad")
    done
    say "${to[@]}"
    answered 12 '451 4.3.0'
    files mail 3
    say 'bob carol'
    answered 1 '250 2.0.0'
    mails bob 1 carol 1
    files mail 5
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
    holds mail/bob/new/* $'\nsecond\n'
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
    options=(-n '[IPv6:2001:db8::1]')
    say bob
    file=(mail/bob/new/*)
    [[ ${file[0]##*/} =~ ^[0-9]+\.[^./:]+\.[0-9]+\.[A-Za-z0-9%.]+$ ]]
}

@test "maildir: names of messages tell hosts with long names apart" {
    printf -v label 'x%.0s' {1..60}
    for number in one two; do
        options=(-n "$number.$label.$label.$label")
        say "$number"
        # Where a long name is cut, nothing else may follow.
        file=("mail/$number/new"/*)
        host=$number.$label.$label.$label
        [[ ${file[*]} =~ /[0-9]+\.[^.]*\.[0-9]+\.(.*)$ ]]
        [ "${BASH_REMATCH[1]}" = "${host:0:99}" ]
    done
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
    holds replies $'\n250 2.0.0 Message kept*\n250 2.0.0 Message kept'
    files mail/bob/tmp 0
    files mail 4
}

@test "maildir: mailboxes that share a part only get one copy each" {
    mkdir -p mail/{a,b,c,d}/{tmp,new,cur}
    rm -r mail/b/tmp mail/d/new
    ln -s ../a/tmp mail/b/tmp           # a and b: the same tmp, and two new
    ln -s ../c/new mail/d/new           # c and d: the same new, and two tmp
    say 'a b' 'b a' 'c d' 'd c'
    answered 4 '250 2.0.0'
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
    SMTPD=./still say bob
    SMTPD=./still say bob
    SMTPD=./still say bob bob
    mails bob 4
    for file in mail/bob/new/*; do [[ $file == */1225500000.* ]]; done
}

@test "maildir: nothing that lies there is removed at the start, nor later" {
    mkdir -p mail/{bob,carol}/{tmp,new,cur} mail/.hidden/tmp mail/half/tmp
    touch -t 200001010000 mail/bob/{tmp/old,tmp/.dot,new/old,"cur/old:2,S",other} mail/old \
        mail/.hidden/tmp/old mail/half/tmp/notes
    touch mail/carol/tmp/young
    everything
    before=("${all[@]}")
    [ "${#before[@]}" -eq 21 ]
    serve
    everything
    [ "${all[*]}" = "${before[*]}" ]
    letter bob@localhost
    letter half@localhost
    end_server
    for each in "${before[@]}"; do [ -e "$each" ]; done
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
