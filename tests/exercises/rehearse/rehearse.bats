#!/usr/bin/env bats
# Exercise rehearse: the address says what the server answers.

SMTPD=${SMTPD:-$BATS_TEST_DIRNAME/../../../smtpd}
load ../../helpers

# Run a command; if it fails, say in words what is wrong, and then what it said.
must() { # WHAT-IS-WRONG COMMAND...
    run "${@:2}"
    [ "$status" -eq 0 ] || { printf '%s.\n\n%s\n' "$1" "$output" && false; }
}

@test "rehearse: 450@ gets 450 4.0.0, 550@ gets 550 5.0.0, and the others stand" {
    serve -d '*'
    must 'RCPT should be answered as the address says, and others as ever' dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<me@example.org>
S: 250 ...
C: RCPT TO:<bob@example.com>
S: 250 2.1.5 ...
C: RCPT TO:<450@example.com>
S: 450 4.0.0 ... (RFC 5321 ...)
C: RCPT TO:<550@elsewhere.example>
S: 550 5.0.0 ... (RFC 5321 ...)
C: RCPT TO:<409@[192.0.2.1]>
S: 409 4.0.0 ... (RFC 5321 ...)
C: DATA
S: 354 ...
C: .
S: 250 ...
C: QUIT
S: 221 ...
END
    [ "$(ls mail)" = bob ]
}

@test "RFC 5321 4.2: rehearse: what is no code for a failure is a name" {
    serve -d '*'
    must 'These are names like any other' dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<me@example.org>
S: 250 ...
C: RCPT TO:<250@example.com>
S: 250 2.1.5 ...
C: RCPT TO:<460@example.com>
S: 250 2.1.5 ...
C: RCPT TO:<650@example.com>
S: 250 2.1.5 ...
C: RCPT TO:<45@example.com>
S: 250 2.1.5 ...
C: RCPT TO:<4500@example.com>
S: 250 2.1.5 ...
C: RCPT TO:<450.x@example.com>
S: 250 2.1.5 ...
C: RCPT TO:<550@example.com>
S: 550 5.0.0 ...
C: QUIT
S: 221 ...
END
}

@test "RFC 5321 3.8: rehearse: 421@ is told 421, and the connection is closed" {
    serve -d '*'
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<421@example.com>' NOOP >.asked
    send_raw <.asked >said
    must '421@ should get 421' grep '^421 4\.' said
    must 'After 421 nothing more should be said' test "$(tail -n 1 said | cut -c 1-3)" = 421
}

@test "rehearse: -slow@ is answered two seconds late" {
    serve -d '*'
    for name in 250-slow 450-slow; do
        SECONDS=0
        printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' "RCPT TO:<$name@example.com>" QUIT |
            send_raw >said
        must "$name@ should be answered, with its code" grep "^${name%-slow} [24]\.[01]\.[05] " said
        must "$name@ should be answered two seconds late" test "$SECONDS" -ge 1
        must "$name@ should not be answered later than that" test "$SECONDS" -le 5
    done
}

@test "RFC 2920: rehearse: what was said before is answered before the wait" {
    serve -d '*'
    must 'MAIL should be answered at once, and RCPT two seconds later' dialogue <<'END'
S: 220 ...
C: EHLO me
S*: 250 HELP
$: SECONDS=0
C: MAIL FROM:<>
C: RCPT TO:<250-slow@example.com>
S: 250 2.1.0 ...
$: [ "$SECONDS" -le 1 ]
S: 250 2.1.5 ...
$: [ "$SECONDS" -ge 1 ]
C: QUIT
S: 221 ...
END
}

@test "rehearse: a slow answer does not hold up the end of the server" {
    serve -d '*'
    printf '%s\r\n' 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<450@example.com>' \
        'RCPT TO:<250-slow@example.com>' | send_raw >said &
    wait_until holds log 'start client'
    end_server
    wait $!
    must 'The client should be told 421 at the end' grep '^421 4\.3\.2' said
    must '450@ should have been refused before' grep '^450 4\.0\.0' said
}

@test "rehearse: without -d '*' these are names" {
    serve
    must 'Where real mail comes, 450@ is a name' dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<me@example.org>
S: 250 ...
C: RCPT TO:<450@example.com>
S: 250 2.1.5 ...
C: RCPT TO:<421@example.com>
S: 250 2.1.5 ...
C: QUIT
S: 221 ...
END
}
