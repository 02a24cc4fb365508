#!/usr/bin/env bats
# What ends a command, what may stand in one, and the one exception: LF, from
# people who type by hand into plain nc on this very host.

# shellcheck disable=SC2154
load helpers

# smtpd -i on pipes, as tcpserver starts it, for a client of this address.
from() { # ADDRESS [DIALOGUE'S OPTIONS]
    local address=$1
    shift
    dialogue "$@" --to env TCPREMOTEIP="$address" \
        "$SMTPD" -i -m mail -n mail.example.com
}

# The same session on a pair of sockets that a Python program makes, all at once.
over_sockets() {
    local program
    IFS= read -r -d '' program || :
    pieces <<END
$program
c = Inetd(pair=pair)
c.send(b"""$by_hand_typed""")
same(c.rest()[-1], "221 2.0.0", "the last reply")
c.end()
END
}

# The same without an address.
piped() { dialogue "$@" --to "$SMTPD" -i -m mail -n mail.example.com; }

@test "RFC 5321 2.3.8: commands end in CRLF, also when LF comes later" {
    serve
    dialogue <<'END'
S: 220 ...
X: NOOP\r
X: \n
S: 250 2.0.0 ...
X: NOO
X: P
X: \r\nRSET\r
S: 250 2.0.0 ...
X: \n
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
}

@test "RFC 5321 2.3.8: a bare LF in a command gets one 500, at once, and ends the session" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
# Nothing but the LF has come: no CRLF is waited for.
X: NOOP\n
S: 500 5.5.2 ...
E:
END
}

@test "RFC 5321 2.3.8: the 500 for a bare LF names the cure" {
    serve
    send_raw >out < <(printf 'HELO me\r\nNOOP\n\r\nQUIT\r\n')
    holds out $'\n500 5.5.2 *telnet*nc -C'
}

@test "RFC 5321 2.3.8: of a command with a bare LF, no part is obeyed" {
    printf -v long %070000d 0
    # The rest of a message stands behind it, as in a group of commands.
    rest='DATA\r\nSubject: smuggled\r\n.\r\nQUIT\r\n'
    for command in 'RCPT TO:<bob@localhost>\nRCPT TO:<carol@localhost>' 'NOOP\nRSET' \
        'NOOP\nQUIT' 'RSET\n' '\n' '\nRCPT TO:<bob@localhost>' 'QUIT\n' 'FOOBAR\n' \
        'DATA\n' "NOOP ${xs:0:1100}\nQUIT" "$long\nQUIT"; do
        printf 'HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<dave@localhost>\r\n%b\r\n%b' \
            "$command" "$rest" >session
        tell session
        echo "${command::40}: ${codes[*]}"
        [ "${codes[*]}" = '250 250 2.1.0 250 2.1.5 500 5.5.2' ]
    done
    [ ! -e mail/dave ]
}

@test "RFC 5321 2.3.8: a bare LF in a command: one reply, then the end, whatever follows" {
    printf -v many 'NOOP\\n%.0s' {1..3000}
    for rest in '' '\n' '\n\n\n\n' 'NOOP' 'NOOP\nNOOP\nQUIT' '\r' '\r\rNOOP\n' '\n\rQUIT\r' \
        'QUIT\r\rQUIT\nQUIT' 'NOOP\0\xFF\n' "$many"; do
        printf 'HELO me\r\nNOOP\n%b\r\nRSET\r\nQUIT\r\n' "$rest" >session
        tell session
        [ "${codes[*]}" = '250 500 5.5.2' ]
    done
}

@test "RFC 5321 2.3.8: a bare CR in a command gets 500, and no part is obeyed" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
X: MAIL FROM:<a@example.org>\rRCPT TO:<bob@localhost>\r\n
S: 500 5.5.2 ...
X: MAIL FROM:<a@example.org>\r\r\n
S: 500 5.5.2 ...
C: RCPT TO:<bob@localhost>
S: 503 5.5.1 ...
END
    lines=() wanted=250
    for line in '\rNOOP' 'NO\rOP' 'NOOP\r' 'NOOP \r' 'NOOP\r\r\r' '\r' 'QUIT\rQUIT' 'NOOP\r\0' \
        'HELP \rNOOP'; do
        lines+=("$line" RSET)
        wanted+=' 500 5.5.2 250 2.0.0'
    done
    printf '%b\r\n' 'HELO me' "${lines[@]}" QUIT >session
    tell session
    [ "${codes[*]}" = "$wanted 221 2.0.0" ]
}

