#!/usr/bin/env bats
# Verbs that are known and not offered here, and words that are no verbs.

# shellcheck disable=SC2034,SC2154
load helpers

# Each line on standard input must get these codes, before EHLO and after, and
# none ends the session.
all_get() { # CODES
    local command rows=()
    while IFS= read -r command; do rows+=("$1|$command"); done
    rows+=('250 2.0.0|NOOP')
    before=(NOOP)
    rows
    before=('EHLO me')
    rows
}

# The same for one verb that we don't offer, and have no help for; the refusal
# says so.
not_offered() { # COMMAND...
    local rows=("${@/#/502 5.5.1|}" "504 5.5.4|HELP ${1%% *}" '250 2.0.0|NOOP')
    before=(NOOP)
    rows
    holds replies $'\n502 *Not offered* (RFC 5321 4.2.4)\r\n'
    before=('EHLO me')
    rows
}

@test "RFC 5321 4.1.1.7: EXPN is not offered" {
    not_offered EXPN 'EXPN staff' 'expn staff' 'Expn  staff '
}

@test "RFC 5321 appendix F.1: TURN is not offered" {
    not_offered TURN turn 'TURN x'
}

@test "RFC 5321 appendix F.6: SEND, SOML and SAML are not offered" {
    for verb in SEND SOML SAML; do
        not_offered "$verb" "$verb FROM:<a@b.example>"
    done
}

@test "RFC 1985 5: ETRN is not offered" {
    not_offered ETRN 'ETRN b.example' 'etrn @b.example'
}

@test "RFC 3207 4: STARTTLS is not offered" {
    not_offered STARTTLS starttls 'STARTTLS x'
}

@test "RFC 4954 4: AUTH is not offered" {
    not_offered AUTH 'AUTH PLAIN' 'AUTH PLAIN AGJvYgBzZWNyZXQ='
}

@test "RFC 3030 2: BDAT is not offered" {
    not_offered BDAT 'BDAT 0 LAST' 'BDAT 86 LAST'
}

@test "RFC 5321 4.2.4: nothing that gets 502 or 500 is listed by EHLO" {
    ask 'EHLO me'
    printf '%s\n' "${said[@]:2}" >listed
    run -1 grep -wiE 'EXPN|TURN|SEND|SOML|SAML|ETRN|STARTTLS|AUTH|CHUNKING|BDAT|BINARYMIME|DSN|....X.*' listed
    # And what is listed and is a verb, works.
    [[ ${said[*]:2} == *'250 HELP'* ]]
    gets '214 2.0.0' HELP
}

@test "RFC 5321 4.2.4: words that are no verbs get 500 5.5.1" {
    all_get '500 5.5.1' <<'END'
FOOBAR
FOOBAR with arguments
foo
A
HELLO me
EHLOO me
EHL me
MAILFROM:<a@b.example>
MAIL-FROM:<a@b.example>
RCPTTO:<bob@localhost>
DATAX
NOOPX
NO-OP
QUITS
QUI
"QUIT"
<QUIT>
QUIT.
220 mail.example.com
.
..
-
 QUIT
:
%s%n
help?
END
}

@test "RFC 5321 4.1.1: a verb ends at a space" {
    all_get '500 5.5.1' <<'END'
HELO:me
HELO=me
MAIL:FROM:<a@b.example>
QUIT;
NOOP,
VRFY<bob>
END
}

@test "RFC 5321 4.1.5: commands that start with X are unknown here" {
    all_get '500 5.5.1' <<'END'
X
XFOO
xfoo bar
XCLIENT ADDR=192.0.2.1
XFORWARD NAME=x
X-EXPS LOGIN
XADR
XVRB
END
}

@test "RFC 5321 4.2.4: other programs' first words get 500, and do no harm" {
    all_get '500 5.5.1' <<'END'
LHLO me
USER anonymous
PASS x
AUTHINFO USER x
SSH-2.0-OpenSSH_9.2
a001 LOGIN bob secret
VERB
ONEX
DEBUG
WIZ
EVFY bob
PROXY TCP4 192.0.2.1 192.0.2.2 1 25
END
}

@test "RFC 5321 4.2.4: an empty line is an unknown command, no more" {
    serve
    dialogue <<'END'
S: 220 ...
X: \r\n
S: 500 5.5.1 ...
X: \r\n \r\n\t\r\n
S: 500 5.5.1 ...
S: 500 5.5.1 ...
S: 500 5.5.1 ...
C: NOOP
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
}

@test "RFC 5321 4.2.4: a refusal says to try HELP" {
    ask FOOBAR TURN
    [[ ${said[1]} == *HELP*'RFC 5321 4.2.4'* ]]
    [[ ${said[2]} == *HELP*'RFC 5321 4.2.4'* ]]
}

@test "RFC 5321 4.3.2: no verb of the minimum is unknown" {
    # RFC 5321 4.5.1 has the list. Whatever is wrong with them otherwise.
    for argument in '' ' x' ' <'; do
        ask {EHLO,HELO,MAIL,RCPT,DATA,RSET,NOOP,VRFY,QUIT}"$argument"
        [ ${#codes[@]} -eq 9 ]
        [[ " ${codes[*]}" != *' 50'[02]* ]]
    done
}

@test "RFC 5321 4.1.1.7: a verb not offered leaves the transaction alone" {
    ask 'HELO me' 'MAIL FROM:<a@b.example>' 'EXPN x' STARTTLS 'RCPT TO:<bob@localhost>' \
        'SEND FROM:<b@b.example>' 'AUTH PLAIN' 'BDAT 5 LAST' FOOBAR '' DATA .
    [ "$code" = '250 2.0.0' ]
    look mail/bob/new/*
    [ "$path" = '<a@b.example>' ]
}

@test "RFC 5321 2.2.2: what begins with X is unknown here, verb and parameter" {
    serve
    dialogue <<'END'
S: 220 ...
C: EHLO me
S*: 250 ...
C: XFOO
S: 500 5.5.1 ...
C: X-FOO bar
S: 500 5.5.1 ...
C: MAIL FROM:<a@b.example> XFOO
S: 555 5.5.4 ...
C: MAIL FROM:<a@b.example> X-FOO=bar
S: 555 5.5.4 ...
C: MAIL FROM:<a@b.example>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost> XFOO=bar
S: 555 5.5.4 ...
END
}
