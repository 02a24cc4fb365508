#!/usr/bin/env bats
# Exercise hello: a verb of your own.

SMTPD=${SMTPD:-$BATS_TEST_DIRNAME/../../../smtpd}
load ../../helpers

# Run a command; if it fails, say in words what is wrong, and then what it said.
must() { # WHAT-IS-WRONG COMMAND...
    run "${@:2}"
    [ "$status" -eq 0 ] || { printf '%s.\n\n%s\n' "$1" "$output" && false; }
}

@test "hello: XHELLO gets 250 2.0.0 Hello from NAME, before EHLO and after" {
    serve
    must 'XHELLO should get "250 2.0.0 Hello from mail.example.com"' dialogue <<'END'
S: 220 ...
C: XHELLO
S: 250 2.0.0 Hello from mail.example.com
C: HELO me
S: 250 ...
C: xhello
S: 250 2.0.0 Hello from mail.example.com
C: QUIT
S: 221 ...
END
}

@test "RFC 5321 4.1.4: hello: it changes nothing, in a transaction too" {
    serve
    must 'A message should arrive with XHELLO between its commands' dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<me@example.org>
S: 250 ...
C: XHELLO
S: 250 ...
C: RCPT TO:<bob@example.com>
S: 250 ...
C: XHELLO
S: 250 ...
C: DATA
S: 354 ...
C: .
S: 250 ...
C: QUIT
S: 221 ...
END
}

@test "RFC 5321 4.3.2: hello: with an argument it gets 501 5.5.4" {
    serve
    must 'XHELLO with an argument should get 501, with the form that it has' dialogue <<'END'
S: 220 ...
C: XHELLO you
S: 501 5.5.4 The form is: XHELLO (RFC 5321 4.1.5)
C: QUIT
S: 221 ...
END
}

@test "RFC 5321 4.1.1.8: hello: HELP lists and explains it" {
    serve
    printf 'HELP\r\nHELP XHELLO\r\nQUIT\r\n' >.asked
    send_raw <.asked >said
    must 'HELP should list XHELLO' grep $'^214-2.0.0 XHELLO\r$' said
    must 'HELP XHELLO should say where it is described' \
        grep '^214 2\.0\.0 It is described in RFC 5321 4\.1\.5' said
}

@test "RFC 5321 2.2.2: hello: EHLO does not list it" {
    serve
    printf 'XHELLO\r\nEHLO me\r\nQUIT\r\n' >.asked
    send_raw <.asked >said
    must 'XHELLO should be known, first of all' grep '^250 2\.0\.0 Hello' said
    must 'EHLO should not list XHELLO' test -z "$(grep '^250.XHELLO' said)"
}
