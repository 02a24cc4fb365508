#!/usr/bin/env bats
# What may be said when: every verb in every state of a session, and the state
# that it leaves behind.
#
#   START     before EHLO or HELO          RCPT      and an accepted RCPT
#   GREETED   no transaction begun         DATA      between 354 and the dot
#   MAIL      after an accepted MAIL       CLOSED    the session is over

# shellcheck disable=SC2154
load helpers

# A state shows in what these are answered.
probe=(DATA . 'MAIL FROM:<probe@b.example>' 'RCPT TO:<probe@localhost>')
state_of() { # CODE...
    case $* in
    '503 500 503 503') state=START ;;
    '503 500 250 250') state=GREETED ;;
    '503 500 503 250') state=MAIL ;;
    '354 250 250 250') state=RCPT ;;
    '250 250 250') state=DATA ;;
    '') state=CLOSED ;;
    *) state="no state ($*)" ;;
    esac
}

# Commands that bring a session into a state, each with one reply.
start=()
greeted=('EHLO me')
mail=("${greeted[@]}" 'MAIL FROM:<first@b.example>')
refused=("${mail[@]}" 'RCPT TO:<x@elsewhere.example>')
rcpt=("${mail[@]}" 'RCPT TO:<bob@localhost>')

# Each line on standard input: CODE|NEXT STATE|COMMAND; = is the same state. In
# a session which these commands have brought into STATE, COMMAND must get CODE
# and lead to the next state. Where two things are wrong at once, either code
# will do: 50[13], say. Commands that change nothing share a session, fifteen at
# most, since it ends after 20 blunders.
check() { # STATE COMMAND...
    local was=$1 want next command group=() wants=()
    shift
    while IFS='|' read -r want next command; do
        group+=("$command") wants+=("$want")
        if [ "$next" != = ] || [ ${#group[@]} -eq 15 ]; then
            together "${next/=/$was}" "$@" || return
            group=() wants=()
        fi
    done
    [ ${#group[@]} -eq 0 ] || together "$was" "$@"
}

# After these commands those of group get wants, and lead to the next state.
together() { # NEXT COMMAND...
    local next=$1 before=$(($# - 1)) i state
    shift
    [[ " $* " != *' DATA . '* ]] || before=$#
    ask "$@" "${group[@]}" "${probe[@]}"
    codes=("${codes[@]%% *}")
    for ((i = 0; i < ${#group[@]}; i++)); do
        # shellcheck disable=SC2053
        [[ ${codes[before + i]} == ${wants[i]} ]] || {
            echo "$was, ${group[i]}: wanted ${wants[i]}, got ${codes[before + i]}"
            return 1
        }
    done
    state_of ${codes[@]+"${codes[@]:before + i}"}
    [ "$state" = "$next" ] || {
        printf '%s\n' "$was: wanted $next, got $state after these:" "${group[@]}"
        return 1
    }
}

# What is the same in every state, but for where RSET leads.
printf -v tab '\t' && printf -v control '\001'
any_time="250|GREETED|EHLO you
250|GREETED|HELO you
250|AFTER RSET|RSET
221|CLOSED|QUIT
501|=|EHLO
501|=|HELO
501|=|EHLO <me>
501|=|HELO a;b
501|=|RSET x
250|=|NOOP
250|=|NOOP x
252|=|VRFY bob
501|=|VRFY
214|=|HELP
214|=|HELP MAIL
504|=|HELP FOOBAR
501|=|QUIT x
502|=|EXPN staff
502|=|TURN
502|=|SEND FROM:<a@b.example>
502|=|SOML FROM:<a@b.example>
502|=|SAML FROM:<a@b.example>
502|=|ETRN b.example
502|=|STARTTLS
502|=|AUTH PLAIN AGJvYgB4
502|=|BDAT 5 LAST
500|=|FOOBAR
500|=|XFOO
500|=|
500|=|.
500|=|MAIL${tab}FROM:<a@b.example>
500|=|RCPT TO:<$control@localhost>
500|=|NOOP ${xs:0:1100}"

before_greeting='503|=|MAIL FROM:<a@b.example>
503|=|MAIL FROM:<>
50[13]|=|MAIL FROM:bad
50[13]|=|MAIL
503|=|RCPT TO:<bob@localhost>
503|=|RCPT TO:<postmaster>
50[13]|=|RCPT TO:bad
50[13]|=|RCPT
503|=|DATA
50[13]|=|DATA x'

without_transaction='250|MAIL|MAIL FROM:<a@b.example>
250|MAIL|MAIL FROM:<>
501|=|MAIL FROM:bad
501|=|MAIL
555|=|MAIL FROM:<> FOO
553|=|MAIL FROM:<é@b.example>
503|=|RCPT TO:<bob@localhost>
503|=|RCPT TO:<postmaster>
50[13]|=|RCPT TO:bad
50[13]|=|RCPT
503|=|DATA
50[13]|=|DATA x'

@test "RFC 5321 4.1.4: before EHLO or HELO no mail command is taken" {
    check START "${start[@]}" <<<"$before_greeting"
}

@test "RFC 5321 4.1.4: before EHLO or HELO everything else is answered as ever" {
    check START "${start[@]}" <<<"${any_time/AFTER RSET/START}"
}

@test "RFC 5321 4.1.4: a refused EHLO does not count as one" {
    check START EHLO 'EHLO (me)' 'HELO <me>' <<<"$before_greeting"
}

@test "RFC 5321 4.1.4: after EHLO or HELO a transaction begins with MAIL" {
    check GREETED "${greeted[@]}" <<<"$without_transaction"
    check GREETED 'HELO me' <<<"$without_transaction"
}

@test "RFC 5321 4.1.4: without a transaction everything else is answered as ever" {
    check GREETED "${greeted[@]}" <<<"${any_time/AFTER RSET/GREETED}"
}

@test "RFC 5321 4.1.4: after RSET, a later EHLO, a refused MAIL it is as after EHLO" {
    check GREETED "${rcpt[@]}" RSET <<<"$without_transaction"
    check GREETED "${rcpt[@]}" 'HELO you' <<<"$without_transaction"
    check GREETED "${greeted[@]}" 'MAIL FROM:bad' <<<"$without_transaction"
}

@test "RFC 5321 4.1.4: after a message it is as after EHLO" {
    # DATA has two replies: its line and the dot.
    check GREETED "${rcpt[@]}" DATA . <<<"$without_transaction"
}

@test "RFC 5321 4.1.4: after MAIL comes RCPT" {
    check MAIL "${mail[@]}" <<'END'
503|=|MAIL FROM:<a@b.example>
50[13]|=|MAIL FROM:bad
50[13]|=|MAIL
250|RCPT|RCPT TO:<bob@localhost>
250|RCPT|RCPT TO:<postmaster>
550|=|RCPT TO:<bob@elsewhere.example>
501|=|RCPT TO:bad
501|=|RCPT
555|=|RCPT TO:<bob@localhost> FOO
553|=|RCPT TO:<é@localhost>
503|=|DATA
50[13]|=|DATA x
END
}

@test "RFC 5321 4.1.4: after MAIL everything else is answered as ever" {
    check MAIL "${mail[@]}" <<<"${any_time/AFTER RSET/GREETED}"
}

@test "RFC 5321 3.3: after refused RCPTs it is as before them, and DATA gets 503" {
    check MAIL "${refused[@]}" <<'END'
503|=|MAIL FROM:<a@b.example>
50[13]|=|MAIL
250|RCPT|RCPT TO:<bob@localhost>
550|=|RCPT TO:<bob@elsewhere.example>
501|=|RCPT TO:bad
501|=|RCPT
555|=|RCPT TO:<bob@localhost> FOO
553|=|RCPT TO:<é@localhost>
503|=|DATA
50[13]|=|DATA x
END
}

@test "RFC 5321 4.1.4: after refused RCPTs everything else is answered as ever" {
    check MAIL "${refused[@]}" <<<"${any_time/AFTER RSET/GREETED}"
}

@test "RFC 5321 4.1.4: after an accepted RCPT come more of them, or DATA" {
    with_recipient='503|=|MAIL FROM:<a@b.example>
50[13]|=|MAIL FROM:bad
50[13]|=|MAIL
250|=|RCPT TO:<bob@localhost>
250|=|RCPT TO:<carol@localhost>
550|=|RCPT TO:<bob@elsewhere.example>
501|=|RCPT TO:bad
501|=|RCPT
555|=|RCPT TO:<bob@localhost> FOO
354|DATA|DATA
501|=|DATA x'
    check RCPT "${rcpt[@]}" <<<"$with_recipient"
    # Refused ones before and after make no difference.
    check RCPT "${refused[@]}" 'RCPT TO:<bob@localhost>' RCPT <<<"$with_recipient"
}

@test "RFC 5321 4.1.4: after an accepted RCPT everything else is answered as ever" {
    check RCPT "${rcpt[@]}" <<<"${any_time/AFTER RSET/GREETED}"
}

@test "RFC 5321 4.1.4: what is refused leaves sender and recipients as they were" {
    # All commands that must leave the transaction alone, if it has a recipient.
    harmless=('MAIL FROM:<second@b.example>' 'MAIL FROM:bad' 'RCPT TO:bad' \
        'RCPT TO:<carol@elsewhere.example>' 'RCPT TO:<carol@localhost> FOO' 'DATA x')
    while IFS='|' read -r _ next command; do
        [ "$next" != = ] || harmless+=("$command")
    done <<<"$any_time"
    [ ${#harmless[@]} -gt 30 ]
    # A session ends after 20 blunders.
    for ((n = 1; ${#harmless[@]} > 0; n++)); do
        ask "${rcpt[@]}" "${harmless[@]:0:15}" "RCPT TO:<dave$n@localhost>" DATA 'Subject: untouched' .
        harmless=("${harmless[@]:15}")
        [ "$code" = '250 2.0.0' ]
        mails bob "$n" "dave$n" 1
        files mail $((n * 2))
        look "mail/dave$n/new/"*
        [ "$path" = '<first@b.example>' ]
        [ "$rest" = $'Subject: untouched\n' ]
    done
}

@test "RFC 5321 4.1.4: in lock step over a connection it is the same" {
    serve
    dialogue <<'END'
S: 220 ...
C: RCPT TO:<bob@localhost>
S: 503 5.5.1 ...
C: HELO me
S: 250 ...
C: DATA
S: 503 5.5.1 ...
C: RCPT TO:<bob@localhost>
S: 503 5.5.1 ...
C: MAIL FROM:<first@b.example>
S: 250 2.1.0 ...
C: DATA
S: 503 5.5.1 ...
C: MAIL FROM:<second@b.example>
S: 503 5.5.1 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: HELO
S: 501 5.5.4 ...
C: MAIL FROM:<third@b.example>
S: 503 5.5.1 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
C: DATA
S: 503 5.5.1 ...
C: QUIT
S: 221 2.0.0 ...
END
    look mail/bob/new/*
    [ "$path" = '<first@b.example>' ]
}

@test "RFC 5321 4.1.4: a refusal tells what to say first" {
    ask 'MAIL FROM:<>' 'HELO me' DATA 'MAIL FROM:<>' DATA
    [ "${codes[*]}" = '503 5.5.1 250 503 5.5.1 250 2.1.0 503 5.5.1' ]
    [[ ${said[1]} == *EHLO*'RFC 5321 4.1.4'* ]]
    [[ ${said[3]} == *MAIL*'RFC 5321 4.1.4'* ]]
    [[ ${said[5]} == *RCPT*'RFC 5321 4.1.4'* ]]
}
