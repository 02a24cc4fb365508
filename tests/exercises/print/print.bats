#!/usr/bin/env bats
# Exercise print: each message on one line of the log.

SMTPD=${SMTPD:-$BATS_TEST_DIRNAME/../../../smtpd}
load ../../helpers

# Run a command; if it fails, say in words what is wrong, and then what it said.
must() { # WHAT-IS-WRONG COMMAND...
    run "${@:2}"
    [ "$status" -eq 0 ] || { printf '%s.\n\n%s\n' "$1" "$output" && false; }
}

# Over one session; the lines that are asked for, without what comes before.
printed() { # COMMAND...
    printf '%s\r\n' 'HELO me' "$@" QUIT >.asked
    talk <.asked >replies
    sed -n 's/^smtpd\[[0-9]*\]: [^ ]* \(message .*\)/\1/p' log
}

LETTER=(DATA 'Subject: x' '' 'text' .)

@test "print: one line for a message, with sender, size and recipients" {
    printed 'MAIL FROM:<me@example.org>' 'RCPT TO:<bob@example.com>' \
        'RCPT TO:<Carol@localhost>' "${LETTER[@]}" >got
    echo 'message from=<me@example.org> size=20 to=<bob@example.com>,<Carol@localhost>' >wanted
    must 'The log should have one line for the message, as in wanted' diff wanted got
}

@test "print: the null sender, and one recipient" {
    printed 'MAIL FROM:<>' 'RCPT TO:<postmaster>' "${LETTER[@]}" >got
    echo 'message from=<> size=20 to=<postmaster>' >wanted
    must 'A bounce should have its line, too' diff wanted got
}

@test "print: two messages have two lines; who was refused is not there" {
    printed 'MAIL FROM:<a@example.org>' 'RCPT TO:<bob@example.com>' \
        'RCPT TO:<eve@elsewhere.example>' "${LETTER[@]}" \
        'MAIL FROM:<b@example.org>' 'RCPT TO:<dave@example.com>' "${LETTER[@]}" >got
    printf 'message from=<%s@example.org> size=20 to=<%s@example.com>\n' a bob b dave >wanted
    must 'Each message should have its own line, without refused recipients' diff wanted got
}

@test "print: a message that is refused has no line" {
    printed 'MAIL FROM:<a@example.org>' 'RCPT TO:<bob@example.com>' DATA $'a bare \r CR' . \
        'MAIL FROM:<b@example.org>' 'RCPT TO:<dave@example.com>' "${LETTER[@]}" >got
    echo 'message from=<b@example.org> size=20 to=<dave@example.com>' >wanted
    must 'Only the second message was kept, and should have a line' diff wanted got
}

@test "print: a hundred recipients crash nothing, and the line begins as ever" {
    local long=(MAIL\ FROM:'<me@example.org>')
    for n in {1..100}; do long+=("RCPT TO:<$n$(printf '%0200d' 0)@example.com>"); done
    printed "${long[@]}" "${LETTER[@]}" >got
    must 'The message should be kept' grep '^250 2\.0\.0 Message kept' replies
    must 'Its line should begin with sender and size' \
        grep '^message from=<me@example\.org> size=20 to=<1000' got
}
