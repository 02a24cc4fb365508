#!/usr/bin/env bats
# Trace information: what stands before a message when it lies in a mailbox.
# RFC 5321 4.4 has its grammar, RFC 5322 3.3 that of the date.

# shellcheck disable=SC2034,SC2154
load helpers

DATE='[MTWFS][a-z][a-z], [0-3][0-9] [JFMASOND][a-z][a-z] [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} [+-][0-9]{4}'
ID="[A-Za-z0-9!#\$%&'*+/=?^_\`{|}~-]+"

# The first two fields of this file must be Return-Path: with this path and
# Received: with these words, where ID stands for an atom, before the date.
# What then follows is left in $rest.
has_trace() { # FILE PATH WORDS
    local words=${3//ID/$ID}
    look "$1"
    [ "$path" = "$2" ] || { echo "Return-Path: $path" && return 1; }
    [[ $received =~ ^$words\;\ $DATE$ ]] || { echo "Received: $received" && return 1; }
}

@test "RFC 5321 4.4: Return-Path, then Received with client, server, ID, path and date" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO old.example
S: 250 ...
C: EHLO client.example
S*: 250 ...
C: MAIL FROM:<Alice@Example.org> BODY=8BITMIME
S: 250 ...
C: RCPT TO:<Bob@example.com>
S: 250 ...
C: DATA
S: 354 ...
C: Subject: hello
C:
C: hello
C: .
S: 250 2.0.0 ...
END
    has_trace mail/bob/new/* '<Alice@Example.org>' \
        'from client\.example \(\[127\.0\.0\.1\]\) by mail\.example\.com with ESMTP id ID for <Bob@example\.com>'
    [ "$rest" = $'Subject: hello\n\nhello\n' ]
}

@test "RFC 5321 4.4: after HELO the protocol is SMTP" {
    serve
    dialogue <<'END'
S: 220 ...
C: EHLO new.example
S*: 250 ...
C: HELO old.example
S: 250 ...
C: MAIL FROM:<>
S: 250 ...
C: RCPT TO:<bob@example.com>
S: 250 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
END
    has_trace mail/bob/new/* '<>' \
        'from old\.example \(\[127\.0\.0\.1\]\) by mail\.example\.com with SMTP id ID for <bob@example\.com>'
    [ -z "$rest" ]
}

@test "RFC 6531 4.3: with SMTPUTF8 the protocol is UTF8SMTP, without it ESMTP" {
    from='<zoë@exämple.org> SMTPUTF8' post jürgen@example.com </dev/null
    has_trace mail/j%C3%BCrgen/new/* '<zoë@exämple.org>' \
        'from client\.example by mail\.example\.com with UTF8SMTP id ID for <jürgen@example\.com>'
    from='<zoe@example.org> SMTPUTF8' post bob@example.com </dev/null
    has_trace mail/bob/new/* '<zoe@example.org>' '.* with UTF8SMTP id .*'
    from='<zoe@example.org>' post carol@example.com </dev/null
    has_trace mail/carol/new/* '<zoe@example.org>' '.* with ESMTP id .*'
}

has_ipv6() {
    py 2>/dev/null <<<'import socket; socket.socket(socket.AF_INET6).bind(("::1", 0))' ||
        skip "no IPv6 here"
}

# Send an empty message to $1 from the client address $HOST.
from_address() {
    dialogue <<END
S: 220 ...
C: HELO ${2-client.example}
S: 250 ...
C: MAIL FROM:<>
S: 250 ...
C: RCPT TO:<$1@example.com>
S: 250 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
END
}

@test "RFC 5321 4.4: a client with an IPv6 address, which has its own literal (4.1.3)" {
    has_ipv6
    serve -l ::1
    HOST=::1 from_address bob '[IPv6:2001:db8::25]'
    has_trace mail/bob/new/* '<>' \
        'from \[IPv6:2001:db8::25\] \(\[IPv6:::1\]\) by mail\.example\.com with SMTP id ID for <bob@example\.com>'
}

@test "RFC 5321 4.4: where our name is a literal, our address stands after it" {
    serve -n '[192.0.2.1]' -d example.com
    from_address bob
    has_trace mail/bob/new/* '<>' 'from .* by \[192\.0\.2\.1\] \(\[192\.0\.2\.1\]\) with .*'
}

@test "RFC 5321 4.4: IPv4 over an IPv6 socket is written as IPv4" {
    has_ipv6
    # Whoever starts smtpd -i may listen on such a socket.
    pieces <<'END'
listener = socket.socket(socket.AF_INET6)
listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
listener.bind(('::ffff:127.0.0.1', 0))
listener.listen()
c = Inetd(pair=(socket.create_connection(listener.getsockname()[:2]), listener.accept()[0]))
c.hears('220')
c.says('HELO [192.0.2.25]', '250')
c.send(envelope() + b'.\r\n')
c.hears(*KEPT)
c.end()
END
    has_trace mail/bob/new/* '<>' \
        'from \[192\.0\.2\.25\] \(\[127\.0\.0\.1\]\) by .*'
}

@test "RFC 5321 4.4: without a client address nothing stands in its place" {
    post bob@example.com </dev/null
    has_trace mail/bob/new/* '<a@example.org>' \
        'from client\.example by mail\.example\.com with ESMTP id ID for <bob@example\.com>'
}

@test "RFC 5321 4.4: the ID of Received is the one in the reply, the log and the file's name" {
    post bob@example.com </dev/null
    look mail/bob/new/*
    [[ $received =~ ' id '([^ \;]+) ]]
    id=${BASH_REMATCH[1]}
    holds replies $'\r\n250 2.0.0 '"* $id"$'\r\n'
    holds log "kept $id "
    [[ $(echo mail/bob/new/*) == mail/bob/new/*."$id".* ]]
}

@test "RFC 5321 7.2: with several recipients none is named, or copies were not blind" {
    post bob@example.com carol@example.com <<<'Subject: x'
    for user in bob carol; do
        has_trace mail/"$user"/new/* '<a@example.org>' \
            'from client\.example by mail\.example\.com with ESMTP id ID'
        lacks mail/"$user"/new/* '[Bb][Oo][Bb]@'
        lacks mail/"$user"/new/* '[Cc][Aa][Rr][Oo][Ll]@'
    done
}

@test "RFC 5321 7.2: a recipient who was refused does not count, nor one named twice" {
    from='<>' post bob@example.com eve@elsewhere.example BOB@localhost </dev/null
    has_trace mail/bob/new/* '<>' '.* id ID for <bob@example\.com>'
    mails bob 1
}

@test "RFC 5321 4.4: paths stand there as they were sent, but for a source route (appendix C)" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO client.example
S: 250 ...
C: MAIL FROM:<@one.example,@two.example:"joe \" bloggs"@[192.0.2.1]>
S: 250 ...
C: RCPT TO:<@relay.example:"Bob\ "@EXAMPLE.com>
S: 250 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
END
    has_trace mail/bob%20/new/* '<"joe \" bloggs"@[192.0.2.1]>' \
        '.* for <"Bob\\ "@EXAMPLE\.com>'
}

@test "RFC 5321 4.4: postmaster alone is no Path, so there is no for clause" {
    from='<>' post PostMaster </dev/null
    has_trace mail/postmaster/new/* '<>' 'from client\.example by mail\.example\.com with ESMTP id ID'
}

@test "RFC 5321 4.4: the longest names and paths are whole, on lines under 998 octets" {
    # 255 octets of domain (4.5.3.1.2), and 256 of path with its < > (4.5.3.1.3).
    label=${xs:0:49}
    domain=$label.$label.$label.$label.$label.abcde
    sender=someone@${domain%???????}
    recipient=bob@${domain%?????}z
    [ "${#domain} ${#sender} ${#recipient}" = "255 256 255" ]
    sender=${sender#??} recipient=${recipient#?}
    options=(-n "$domain" -d '*')
    ask "EHLO $domain" "MAIL FROM:<$sender>" "RCPT TO:<$recipient>" DATA . QUIT
    has_trace mail/ob/new/* "<$sender>" \
        "from ${domain//./\\.} by ${domain//./\\.} with ESMTP id ID for <$recipient>"
    while IFS= read -r line; do [ ${#line} -lt 998 ]; done <mail/ob/new/*
}

@test "RFC 5321 4.4: two messages of one session have their own trace and ID" {
    ask 'EHLO one.example' 'MAIL FROM:<first@example.org> SMTPUTF8' \
        'RCPT TO:<bob@example.com>' DATA 'Subject: first' . 'EHLO two.example' 'MAIL FROM:<>' \
        'RCPT TO:<carol@example.com>' DATA 'Subject: second' . QUIT
    has_trace mail/bob/new/* '<first@example.org>' \
        'from one\.example by mail\.example\.com with UTF8SMTP id ID for <bob@example\.com>'
    [ "$rest" = $'Subject: first\n' ]
    first=$received
    has_trace mail/carol/new/* '<>' \
        'from two\.example by mail\.example\.com with ESMTP id ID for <carol@example\.com>'
    [ "$rest" = $'Subject: second\n' ]
    [[ $first =~ ' id '([^ ]*) ]]
    [[ $received != *" id ${BASH_REMATCH[1]} "* ]]
}

@test "RFC 5321 4.4: the date is now, in local time, with an explicit offset" {
    # POSIX time zones: in them the sign says how far UT is ahead.
    for zone in UTC0 '<+0545>-5:45' '<-0330>3:30' '<+14>-14' '<-12>12' '<-0030>0:30'; do
        TZ=$zone from='<>' post bob@example.com </dev/null
        look mail/bob/new/*
        echo "$zone; ${received##*; }" >>dates
        rm mail/bob/new/*
    done
    py dates <<'END'
import sys, time
from email.utils import parsedate_to_datetime, format_datetime
offsets = []
for line in open(sys.argv[1]):
    date = line.split("; ")[1].rstrip("\n")
    when = parsedate_to_datetime(date)
    assert abs(when.timestamp() - time.time()) < 60, line
    # Weekday too: written again it is the same.
    assert format_datetime(when) == date, line
    offsets.append(date[-5:])
assert offsets == ["+0000", "+0545", "-0330", "+1400", "-1200", "-0030"], offsets
END
}

@test "RFC 5322 3.3: dates across the ends of years, of February and of summer time" {
    need "${CC:-cc}"
    # The server, built to take $THEN for the time of day.
    cat >then.h <<'END'
#include <stdlib.h>
#include <time.h>
static time_t then_time(time_t *t)
{
    time_t then = (time_t)strtoll(getenv("THEN"), NULL, 10);
    if (t != NULL)
        *t = then;
    return then;
}
static int then_clock(clockid_t clock, struct timespec *t)
{
    int result = clock_gettime(clock, t);
    if (clock == CLOCK_REALTIME)
        t->tv_sec = then_time(NULL);
    return result;
}
#define time(t) then_time(t)
#define clock_gettime(clock, t) then_clock(clock, t)
END
    n=0
    "${CC:-cc}" -w -include ./then.h -o smtpd-then "$ROOT/smtpd.c"
    while read -r when zone date; do
        n=$((n + 1))
        THEN=$when TZ=$zone SMTPD=./smtpd-then from='<>' post "u$n@example.com" </dev/null
        look "mail/u$n/new/"*
        [ "${received##*; }" = "$date" ] || { echo "$when $zone: $received" && return 1; }
    done <<'END'
1798761599 UTC0 Thu, 31 Dec 2026 23:59:59 +0000
1798761599 <+0545>-5:45 Fri, 01 Jan 2027 05:44:59 +0545
1798761600 <-0330>3:30 Thu, 31 Dec 2026 20:30:00 -0330
1735689599 <+14>-14 Wed, 01 Jan 2025 13:59:59 +1400
1735689600 <-12>12 Tue, 31 Dec 2024 12:00:00 -1200
1709164800 <-0030>0:30 Wed, 28 Feb 2024 23:30:00 -0030
1709164800 <+0030>-0:30 Thu, 29 Feb 2024 00:30:00 +0030
1774745999 CET-1CEST,M3.5.0,M10.5.0/3 Sun, 29 Mar 2026 01:59:59 +0100
1774746000 CET-1CEST,M3.5.0,M10.5.0/3 Sun, 29 Mar 2026 03:00:00 +0200
1792889999 CET-1CEST,M3.5.0,M10.5.0/3 Sun, 25 Oct 2026 02:59:59 +0200
1792890000 CET-1CEST,M3.5.0,M10.5.0/3 Sun, 25 Oct 2026 02:00:00 +0100
1735689600 <-0345>3:45 Tue, 31 Dec 2024 20:15:00 -0345
1782000000 NST3:30NDT,M3.2.0,M11.1.0 Sat, 20 Jun 2026 21:30:00 -0230
2147483647 UTC0 Tue, 19 Jan 2038 03:14:07 +0000
END
}

@test "RFC 5321 4.4: other Return-Path fields go, in any case and with their folded lines" {
    post bob@example.com <<'END'
Return-Path: <first@example.org>
Received: from elsewhere.example by
 client.example; Thu, 1 Jan 1998 00:00:00 +0000
RETURN-PATH:
	<folded@example.org>
 again
	
Subject: kept, and so are its folds
 Return-Path: <this is part of the subject>
return-path:<no space>
X-Return-Path: kept
Return-Path-X: kept
ReTuRn-PaTh : <kept, since no colon follows the name>
To: bob
Return-Path: <last@example.org>

Return-Path: <in the body>
 kept
END
    has_trace mail/bob/new/* '<a@example.org>' '.*'
    diff -u - <(printf %s "$rest") <<'END'
Received: from elsewhere.example by
 client.example; Thu, 1 Jan 1998 00:00:00 +0000
Subject: kept, and so are its folds
 Return-Path: <this is part of the subject>
X-Return-Path: kept
Return-Path-X: kept
ReTuRn-PaTh : <kept, since no colon follows the name>
To: bob

Return-Path: <in the body>
 kept
END
}

@test "RFC 5321 4.4: a Return-Path field goes however long it and its lines are" {
    # Longer than any buffer; the octets after each cut look like a field.
    printf -v long 'Subject: no: %.0s' {1..10000}
    from='<>' post bob@example.com <<END
To: bob
Return-Path: $long
 $long
 $long
From: alice

text
END
    has_trace mail/bob/new/* '<>' '.*'
    [ "$rest" = $'To: bob\nFrom: alice\n\ntext\n' ]
}

@test "RFC 5321 4.4: the client's Received fields stay, in their order, after ours" {
    cat >sent <<'END'
Received: from c.example by d.example; Thu, 1 Jan 1998 00:00:03 +0000
Subject: between
Received: from b.example
	by c.example; Thu, 1 Jan 1998 00:00:02 +0000
RECEIVED:from a.example by b.example;Thu, 1 Jan 1998 00:00:01 +0000

text
END
    from='<>' post bob@example.com <sent
    has_trace mail/bob/new/* '<>' 'from client\.example by .*'
    diff -u sent - <<<"${rest%$'\n'}"
}

@test "RFC 5321 4.4: a message without a header section gets the trace and nothing more" {
    while read -r user sent; do
        printf '%b' "$sent" >sent
        from='<>' post "$user@example.com" <sent
        has_trace mail/"$user"/new/* '<>' '.*'
        printf -v wanted '%b' "${sent/Return-Path: <gone>\\n/}"
        [ "$rest" = "$wanted" ]
    done <<'END'
nothing
empty \nReturn-Path: <kept>\n
empty2 \n\nReturn-Path: <kept>\n
text Hello, Bob\nReturn-Path: <gone>\n\nReturn-Path: <kept>\n
colon Hello Bob: hi\nReturn-Path: <gone>\n\nReturn-Path: <kept>\n
dot .\nReturn-Path: <gone>\n
first Return-Path: <gone>\n
last Subject: no body\n
END
}

@test "RFC 5321 4.4: mail data that begin with a space or tab do not continue our Received" {
    for first in ' with SMTPS; Mon, 1 Jan 2001 00:00:00 +0000' $'\tfor <eve@example.com>' ' '; do
        from='<>' post bob@example.com <<<"$first"$'\nSubject: x\n\nReturn-Path: <kept>'
        has_trace mail/bob/new/* '<>' '.*'
        [ "$rest" = $'\n'"$first"$'\nSubject: x\n\nReturn-Path: <kept>\n' ]
        rm mail/bob/new/*
    done
    # The blank may be behind a dot that is undone (RFC 5321 4.5.2), and the line
    # longer than a buffer. Behind a Return-Path: field, it goes with that.
    printf -v long '%0100000d' 0
    ask 'EHLO me' 'MAIL FROM:<>' 'RCPT TO:<carol@example.com>' DATA $'.\tfor <eve@example.com>' . \
        'MAIL FROM:<>' 'RCPT TO:<dave@example.com>' DATA " $long" 'Return-Path: <kept>' . \
        'MAIL FROM:<>' 'RCPT TO:<frank@example.com>' DATA 'Return-Path: x' ' folded' 'To: bob' .
    has_trace mail/carol/new/* '<>' '.*'
    [ "$rest" = $'\n\tfor <eve@example.com>\n' ]
    has_trace mail/dave/new/* '<>' '.*'
    [ "$rest" = $'\n'" $long"$'\nReturn-Path: <kept>\n' ]
    has_trace mail/frank/new/* '<>' '.*'
    [ "$rest" = $'To: bob\n' ]
}

@test "RFC 5322 2.1: the header section ends at the first empty line, and nowhere else" {
    # As git format-patch makes them, as mbox files have them, and worse.
    cat >sent <<'END'
From 8d18a83f01f82373adc1b1602e527f6947d7740a Mon Sep 17 00:00:00 2001
From: Alice <alice@example.org>
Return-Path: <gone>
Date: Mon, 17 Sep 2001 00:00:00 +0000
>From bob Mon Sep 17 00:00:00 2001
Return-Path: <gone>
 with its folded line
This line is no field
 nor is this one, which would be folded
: nor this
return-path: <gone>
	and its folded line
Subject: [PATCH] x

From carol Mon Sep 17 00:00:00 2001
>From dave Mon Sep 17 00:00:00 2001
Return-Path: <kept>
---
 x | 1 +

-- 
2.50.0
END
    from='<>' post bob@example.com <sent
    has_trace mail/bob/new/* '<>' '.*'
    sed '1,/^$/ { /^[Rr]eturn-[Pp]ath:/d; /folded line$/d; }' sent >kept
    [ "$(wc -l <sent) $(wc -l <kept)" = '22 17' ]
    cmp kept - <<<"${rest%$'\n'}"
}

@test "RFC 5321 3.7.2: Received fields of any form are taken, and kept as they are" {
    cat >sent <<END
Received:
Received: $(printf %010000d 0)
Received: not by SMTP, and no date;;; (an open comment
Received : from (()) by "
	;
received:from a.example
END
    post bob@localhost <sent
    look mail/bob/new/*
    diff sent - <<<"${rest%$'\n'}"
}

@test "RFC 5321 7.2: only the envelope says who gets it, and no header field changes" {
    printf '%s: %s@localhost\n' To carol Cc dave Bcc eve From frank >header
    post bob@localhost <header
    mailboxes bob
    look mail/bob/new/*
    diff header - <<<"${rest%$'\n'}"
    post gina@localhost <<<'Subject: to nobody'
    # Our two fields, and the one that was sent.
    look mail/gina/new/*
    [ "$rest" = $'Subject: to nobody\n' ]
}