@test "RFC 5321 2.3.8: a bare LF, CR or NUL in mail data: read to CRLF.CRLF, then 554" {
    serve
    script=
    for octet in '\n' '\r' '\0'; do
        script+="C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
X: Subject: foul\r\n\r\none${octet}line\r\n
C: QUIT
C: .
S: 554 5.6.0 ...curl --crlf...
# The buffers are cleared, and all is as after any message.
C: RCPT TO:<bob@localhost>
S: 503 5.5.1 ...
"
    done
    dialogue <<END
S: 220 ...
C: HELO me
S: 250 ...
${script}C: QUIT
S: 221 2.0.0 ...
END
    files mail 0
}

by_hand_session='S: 220 ...
C: EHLO me
S*: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: Subject: by hand
C:
C: one
C: ..two
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...'

by_hand_typed='EHLO me
MAIL FROM:<>
RCPT TO:<bob@localhost>
DATA
Subject: by hand

one
..two
.
QUIT
'

# So many such messages have come, and all is right with them.
by_hand_messages() { # N
    local file
    mails bob "$1"
    for file in mail/bob/new/*; do
        look "$file"
        [ "$text" = $'one\n.two\n' ]
        lacks "$file" $'\r'
    done
}

@test "by hand: from loopback LF ends lines, if the first ends so; IPv4" {
    serve
    dialogue --lf <<<"$by_hand_session"
    dialogue --crlf <<<"$by_hand_session"
    by_hand_messages 2
}

@test "by hand: from loopback LF ends lines, if the first ends so; IPv6 and IPv4-mapped" {
    serve -l ::1
    HOST=::1 dialogue --lf <<<"$by_hand_session"
    by_hand_messages 1
    # Who starts smtpd -i may listen on both kinds of address at once.
    over_sockets <<'END'
listener = socket.socket(socket.AF_INET6)
listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
listener.bind(('::ffff:127.0.0.1', 0))
listener.listen()
pair = socket.create_connection(listener.getsockname()[:2]), listener.accept()[0]
END
    by_hand_messages 2
}

@test "by hand: so too on pipes, without an address or with loopback's" {
    piped --lf <<<"$by_hand_session"
    printf %s "$by_hand_typed" >typed
    for address in 127.0.0.1 127.200.3.4 ::1 ::ffff:127.0.0.1; do
        TCPREMOTEIP=$address tell typed
        [ "${codes[*]}" = '250 250 2.1.0 250 2.1.5 354 250 2.0.0 221 2.0.0' ]
    done
    by_hand_messages 5
}

@test "by hand: so too on a Unix socket pair" {
    over_sockets <<<'pair = socket.socketpair()'
    by_hand_messages 1
}

@test "by hand: not for a client elsewhere: its first LF is a bare one" {
    from 192.0.2.1 <<'END'
S: 220 ...
X: EHLO me\n
S: 500 5.5.2 ...
E:
END
    from 192.0.2.1 <<'END'
S: 220 ...
C: HELO me
S: 250 ...
X: QUIT\n
S: 500 5.5.2 ...
E:
END
    printf 'EHLO me\nNOOP\n' >first
    printf 'HELO me\r\nQUIT\nNOOP\r\n' >second
    # What can't be read is a stranger's, too.
    for address in 192.0.2.1 2001:db8::1 ::ffff:192.0.2.1 128.0.0.1 ::2 '' nobody 127.0.0.1.; do
        TCPREMOTEIP=$address tell first
        [ "${codes[*]}" = '500 5.5.2' ]
        TCPREMOTEIP=$address tell second
        [ "${codes[*]}" = '250 500 5.5.2' ]
    done
}

@test "by hand: not for a client elsewhere: its mail data end in CRLF.CRLF alone" {
    from 192.0.2.1 <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
X: one\n.\nQUIT\n.\r\nQUIT\r\n
C: .
S: 554 5.6.0 ...
C: QUIT
S: 221 2.0.0 ...
END
    files mail 0
}

@test "by hand: one CR before the LF is dropped, another is a bare CR" {
    serve
    dialogue --lf <<'END'
S: 220 ...
C: HELO me
S: 250 ...
X: NOOP\r\n
S: 250 2.0.0 ...
X: NOOP\r\r\n
S: 500 5.5.2 ...
X: NO\rOP\n
S: 500 5.5.2 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
X: Subject: one\r\n\none\r\ntwo\n\r\n.\r\n
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
    look mail/bob/new/*
    [ "$text" = $'one\ntwo\n\n' ]
}

@test "by hand: in mail data too a bare CR or NUL gets 554, at the dot's LF" {
    script=
    for octets in 'o\rne' 'one\r\r' '\rone' 'o\0ne'; do
        script+="C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
X: $octets\n.\n
S: 554 5.6.0 ...
"
    done
    piped --lf <<END
S: 220 ...
C: HELO me
S: 250 ...
${script}C: QUIT
S: 221 2.0.0 ...
END
    files mail 0
}

@test "by hand: an overlong line in it is as long as with CRLF: 1022 octets and the end" {
    printf -v fill %01017d 0
    for end in '\n' '\r\n'; do
        printf 'HELO me\nNOOP %s%bNOOP x%s%bQUIT\n' "$fill" "$end" "$fill" "$end" >.asked
        tell .asked
        [ "${codes[*]}" = '250 250 2.0.0 500 5.5.2 221 2.0.0' ]
    done
}

# The first line, with its end, settles what ends a line: lf or crlf. This must
# be the reply to it. After CRLF a bare LF ends the session.
settles() { # lf|crlf FIRST REPLY
    if [ "$1" = lf ]; then
        printf '%bNOOP\nQUIT\n' "$2" >.asked
        tell .asked
        [ "${codes[*]}" = "$3 250 2.0.0 221 2.0.0" ]
    else
        printf '%bNOOP\nQUIT\r\nNOOP\r\n' "$2" >.asked
        tell .asked
        [ "${codes[*]}" = "$3 500 5.5.2" ]
    fi
}

@test "by hand: the first line settles it, whatever it is, even empty" {
    for end in 'lf \n' 'crlf \r\n'; do
        settles "${end% *}" "${end#* }" '500 5.5.1'
        settles "${end% *}" "NOOP${end#* }" '250 2.0.0'
        settles "${end% *}" "no such${end#* }" '500 5.5.1'
        settles "${end% *}" " ${end#* }" '500 5.5.1'
        settles "${end% *}" "\0${end#* }" '500 5.5.2'
        settles "${end% *}" "NO\rOP${end#* }" '500 5.5.2'
        settles "${end% *}" "\xFF\xFB\x1F${end#* }" '500 5.5.2'
    done
}

@test "by hand: the first line settles it, even overlong" {
    for size in 1023 1024 1025 2000 70000; do
        printf -v long "%0${size}d" 0
        settles lf "$long\n" '500 5.5.2'
        settles crlf "$long\r\n" '500 5.5.2'
    done
    # The last one that is not: 1022 octets and its end.
    printf -v long %01022d 0
    settles lf "$long\n" '500 5.5.1'
    settles crlf "$long\r\n" '500 5.5.1'
}

@test "RFC 5321 4.1.1: blanks and TABs at the end of a command are ignored" {
    serve
    dialogue <<'END'
S: 220 ...
X: HELO me \t \r\n
S: 250 ...
X: NOOP\t\r\n
S: 250 2.0.0 ...
X: MAIL FROM:<a@example.org>\t\t\r\n
S: 250 2.1.0 ...
X: RCPT TO:<bob@localhost> \r\n
S: 250 2.1.5 ...
X: RSET \t\r\n
S: 250 2.0.0 ...
X: VRFY \t\r\n
S: 501 5.5.4 ...
X: QUIT  \t\r\n
S: 221 2.0.0 ...
END
}

@test "a TAB elsewhere in a command is a control octet: 500 5.5.2" {
    serve
    dialogue <<'END'
S: 220 ...
X: HELO\tme\r\n
S: 500 5.5.2 ...
X: \tHELO me\r\n
S: 500 5.5.2 ...
X: HELO me\tyou\r\n
S: 500 5.5.2 ...
X: HELO me\r\n
S: 250 ...
X: MAIL FROM:<a@example.org>\tSIZE=1\r\n
S: 500 5.5.2 ...
X: NOOP a\tb\r\n
S: 500 5.5.2 ...
X: MAIL FROM:<"a\tb"@example.org>\r\n
S: 500 5.5.2 ...
C: QUIT
S: 221 2.0.0 ...
END
}

@test "RFC 5321 2.4: each octet that is not printable ASCII, anywhere in a command: 500 5.5.2" {
    # Nineteen a session: the twentieth would be one blunder too many.
    pieces <<'END'
octets = [n for n in range(256) if not 32 <= n < 127 and n not in b'\r\n']
for form in b'%cNOOP', b'NO%cOP', b'NOOP %c', b'NOOP a%cb', b'HELO m%ce', b'MAIL%c', b'%c':
    for first in range(0, len(octets), 19):
        group = octets[first:first + 19]
        # At the end TAB is white space.
        group = [n for n in group if n != 9 or form[-1:] != b'c']
        lines = b''.join(form % n + b'\r\n' for n in group)
        same(codes(pour(b'HELO me\r\n' + lines + b'QUIT\r\n')),
             ['220', '250'] + ['500 5.5.2'] * len(group) + ['221 2.0.0'],
             '%r of %r' % (form, bytes(group)))
END
}

@test "RFC 5321 2.4: a NUL does not cut a command short" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
X: MAIL FROM:<a@example.org>\0\r\n
S: 500 5.5.2 ...
X: MAIL FROM:<a@example.org>\x00 SIZE=1\r\n
S: 500 5.5.2 ...
X: MAIL FROM:<a\0@example.org>\r\n
S: 500 5.5.2 ...
X: QUIT\0\r\n
S: 500 5.5.2 ...
C: RCPT TO:<bob@localhost>
S: 503 5.5.1 ...
END
}

@test "an arrow key, telnet's Ctrl-C, PuTTY's telnet options: 500, type it again" {
    serve
    dialogue <<'END'
S: 220 ...
# PuTTY offers and asks for these before a word is typed.
X: \xFF\xFB\x1F\xFF\xFB\x20\xFF\xFB\x18\xFF\xFB\x27\xFF\xFD\x01\xFF\xFB\x03\xFF\xFD\x03
C: HELO me
S: 500 5.5.2 ...again...
C: HELO me
S: 250 ...
# Up and left: ESC [ A, ESC [ D.
X: NO\x1B[A\x1B[DOP\r\n
S: 500 5.5.2 ...again...
C: NOOP
S: 250 2.0.0 ...
# Ctrl-C: IAC IP, IAC DO TIMING-MARK.
X: NOO\xFF\xF4\xFF\xFD\x06
C: NOOP
S: 500 5.5.2 ...again...
C: NOOP
S: 250 2.0.0 ...
# Backspace, where the terminal sends it on.
X: NOOO\x7FP\x08\r\n
S: 500 5.5.2 ...again...
C: QUIT
S: 221 2.0.0 ...
END
}

@test "RFC 6531 3.4: 8-bit octets in an address are a matter of SMTPUTF8, not of lines" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
X: MAIL FROM:<j\xC3\xB6rg@example.org>\r\n
S: 553 5.6.7 ...
C: MAIL FROM:<joerg@example.org>
S: 250 2.1.0 ...
X: RCPT TO:<j\xC3\xB6rg@localhost>\r\n
S: 553 5.6.7 ...
# Nor elsewhere in the argument: it is judged with them.
X: RCPT TO:<bob@localhost> \xC3\xB6\r\n
S: 555 5.5.4 ...
X: RCPT TO:<bob@localhost>\xC3\xB6\r\n
S: 501 5.1.3 ...
X: RCPT TO:\xFF\r\n
S: 501 5.1.3 ...
X: RCPT \xFF\r\n
S: 501 5.5.4 ...
C: RSET
S: 250 2.0.0 ...
X: MAIL FROM:<> \xC3\xB6\r\n
S: 555 5.5.4 ...
X: MAIL FROM:<>\xC3\xB6\r\n
S: 501 5.5.4 ...
X: MAIL FROM:\xC3\xB6\r\n
S: 501 5.1.7 ...
# In the verb they are no more than in any other.
X: \xC3RCPT TO:<bob@localhost>\r\n
S: 500 5.5.2 ...
X: MAIL\xC3 FROM:<>\r\n
S: 500 5.5.2 ...
C: EHLO me
S*: 250 ...
X: MAIL FROM:<> SIZE=\xFF\r\n
S: 501 5.5.4 ...
X: MAIL FROM:<> SMTPUTF8 \xC3\xB6=1\r\n
S: 555 5.5.4 ...
C: QUIT
S: 221 2.0.0 ...
END
}
