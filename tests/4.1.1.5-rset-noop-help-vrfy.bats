#!/usr/bin/env bats
# RSET, NOOP, HELP and VRFY: good at any time, and, but for RSET, without an
# effect on anything.

# shellcheck disable=SC2034,SC2154
load helpers

# HELP is answered with these lines, after the greeting.
help_text() { # [VERB]
    ask "HELP${1:+ $1}"
    said=("${said[@]:1}")
    printf -v text '%s\n' "${said[@]}"
}

# The verbs that HELP lists, where it was said several times with commas between.
listed_verbs() {
    local line
    listed=' '
    for line in "${said[@]}"; do
        case $line in
        '214-2.0.0 '*) line=${line#* } listed+="${line%% *} " ;;
        '214 2.0.0 '*) listed+=', ' ;;
        esac
    done
}

@test "RFC 5321 4.1.1.5: RSET forgets sender and recipients, and gets 250 2.0.0" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<first@b.example>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: RSET
S: 250 2.0.0 ...
C: DATA
S: 503 5.5.1 ...
C: RCPT TO:<bob@localhost>
S: 503 5.5.1 ...
C: MAIL FROM:<second@b.example>
S: 250 2.1.0 ...
C: DATA
S: 503 5.5.1 ...
C: RCPT TO:<carol@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
END
    mailboxes carol
    look mail/carol/new/*
    [ "$path" = '<second@b.example>' ]
}

@test "RFC 5321 4.1.1.5: RSET is good at any time, and never ends the session" {
    gets "250 2.0.0 250 2.0.0 250 250 2.0.0 250 2.1.0 250 2.0.0 250 2.1.0 501 5.1.3 \
250 2.0.0 250 2.0.0 250 2.0.0 250 2.0.0 221 2.0.0" RSET RSET 'HELO me' RSET 'MAIL FROM:<>' RSET \
        'MAIL FROM:<>' 'RCPT TO:<x>' RSET RSET rset 'RSET ' QUIT
}

@test "RFC 5321 4.1.1.5: after RSET no new EHLO is needed, nor its extensions lost" {
    ask 'EHLO client.example' 'MAIL FROM:<>' RSET 'MAIL FROM:<> SIZE=5' 'RCPT TO:<bob@localhost>' \
        DATA .
    [ "$code" = '250 2.0.0' ]
    look mail/bob/new/*
    [[ $received == 'from client.example'*' with ESMTP '* ]]
}

@test "RFC 5321 4.3.2: RSET with an argument gets 501 5.5.4, and resets nothing" {
    gets '501 5.5.4 250 250 2.1.0 250 2.1.5 501 5.5.4 354 250 2.0.0' 'RSET x' 'HELO me' \
        'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' 'RSET now' DATA .
}

@test "RFC 5321 4.1.1.9: NOOP does nothing and gets 250 2.0.0, whatever follows it" {
    serve
    dialogue <<'END'
S: 220 ...
C: NOOP
S: 250 2.0.0 ...
C: noop
S: 250 2.0.0 ...
C: NOOP one two <three> "four
S: 250 2.0.0 ...
C: NOOP QUIT
S: 250 2.0.0 ...
C: NOOP  
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
}

@test "RFC 5321 4.3.2: a command of 511 octets is not too long" {
    gets '250 2.0.0 252 2.0.0' "NOOP ${xs:0:504}" "VRFY ${xs:0:504}"
}

@test "RFC 5321 7.3: VRFY gets 252 2.0.0 for whoever is named, known or not" {
    mkdir -p mail/bob
    options=(-s)
    ask 'VRFY bob' 'VRFY carol' 'VRFY <bob@localhost>' 'VRFY bob@elsewhere.example' \
        'VRFY postmaster' 'VRFY Joe User' 'VRFY "Joe User"' 'VRFY bob@@' 'vrfy x'
    [ ${#said[@]} -eq 10 ]
    [[ ${said[1]} == '252 2.0.0 '* ]]
    # The same words each time: they don't tell them apart either.
    for line in "${said[@]:2}"; do [ "$line" = "${said[1]}" ]; done
}

@test "RFC 5321 4.1.1.6: VRFY without an argument gets 501 5.5.4" {
    gets '501 5.5.4 501 5.5.4 252 2.0.0' VRFY 'VRFY ' 'VRFY x'
}

@test "RFC 6531 3.7.4.2: VRFY takes a name in UTF-8, and answers in ASCII" {
    gets '252 2.0.0 252 2.0.0' \
        $'VRFY J\xC3\xBCrgen' $'VRFY <J\xC3\xBCrgen@b\xC3\xBC.example> SMTPUTF8'
    # One line each, and printable.
    [ ${#said[@]} -eq 3 ]
    LC_ALL=C
    for line in "${said[@]}"; do [[ $line != *[^\ -~]* ]]; done
}

@test "RFC 5321 4.1.1.8: HELP lists what can be said now, before HELO" {
    help_text
    listed_verbs
    for verb in EHLO HELO RSET VRFY HELP NOOP QUIT; do
        [[ $listed == *" $verb "* ]]
    done
    # And nothing that would get 503 or 502.
    for verb in MAIL RCPT DATA EXPN STARTTLS; do
        [[ $listed != *" $verb "* ]]
    done
}

@test "RFC 5321 4.1.1.8: HELP lists what can be said now, step by step" {
    ask 'HELO me' HELP 'MAIL FROM:<>' HELP 'RCPT TO:<bob@localhost>' HELP
    listed_verbs
    # Of those that come and go.
    come_and_go=
    for verb in $listed; do
        case $verb in MAIL | RCPT | DATA | ,) come_and_go+=" $verb" ;; esac
    done
    [ "$come_and_go" = ' MAIL , RCPT , RCPT DATA ,' ]
}

@test "RFC 5321 4.1.1.8: HELP and a verb: its syntax, its meaning and its section" {
    while IFS='|' read -r verb syntax section; do
        help_text "$verb"
        [[ $text == *" $verb${syntax:+ $syntax}"* ]]
        [[ $text == *"$section"* ]]
        [ "${#said[@]}" -ge 3 ]
        for line in "${said[@]}"; do [[ $line == 214[\ -]'2.0.0 '?* ]]; done
        [ "$verb" != DATA ] || for_data=$text
    done <<'END'
EHLO|name|RFC 5321 4.1.1.1
HELO|name|RFC 5321 4.1.1.1
MAIL|FROM:<|RFC 5321 4.1.1.2
RCPT|TO:<|RFC 5321 4.1.1.3
DATA||RFC 5321 4.1.1.4
RSET||RFC 5321 4.1.1.5
VRFY|string|RFC 5321 4.1.1.6
HELP|[verb]|RFC 5321 4.1.1.8
NOOP|[string]|RFC 5321 4.1.1.9
QUIT||RFC 5321 4.1.1.10
END
    help_text dAtA
    [ "$text" = "$for_data" ]
}

@test "RFC 5321 4.2.1: HELP and what is no verb gets 504 5.5.4" {
    table HELP <<'END'
504 5.5.4| FOOBAR
504 5.5.4| MAIL RCPT
504 5.5.4| MAI
504 5.5.4| MAILS
504 5.5.4| 4.1.1
504 5.5.4| <>
END
}

@test "RFC 5321 4.2.1: HELP and a verb that is not offered gets 504 5.5.4, AUTH without -a too" {
    rows=('504 5.5.4| '{EXPN,TURN,SEND,SOML,SAML,ETRN,STARTTLS,BDAT,AUTH,expn})
    rows HELP
}

@test "RFC 5321 4.2.1: HELP's lines all have one code, and only the last a space after it" {
    for verb in '' EHLO QUIT MAIL; do
        help_text "$verb"
        [ "${#said[@]}" -ge 2 ]
        for line in "${said[@]:0:${#said[@]}-1}"; do [[ $line == '214-2.0.0 '* ]]; done
        [[ $last == '214 2.0.0 '* ]]
    done
}

@test "RFC 5321 4.1.4: NOOP, HELP, VRFY and RSET are good before EHLO" {
    serve
    dialogue <<'END'
S: 220 ...
C: NOOP
S: 250 2.0.0 ...
C: HELP QUIT
S: 214-2.0.0 ...
S: 214-2.0.0 ...
S: 214 2.0.0 ...
C: VRFY bob
S: 252 2.0.0 ...
C: RSET
S: 250 2.0.0 ...
C: MAIL FROM:<>
S: 503 5.5.1 ...
END
}

@test "RFC 5321 4.1.1: NOOP, HELP and VRFY leave the buffers alone" {
    between=(NOOP 'NOOP x' HELP 'HELP MAIL' 'HELP x' 'VRFY bob' VRFY 'EXPN x')
    ask 'EHLO me' "${between[@]}" 'MAIL FROM:<a@b.example> SMTPUTF8' \
        "${between[@]}" 'RCPT TO:<bob@localhost>' "${between[@]}" \
        'RCPT TO:<carol@localhost>' "${between[@]}" DATA .
    [ "$code" = '250 2.0.0' ]
    mails bob 1 carol 1
    look mail/bob/new/*
    [ "$path" = '<a@b.example>' ]
    [[ $received == *' with UTF8SMTP '* ]]
}
