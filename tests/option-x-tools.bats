#!/usr/bin/env bats
# -x with the programs that it is for: to show mail, to send it on, to judge it and
# to sort it. None of them reaches further than this machine. SpamAssassin's test is
# in readme.bats.

# The commands between single quotes are the hook's; some variables are helpers'.
# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2153,SC2154
load helpers

LETTER='From: a@b.example
To: bob@localhost
Date: Wed, 1 Oct 2008 12:00:00 +0000
Message-ID: <5321@b.example>
Subject: lunch'
HAM="$LETTER

At one?"

# One message, from standard input; the reply to its dot is $reply.
send() { # COMMAND [RECIPIENT...]
    options=(-d '*' -x "$1")
    shift
    post "${@:-bob@localhost}" || :
    # The line after that of the 354.
    IFS= read -r -d '' reply <replies || :
    reply=${reply#*$'\n354 '*$'\n'}
    reply=${reply%%$'\r'*}
}

# Start a program, and wait until it has printed this. Its end is the test's.
background() { # READY COMMAND...
    local ready=$1
    shift
    "$@" </dev/null >"${1##*/}.out" 2>&1 3>&- 4>&- &
    SERVERS="$SERVERS $!"
    WAIT=60 wait_until holds "${1##*/}.out" "$ready"
}

free_port() {
    py <<<'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# A DNS server for b.example alone. What asks it by Perl's Net::DNS finds it.
name_server() { # DNSMASQ-OPTIONS
    need openssl
    PATH=$PATH:/usr/sbin:/sbin
    need dnsmasq
    RES_NAMESERVERS=127.0.0.1 RES_OPTIONS=port:$(free_port)
    export RES_NAMESERVERS RES_OPTIONS
    background started dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts \
        --user="$(id -un)" --pid-file= --listen-address=127.0.0.1 --bind-interfaces \
        --port="${RES_OPTIONS#port:}" --local=/example/ "$@"
}

@test "-x: 'cat -v' shows each message; session, sender and recipients are at hand" {
    serve -d '*' -x 'echo "session $SESSION, from <$SENDER>, to <$*>"; cat -v'
    dialogue <<'END'
S: 220 ...
C: EHLO me
S*: 250 ...
C: MAIL FROM:<zoe@example.org>
S: 250 2.1.0 ...
C: RCPT TO:<bob@a.example>
S: 250 2.1.5 ...
C: RCPT TO:<carol@b.example>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
X: Subject: Gr\xC3\xBC\xC3\x9Fe\r\n\r\n..dot\x1B\r\n
C: .
S: 250 2.0.0 Message kept ...
C: QUIT
S: 221 ...
END
    session=$(sed -n 's/^smtpd\[[0-9]*\]: \([^ ]*\) start .*/\1/p' log)
    holds log $'\n'"session $session, from <zoe@example.org>, to <bob@a.example carol@b.example>"$'\n'
    holds log $'\nSubject: GrM-CM-<M-CM-^_e\n'
    holds log $'\n.dot^\\[\n'
}

# msmtp as README has it, but to a server of ours.
relay='msmtp --file=/dev/null --host=127.0.0.1 --port=$PORT --remove-bcc-headers=off \
    --set-msgid-header=off --from="$SENDER" -- "$@" && exit 99'

@test "-x: relay by msmtp: taken, not kept here, and there octet for octet" {
    need msmtp
    serve -m there -d '*'
    for from in '<a@b.example>' '<>'; do
        send "tee ../sent | $relay" bob@localhost carol@example.com <<END
$LETTER
Bcc: eve@c.example

.
..two, and Grüße
$(x 998)
 $(printf 'trailing space \t')


END
        [[ $reply == '250 2.0.0 Message taken as '* ]]
        files mail 0
        files=(there/bob/new/* there/carol/new/*)
        [ "${#files[@]}" -eq 2 ]
        [ "${files[0]}" -ef "${files[1]}" ]
        look "${files[0]}"
        [ "$path" = "$from" ]
        # There they have their own Return-Path, and one Received more.
        sed 1d sent | cmp - <(printf %s "$rest")
        [[ $rest == 'Received: from '* ]]
        [[ ${rest#Received: } != *$'\nReceived: '* ]]
        rm -r there/bob there/carol mail
    done
}

@test "-x: relay by msmtp: 451 when the smart host is down, or says 4yz" {
    need msmtp
    serve -m there -x 'exit 75'
    send "$relay" <<<"$HAM"
    [[ $reply == '451 4.3.0 '* ]]
    end_server
    send "$relay" <<<"$HAM"
    [[ $reply == '451 4.3.0 '* ]]
    files mail 0
    files there 0
}

@test "-x: relay by msmtp: a recipient that the smart host refuses is refused, with 550" {
    need msmtp
    serve -m there -d b.example
    send "$relay" bob@c.example <<<"$HAM"
    [[ $reply == '550 5.7.1 '* ]]
    files mail 0
    files there 0
    # The reason is in our log.
    grep -q 'server message: 550 5\.7\.1 .*RFC 5321 3\.6\.2' log
}

@test "-x: a grep refuses what it finds, and keeps the rest" {
    check='grep -qi "^Subject:.*casino" && exit 77; exit 0'
    send "$check" <<<$'Subject: Your CASINO\n\ntext'
    [[ $reply == '550 5.7.1 '* ]]
    send "$check" <<<$'Subject: lunch\n\ntext'
    [[ $reply == '250 2.0.0 Message kept as '* ]]
    mails bob 1
}

@test "-x: SPF: who may not send for the domain is refused; without DNS it is 451" {
    need spfquery.mail-spf-perl
    name_server --txt-record=b.example,'v=spf1 ip4:192.0.2.7 -all'
    check='spfquery.mail-spf-perl --scope mfrom --identity "${SENDER:-postmaster@$HELO}" \
        --ip "$TCPREMOTEIP" >/dev/null; case $? in 1) exit 77 ;; 5) exit 75 ;; esac; exit 0'
    export TCPREMOTEIP
    while read -r TCPREMOTEIP from hello wanted; do
        send "$check" <<<"$HAM"
        echo "$TCPREMOTEIP, $from, $hello: $reply"
        [[ $reply == "$wanted "* ]]
    done <<'END'
192.0.2.7 <a@b.example> me 250
192.0.2.8 <a@b.example> me 550
2001:db8::7 <a@b.example> me 550
192.0.2.8 <a@no-spf.example> me 250
192.0.2.7 <> b.example 250
192.0.2.8 <> b.example 550
192.0.2.7 <a@elsewhere.test> me 451
END
    mails bob 3
}

@test "-x: DKIM: a good signature is kept, one of a text that was altered is refused" {
    need dkimproxy-sign dkimproxy-verify
    openssl genrsa -out key.pem 2048 2>/dev/null
    public=$(openssl rsa -in key.pem -pubout 2>/dev/null | sed '/^-/d' | tr -d '\n')
    # No string in a DNS record is longer than 255 octets.
    name_server --txt-record=s1._domainkey.b.example,"v=DKIM1; p=${public:0:200},${public:200}"
    { dkimproxy-sign --selector=s1 --domain=b.example --key=key.pem --method=relaxed <<<"$HAM" &&
        echo "$HAM"; } | tr -d '\r' >signed
    check='dkimproxy-verify >../result; grep -q "^verify result: fail" ../result && exit 77
        exit 0'
    send "$check" <signed
    [[ $reply == '250 2.0.0 Message kept as '* ]]
    grep -q ': pass' result
    send "$check" < <(cat signed && echo 'more text')
    [[ $reply == '550 5.7.1 '* ]]
    send "$check" < <(sed 's/^Subject: .*/Subject: other/' signed)
    [[ $reply == '550 5.7.1 '* ]]
    mails bob 1
}

# Its own signatures are a large download. One of ours shows how it is asked.
@test "-x: ClamAV: what has a signature is refused, the rest kept, and without clamd it is 451" {
    PATH=$PATH:/usr/sbin
    need clamd clamdscan
    mkdir signatures
    printf 'Test:0:*:%s\n' "$(printf 'A TEST VIRUS' | od -An -tx1 | tr -d ' \n')" \
        >signatures/test.ndb
    printf '%s\n' "DatabaseDirectory $PWD/signatures" "LocalSocket $PWD/socket" 'Foreground yes' \
        "TemporaryDirectory $PWD" "LogFile $PWD/clamd.log" "User $(id -un)" >clamd.conf
    background 'Self checking' clamd --config-file=clamd.conf
    check='clamdscan --config-file=../clamd.conf --quiet -
        case $? in 0) exit 0 ;; 1) exit 77 ;; *) exit 75 ;; esac'
    send "$check" <<<"$LETTER

This is A TEST VIRUS."
    [[ $reply == '550 5.7.1 '* ]]
    send "$check" <<<"$HAM"
    [[ $reply == '250 2.0.0 Message kept as '* ]]
    SERVER=${SERVERS# } end_server
    send "$check" <<<"$HAM"
    [[ $reply == '451 4.3.0 '* ]]
    mails bob 1
}

# The mailboxes that a sorter delivers to.
sorts() { # COMMAND
    mkdir -p mail/{lists,inbox}/{tmp,new,cur}
    for subject in 'a list' lunch supper; do
        send "$1" <<<"Subject: $subject

text"
        [[ $reply == '250 2.0.0 Message taken as '* ]]
    done
    mails lists 1 inbox 2 bob 0
    look mail/lists/new/*
    [ "$path" = '<a@example.org>' ]
    lacks mail/lists/new/* $'\nReturn-Path:'
    [[ $rest == *$'\n\ntext\n' ]]
}

@test "-x: maildrop sorts mail into mailboxes" {
    need maildrop
    cat >filter <<'END'
if (/^Subject:.*list/)
{
    to "lists"
}
to "inbox"
END
    chmod 600 filter
    HOME=$PWD sorts 'maildrop ../filter && exit 99'
    # It says by its status that it could not, and the client keeps the message.
    rm -r mail/inbox/tmp
    HOME=$PWD send 'maildrop ../filter && exit 99' <<<"$HAM"
    [[ $reply == '451 4.3.0 '* ]]
}

@test "-x: procmail sorts mail into mailboxes" {
    need procmail
    cat >rc <<END
MAILDIR=$PWD/mail
:0
* ^Subject:.*list
lists/
:0
inbox/
END
    sorts 'procmail -m ../rc && exit 99'
    rm -r mail/inbox/tmp && : >mail/inbox/tmp
    send 'procmail -m ../rc && exit 99' <<<"$HAM"
    [[ $reply == '451 4.3.0 '* ]]
}

@test "-x: deliver.sh: one user forwarded, an alias, plus addresses and a catch-all" {
    need msmtp
    # Both servers are on ports of ours; the script has the usual ones.
    serve -m there -d elsewhere.example
    there=$PORT relay=$SERVER
    here=$(free_port)
    sed "s/localhost port=2525/127.0.0.1 port=$here/
        s/relay.example port=587/127.0.0.1 port=$there/" "$ROOT/tests/book/deliver.sh" >deliver.sh
    start "$SMTPD" -l 127.0.0.1 -p "$here" -m mail -n mail.example.com -d example.com \
        -x 'sh ../deliver.sh "$@"'
    dialogue <<'END'
S: 220 ...
C: EHLO me
S*: 250 ...
C: MAIL FROM:<a@b.example>
S: 250 2.1.0 ...
C: RCPT TO:<bob@example.com>
S: 250 2.1.5 ...
C: RCPT TO:<dave@example.com>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: Subject: kept as it is
C: .
S: 250 2.0.0 Message kept ...
C: MAIL FROM:<a@b.example>
S: 250 2.1.0 ...
C: RCPT TO:<carol@example.com>
S: 250 2.1.5 ...
C: RCPT TO:<sales@example.com>
S: 250 2.1.5 ...
C: RCPT TO:<dave+lists@example.com>
S: 250 2.1.5 ...
C: RCPT TO:<"a \"b"@example.com>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: Subject: to carol, bob twice, dave
C: .
S: 250 2.0.0 Message taken ...
C: QUIT
S: 221 ...
END
    mails bob 3 dave 2
    files mail 5
    files=(there/carol/new/*)
    [ "${#files[@]}" -eq 1 ]
    look "${files[0]}"
    [ "$path" = '<a@b.example>' ]
    [[ $'\n'$rest == *$'\nSubject: to carol, bob twice, dave\n'* ]]
    # Where one can't be had, the client keeps the message for all.
    SERVER=$relay end_server
    send 'sh ../deliver.sh "$@"' carol@example.com <<<"$HAM"
    [[ $reply == '451 4.3.0 '* ]]
}
