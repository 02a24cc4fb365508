#!/usr/bin/env bats
# MAIL: who sent the message, and what is said of it beforehand. What is an
# address, and what is not, is tested in 4.1.2-addresses.bats.

# shellcheck disable=SC2034,SC2154
load helpers

before=('EHLO me')

# One message to bob from this reverse-path, which must be taken.
from() { # PATH [PARAMETERS]
    ask 'EHLO me' "MAIL FROM:$*" 'RCPT TO:<bob@localhost>' DATA 'Subject: hello' .
    [[ $last == '250 2.0.0 '* ]]
}

@test "RFC 5321 4.1.1.2: MAIL starts a transaction, and gets 250 2.1.0" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: RCPT TO:<bob@localhost>
S: 503 5.5.1 ...
C: MAIL FROM:<carol@b.example>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
END
}

@test "RFC 5321 4.1.1.2: the reverse-path is where bounces go: Return-Path" {
    from '<Carol.Jones@B.example>'
    # RFC 5321 2.4: the case of a local-part is kept; so is the domain's.
    look mail/bob/new/*
    [ "$path" = '<Carol.Jones@B.example>' ]
}

@test "RFC 5321 4.5.5: the null reverse-path is taken and kept" {
    from '<>'
    look mail/bob/new/*
    [ "$path" = '<>' ]
}

@test "RFC 5321 4.1.2: a source route is accepted and dropped" {
    from '<@hosta.int,@jkl.org:userx@y.foo.org>'
    look mail/bob/new/*
    [ "$path" = '<userx@y.foo.org>' ]
}

@test "RFC 5321 4.1.1.2: what is no argument of MAIL gets 501: 5.1.7 for the path, else 5.5.4" {
    table MAIL <<'END'
501 5.5.4|
501 5.5.4| FROM
501 5.1.7| FROM:
501 5.5.4| FROM carol@b.example
501 5.5.4| FROM <carol@b.example>
501 5.5.4| FROM :<carol@b.example>
501 5.1.7| FROM:carol@b.example
501 5.1.7| FROM:<carol@b.example
501 5.1.7| FROM:carol@b.example>
501 5.1.7| FROM:<<carol@b.example>>
501 5.1.7| FROM:Carol <carol@b.example>
501 5.1.7| FROM:< carol@b.example>
501 5.1.7| FROM:<carol@b.example >
501 5.1.7| FROM:< >
501 5.1.7| FROM:<
501 5.1.7| FROM:>
501 5.1.7| FROM:<carol>
501 5.1.7| FROM:<postmaster>
501 5.5.4| TO:<carol@b.example>
501 5.5.4| <carol@b.example>
501 5.5.4| carol@b.example
500 5.5.1|FROM:<carol@b.example>
500 5.5.1|:<carol@b.example>
END
}

@test "RFC 5321 2.4: FROM, MAIL and parameters are the same in any case" {
    table MAIL <<'END'
250 2.1.0| from:<carol@b.example>
250 2.1.0| From:<carol@b.example> size=100 body=8bitmime smtputf8
250 2.1.0| FROM:<carol@b.example> Size=100 Body=7bit SmtpUtf8
END
    before=('HELO me')
    gets '250 2.1.0' 'mail from:<>'
}

@test "RFC 5321 3.3: spaces between the colon and the path are let pass" {
    table MAIL <<'END'
250 2.1.0| FROM: <carol@b.example>
250 2.1.0| FROM:   <> SIZE=5
501 5.1.7| FROM: carol@b.example
501 5.1.7| FROM: @
END
}

@test "RFC 5321 4.1.1: white space at the end is let pass, a TAB elsewhere is not" {
    for end in ' ' '   ' $'\t' $' \t \t'; do
        gets '250 2.1.0 250 2.0.0 250 2.1.0' "MAIL FROM:<>$end" RSET "MAIL FROM:<> SIZE=5$end"
    done
    gets '500 5.5.2 500 5.5.2 500 5.5.2' $'MAIL FROM:\t<>' $'MAIL FROM:<>\tSIZE=5' $'MAIL\tFROM:<>'
}

@test "RFC 5321 4.5.3.1.3: a path of 256 octets is taken, one of 257 is not" {
    # <, >, @ and ".example" are 11 octets.
    for route in '' '@a.example,@b.example:'; do
        room=$((245 - ${#route}))
        for local in 1 64 65 $((room - 10)); do
            long=$route${xs:0:local}@${xs:0:room - local}
            gets '501 5.1.7 250 2.1.0' "MAIL FROM:<${long}x.example>" "MAIL FROM:<$long.example>"
        done
    done
    gets '501 5.1.7 250 2.1.0' "MAIL FROM:<\"${xs:0:244}\"@${xs:0:8}>" \
        "MAIL FROM:<\"${xs:0:243}\"@${xs:0:8}>"
}

@test "RFC 5321 4.5.3.1: the longest reverse-path is kept whole" {
    longest="<${xs:0:150}@${xs:0:95}.example>"
    from "$longest"
    look mail/bob/new/*
    [ "$path" = "$longest" ]
}

@test "RFC 5321 4.1.1.11: parameters we know are taken in any order" {
    table MAIL <<'END'
250 2.1.0| FROM:<a@b.example> SIZE=1000
250 2.1.0| FROM:<a@b.example> BODY=7BIT
250 2.1.0| FROM:<a@b.example> BODY=8BITMIME
250 2.1.0| FROM:<a@b.example> SMTPUTF8
250 2.1.0| FROM:<a@b.example> SIZE=1000 BODY=8BITMIME SMTPUTF8
250 2.1.0| FROM:<a@b.example> SMTPUTF8 BODY=8BITMIME SIZE=1000
250 2.1.0| FROM:<>   SIZE=1000   BODY=7BIT
END
}

@test "RFC 5321 4.1.1.11: parameters we don't know get 555 5.5.4" {
    table MAIL <<'END'
555 5.5.4| FROM:<a@b.example> FOO
555 5.5.4| FROM:<a@b.example> FOO=BAR
555 5.5.4| FROM:<a@b.example> AUTH=<>
555 5.5.4| FROM:<a@b.example> RET=FULL
555 5.5.4| FROM:<a@b.example> ENVID=x+2Dy
555 5.5.4| FROM:<a@b.example> FOO=
555 5.5.4| FROM:<a@b.example> FOO=a=b
555 5.5.4| FROM:<a@b.example> A_B=1
555 5.5.4| FROM:<a@b.example> -A=1
555 5.5.4| FROM:<a@b.example> =5
555 5.5.4| FROM:<a@b.example> =
555 5.5.4| FROM:<a@b.example> <>
555 5.5.4| FROM:<a@b.example> SIZE=5 FOO
555 5.5.4| FROM:<a@b.example> FOO SIZE=5
555 5.5.4| FROM:<a@b.example> SIZES=5
555 5.5.4| FROM:<a@b.example> SIZ=5
555 5.5.4| FROM:<a@b.example> SMTPUTF-8
555 5.5.4| FROM:<a@[192.0.2.1]> FOO=a:b
END
}

@test "RFC 5321 4.1.1.11: after HELO no parameter is known" {
    before=('HELO me')
    table MAIL <<'END'
250 2.1.0| FROM:<a@b.example>
555 5.5.4| FROM:<a@b.example> SIZE=5
555 5.5.4| FROM:<a@b.example> BODY=8BITMIME
555 5.5.4| FROM:<a@b.example> SMTPUTF8
555 5.5.4| FROM:<a@b.example> FOO
END
}

@test "RFC 5321 4.1.2: parameters with a malformed value get 501 5.5.4" {
    table MAIL <<'END'
501 5.5.4| FROM:<> SIZE
501 5.5.4| FROM:<> SIZE=
501 5.5.4| FROM:<> SIZE=x
501 5.5.4| FROM:<> SIZE=1k
501 5.5.4| FROM:<> SIZE=-1
501 5.5.4| FROM:<> SIZE=+1
501 5.5.4| FROM:<> SIZE=1=2
501 5.5.4| FROM:<> SIZE=0x10
501 5.5.4| FROM:<> SIZE = 1
501 5.5.4| FROM:<> BODY
501 5.5.4| FROM:<> BODY=
501 5.5.4| FROM:<> BODY=BINARYMIME
501 5.5.4| FROM:<> BODY=7BITS
501 5.5.4| FROM:<> BODY=7BIT=
501 5.5.4| FROM:<> SMTPUTF8=
501 5.5.4| FROM:<> SMTPUTF8=YES
END
}

@test "RFC 5321 4.1.2: of a parameter that comes twice the last counts" {
    options=(-z 65536)
    table MAIL <<'END'
250 2.1.0| FROM:<> SIZE=1 SIZE=1
250 2.1.0| FROM:<> SIZE=1 BODY=7BIT size=2
250 2.1.0| FROM:<> SIZE=65537 SIZE=65536
250 2.1.0| FROM:<> SIZE=65537 BODY=7BIT SIZE=9999999999999999999 size=0
552 5.3.4| FROM:<> SIZE=65536 SIZE=65537
552 5.3.4| FROM:<> SIZE=0 SMTPUTF8 Size=65537
250 2.1.0| FROM:<> BODY=7BIT BODY=7BIT
250 2.1.0| FROM:<> BODY=8BITMIME BODY=7BIT
250 2.1.0| FROM:<> SMTPUTF8 SMTPUTF8
501 5.5.4| FROM:<> SIZE=1 SIZE=x
501 5.5.4| FROM:<> BODY=7BIT BODY=x
END
}

@test "RFC 5321 4.1.1.2: between the path and the parameters stands a space" {
    before=()
    for argument in '<a@b.example>SIZE=5' '<a@b.example>x' '<>>' '<><>' '<a@b.example>,<a@c.example>'; do
        before+=("MAIL FROM:$argument")
    done
    ask 'EHLO me' "${before[@]}"
    [ ${#codes[@]} -eq 6 ]
    for code in "${codes[@]:1}"; do [[ $code == '501 5.'* ]]; done
}

@test "RFC 5321 4.1.4: a refused MAIL leaves things as they were" {
    serve
    dialogue <<'END'
S: 220 ...
C: EHLO me
S*: 250 ...
C: MAIL FROM:bad
S: 501 5.1.7 ...
C: RCPT TO:<bob@localhost>
S: 503 5.5.1 ...
C: MAIL FROM:<bad@b.example> FOO
S: 555 5.5.4 ...
C: RCPT TO:<bob@localhost>
S: 503 5.5.1 ...
C: MAIL FROM:<good@b.example>
S: 250 2.1.0 ...
C: MAIL FROM:<second@b.example>
S: 503 5.5.1 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
END
    look mail/bob/new/*
    [ "$path" = '<good@b.example>' ]
}

@test "RFC 1870 6.1: a SIZE over the limit gets 552 5.3.4, one at the limit 250" {
    options=(-z 65536)
    table MAIL <<'END'
250 2.1.0| FROM:<> SIZE=0
250 2.1.0| FROM:<> SIZE=1
250 2.1.0| FROM:<> SIZE=65536
250 2.1.0| FROM:<> SIZE=00000000000000065536
552 5.3.4| FROM:<> SIZE=65537
552 5.3.4| FROM:<> SIZE=4294967296
552 5.3.4| FROM:<> SIZE=9223372036854775807
552 5.3.4| FROM:<> SIZE=9223372036854775808
552 5.3.4| FROM:<> SIZE=18446744073709551616
552 5.3.4| FROM:<> SIZE=99999999999999999999
END
    options=()
    table MAIL <<'END'
250 2.1.0| FROM:<> SIZE=26214400
552 5.3.4| FROM:<> SIZE=26214401
END
}

@test "RFC 1870 3: a SIZE has at most 20 digits" {
    table MAIL <<'END'
501 5.5.4| FROM:<> SIZE=000000000000000000001
501 5.5.4| FROM:<> SIZE=999999999999999999999
END
}

# smtpd on a file system of 40 KiB, which nobody else sees.
on_small_disk() {
    # shellcheck disable=SC2016
    unshare "$1" sh -c 'mount -t tmpfs -o size=40k none small &&
        exec "$0" -i -m small -n mail.example.com' "$SMTPD" 2>>log
}

@test "RFC 1870 6.1: a full disk is no matter of MAIL's SIZE: it shows after the dot" {
    mkdir small
    { printf '%s\r\n' 'EHLO me' 'MAIL FROM:<>' RSET 'MAIL FROM:<> SIZE=26214400' \
        'RCPT TO:<bob@localhost>' DATA && printf '%070d\r\n' {1..1000} &&
        printf '%s\r\n' . 'MAIL FROM:<> SIZE=100' 'RCPT TO:<bob@localhost>' DATA x . \
            QUIT; } >.asked
    for as in -m -rm; do
        unshare "$as" mount -t tmpfs none small 2>/dev/null || continue
        talk() { on_small_disk "$as"; }
        tell .asked
        [ "${codes[*]:1}" = '250 2.1.0 250 2.0.0 250 2.1.0 250 2.1.5 354 452 4.3.1 250 2.1.0 250 2.1.5 354 250 2.0.0 221 2.0.0' ]
        return
    done
    skip "may not mount a small file system"
}

@test "RFC 1870 6.3: a message larger than declared, and within the limit, is taken" {
    from '<a@b.example> SIZE=1'
    mails bob 1
}

@test "RFC 6152 3: all bits of a message are kept, with BODY=8BITMIME and without" {
    # All octets but NUL, CR and LF.
    printf -v octets '\\%03o' {1..9} 11 12 {14..255}
    printf -v octets %b "$octets"
    for body in ' BODY=8BITMIME' ' BODY=7BIT' ''; do
        gets '250 2.1.0 250 2.1.5 354 250 2.0.0' "MAIL FROM:<>$body" 'RCPT TO:<bob@localhost>' \
            DATA '' "$octets" .
        look mail/bob/new/*
        [ "$text" = "$octets"$'\n' ]
        rm mail/bob/new/*
    done
}

@test "RFC 5321 4.5.3.1: lengths count octets, not characters" {
    # 122 characters of two octets each, and 12 octets beside them: 256.
    printf -v local '\xC3\xA9%.0s' {1..122}
    gets '501 5.1.7 250 2.1.0' "MAIL FROM:<x$local@b.example> SMTPUTF8" \
        "MAIL FROM:<$local@b.example> SMTPUTF8"
}

@test "RFC 5321 6.2: a sender whose domain does not exist is taken, and the mail kept" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: MAIL FROM:<nobody@no-such-domain.invalid>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
END
    mails bob 1
}
