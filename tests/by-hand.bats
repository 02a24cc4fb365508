#!/usr/bin/env bats
# People at a terminal, with each of the programs that they may have: they type
# a line when they have seen the reply to the last one.

# look sets path, received and rest.
# shellcheck disable=SC2154
load helpers

# typed COMMAND... <<'END'   play a conversation at a terminal: see terminal.py
typed() { "$PYTHON" -I "$ROOT/tests/terminal.py" "$@"; }

# A whole message, typed with this program; it must arrive as it was meant.
writes() { # COMMAND...
    typed "$@" <<'END'
S: 220 mail.example.com ESMTP
C: EHLO me
S: 250 HELP
C: MAIL FROM:<me@example.org>
S: 250 2.1.0
C: RCPT TO:<bob@example.com>
S: 250 2.1.5
C: DATA
S: 354
C: From: Me <me@example.org>
C: Subject: typed by hand
C:
C: Hello Bob,
C:
C:   this has  blanks,
C: ..and a dot at its start.
C: .
S: 250 2.0.0
C: QUIT
S: 221 2.0.0
END
    arrived
}

arrived() {
    mails bob 1
    look mail/bob/new/*
    printf -v wanted '%s\n' 'From: Me <me@example.org>' 'Subject: typed by hand' '' \
        'Hello Bob,' '' '  this has  blanks,' '.and a dot at its start.'
    [ "$rest" = "$wanted" ]
    [ "$path" = '<me@example.org>' ]
    [[ $received == *'from me ([127.0.0.1])'*'with ESMTP'*'for <bob@example.com>'* ]]
    files mail 1
}

# Whether this nc sends CRLF when it is told to.
has_crlf() { "$@" -h 2>&1 | grep -qE '^[[:space:]]*-[a-zA-Z]*C' || skip "$* has no -C"; }

@test "by hand: nc" {
    serve
    writes nc 127.0.0.1 "$PORT"
}

@test "by hand: nc -C" {
    has_crlf nc
    serve
    writes nc -C 127.0.0.1 "$PORT"
}

@test "by hand: nc.openbsd, with and without -C" {
    need nc.openbsd
    serve
    writes nc.openbsd 127.0.0.1 "$PORT"
    rm -r mail/bob
    writes nc.openbsd -C 127.0.0.1 "$PORT"
}

@test "by hand: nc.traditional" {
    need nc.traditional
    serve
    writes nc.traditional 127.0.0.1 "$PORT"
}

@test "by hand: nc.traditional -C" {
    need nc.traditional
    has_crlf nc.traditional
    serve
    writes nc.traditional -C 127.0.0.1 "$PORT"
}

@test "by hand: ncat, with and without -C" {
    need ncat
    serve
    writes ncat 127.0.0.1 "$PORT"
    rm -r mail/bob
    writes ncat -C 127.0.0.1 "$PORT"
}

@test "by hand: busybox nc" {
    need busybox
    busybox --list | grep -qx nc || skip "this busybox has no nc"
    serve
    writes busybox nc 127.0.0.1 "$PORT"
}

@test "by hand: telnet" {
    need telnet
    serve
    writes telnet 127.0.0.1 "$PORT"
}

@test "by hand: busybox telnet" {
    need busybox
    busybox --list | grep -qx telnet || skip "this busybox has no telnet"
    serve
    writes busybox telnet 127.0.0.1 "$PORT"
}

@test "by hand: socat, with LF and with CRLF" {
    need socat
    serve
    writes socat - "TCP:127.0.0.1:$PORT"
    rm -r mail/bob
    writes socat - "TCP:127.0.0.1:$PORT,crlf"
}

@test "by hand: IPv6" {
    serve -l ::1
    typed nc ::1 "$PORT" <<'END'
S: 220 mail.example.com ESMTP
C: HELO me
S: 250
C: QUIT
S: 221 2.0.0
END
}

@test "by hand: help, slips and second thoughts" {
    serve
    typed nc 127.0.0.1 "$PORT" <<'END'
S: 220
C: hello
S: 500 5.5.1
C:
S: 500 5.5.1
C: help
S: 214 2.0.0
C: mail from:<me@example.org>
S: 503 5.5.1
C: helo me
S: 250
# No angle brackets: a reply says how it is to be.
C: mail from: me@example.org
S: 501 5.1.7
C: mail from: <me@example.org>
S: 250 2.1.0
C: data
S: 503 5.5.1
C: rcpt to: <bob@example.com>
S: 250 2.1.5
C: rset
S: 250 2.0.0
# Rubbed out with the backspace key before Enter: the terminal does that.
K: quix\x7ft\r
S: 221 2.0.0
END
}

@test "by hand: an arrow key in nc gets 500, and the line can be typed again" {
    serve
    typed nc 127.0.0.1 "$PORT" <<'END'
S: 220
K: HELO\x1b[D me\r
S: 500 5.5.2
C: HELO me
S: 250
C: QUIT
S: 221 2.0.0
END
}

@test "by hand: Ctrl-C in telnet spoils a line, and no more than that" {
    need telnet
    serve -v
    # telnet asks for an answer of telnet's own then, and shows nothing more
    # until it has got it, which here is never. So see what the server said.
    typed telnet 127.0.0.1 "$PORT" <<'END'
S: 220
C: HELO me
S: 250
K: NOO\x03
C: NOOP
C: NOOP
C: QUIT
END
    wait_until no_sessions
    holds log 'C: \\xFF\\xF4' || skip "this telnet keeps its Ctrl-C to itself"
    said=
    while read -r line; do
        case $line in *' S: '*) line=${line#* S: } said+=${line:0:9}, ;; esac
    done <log
    [[ $said == *'500 5.5.2,250 2.0.0,221 2.0.0,' ]]
}

@test "by hand: letters that are not ASCII are kept as they were typed" {
    serve
    typed nc 127.0.0.1 "$PORT" <<'END'
S: 220
C: EHLO me
S: 250 HELP
C: MAIL FROM:<> BODY=8BITMIME
S: 250 2.1.0
C: RCPT TO:<bob@example.com>
S: 250 2.1.5
C: DATA
S: 354
C: Subject: Grüße
C:
C: Viele Grüße – 再见
C: .
S: 250 2.0.0
C: QUIT
S: 221 2.0.0
END
    look mail/bob/new/*
    [ "$rest" = $'Subject: Grüße\n\nViele Grüße – 再见\n' ]
}

@test "by hand: Ctrl-C in the middle of a message leaves nothing" {
    serve
    typed nc 127.0.0.1 "$PORT" <<'END'
S: 220
C: HELO me
S: 250
C: MAIL FROM:<>
S: 250 2.1.0
C: RCPT TO:<bob@example.com>
S: 250 2.1.5
C: DATA
S: 354
C: I think that
K: \x03
END
    wait_until no_sessions
    files mail 0
}
