#!/usr/bin/env bats
# EHLO and HELO: who the client is, and what we offer.

# shellcheck disable=SC2154
load helpers

# What these commands are answered: code and enhanced code, or for 250 without
# one, code alone, a line each.
codes() { # COMMAND...
    ask "$@"
    printf '%s\n' "${codes[@]}"
}

@test "RFC 5321 4.1.1.1: EHLO is answered with our name and what we offer" {
    serve -z 100000
    dialogue <<'END'
S: 220 mail.example.com ESMTP...
C: EHLO client.example
S: 250-mail.example.com ...
S: 250-SIZE 100000
S: 250-8BITMIME
S: 250-PIPELINING
S: 250-ENHANCEDSTATUSCODES
S: 250-SMTPUTF8
S: 250 HELP
END
}

@test "RFC 5321 4.1.1.1: each line after EHLO's first is a keyword and its parameters" {
    printf 'EHLO me\r\n' | talk | tr -d '\r' | sed 1,2d >out
    # ehlo-line = ehlo-keyword *( SP ehlo-param )
    run -1 grep -vE '^250[ -][A-Za-z0-9][A-Za-z0-9-]*( [!-~]+)*$' out
    [ "$(grep -c '^250-' out)" -eq $(($(wc -l <out) - 1)) ]
    [[ $(tail -n 1 out) == "250 "* ]]
}

@test "RFC 5321 3.2: HELO is answered with one line, and names no extension" {
    serve
    dialogue <<'END'
S: 220 mail.example.com ESMTP...
C: HELO client.example
S: 250 mail.example.com...
C: QUIT
S: 221 ...
END
    [[ $(printf 'HELO me\r\n' | talk) != *SIZE* ]]
}

@test "RFC 5321 2.4: the verb is the same in any case" {
    for verb in ehlo Ehlo eHLO; do
        [ "$(codes "$verb me")" = 250 ]
    done
    [ "$(codes 'helo me' 'MAIL FROM:<>')" = $'250\n250 2.1.0' ]
}

@test "RFC 5321 4.1.1: white space after the argument is let pass" {
    [ "$(codes 'HELO me ' $'HELO me\t' $'HELO me \t  ' 'MAIL FROM:<>')" = \
        $'250\n250\n250\n250 2.1.0' ]
}

@test "RFC 5321 4.1.1.1: a domain names the client, any domain" {
    while IFS= read -r name; do
        [ "$(codes "HELO $name" "EHLO $name" 'MAIL FROM:<>')" = $'250\n250\n250 2.1.0' ] ||
            { echo "$name" && false; }
    done <<END
localhost
c
3com.example
1
192.0.2.1
a-b.c--d.example
A.B.C.D.E.F
my_pc.example
_dmarc.example
xn--bcher-kva.example
no-such-host.invalid
END
}

@test "RFC 5321 4.5.3.1.2: the domain may have 255 octets, and no more" {
    name=$(printf 'x%.0s' {1..247}).example
    for verb in HELO EHLO; do
        # One dot at its end is not counted.
        for dot in '' .; do
            [ "$(codes "$verb $name$dot" 'MAIL FROM:<>')" = $'250\n250 2.1.0' ]
            [ "$(codes "$verb x$name$dot" 'MAIL FROM:<>')" = $'501 5.5.4\n503 5.5.1' ]
        done
        [ "$(codes "$verb $name.." "$verb $name. x")" = $'501 5.5.4\n250' ]
    done
}

@test "RFC 5321 4.1.3: an address literal names a client that has no domain" {
    for literal in '[192.0.2.1]' '[IPv6:2001:db8::1]' '[ipv6:::1]' '[IPv6:::ffff:192.0.2.1]'; do
        [ "$(codes "EHLO $literal" 'MAIL FROM:<>')" = $'250\n250 2.1.0' ]
        [ "$(codes "HELO $literal" 'MAIL FROM:<>')" = $'250\n250 2.1.0' ]
    done
}

@test "RFC 5321 4.1.1.1: further text after a name or address literal is passed over" {
    for text in 'my host' '(client.example)' 'a:b' 'IPv6:x]' ' "<;>\"' .; do
        [ "$(codes "HELO [192.0.2.1] $text" 'MAIL FROM:<>' "EHLO me $text")" = $'250\n250 2.1.0\n250' ]
    done
    [ "$(codes 'HELO [IPv6:2001:db8::1] my host' 'MAIL FROM:<>')" = $'250\n250 2.1.0' ]
}

@test "RFC 5321 4.1.4: whatever real clients call themselves is taken, and noted as it is" {
    # Each line: what is said, and what is noted. A short name with its dot, one
    # with underscores, IPv6 as PHP and Java say it, curl -T's file, and more.
    names=() lines=()
    while IFS='|' read -r said noted; do
        verb=EHLO && [ $((${#names[@]} % 2)) -eq 0 ] || verb=HELO
        lines+=("$verb $said" 'MAIL FROM:<>' "RCPT TO:<u${#names[@]}@localhost>" DATA .)
        names+=("$noted")
    done <<END
box.|box
app_web_1|app_web_1
[::1]|[::1]
fe80::1|fe80::1
cabinet-.example.org|cabinet-.example.org
my letter.txt|my
$(x 255)|$(x 255)
$(x 255).|$(x 255)
.|.
..|.
-a.example|-a.example
.example|.example
a..example|a..example
a@b.example|a@b.example
a,b|a,b
a/b|a/b
[]|[]
[192.0.2.1|[192.0.2.1
[192.0.2.256]|[192.0.2.256]
[192.0.2.1]x|[192.0.2.1]x
[x-tag:some.thing]|[x-tag:some.thing]
[IPv6:2001:db8]|[IPv6:2001:db8]
192.0.2.1].|192.0.2.1]
2001:db8::1|2001:db8::1
fe80::1%eth0|fe80::1%eth0
!#\$%&'*+?^\`{}~|!#\$%&'*+?^\`{}~
%s%n|%s%n
END
    ask "${lines[@]}"
    [ ${#codes[@]} -eq ${#lines[@]} ]
    for ((i = 0; i < ${#names[@]}; i++)); do
        { read -r _ && read -r _ from name _; } <"mail/u$i/new/"*
        echo "${lines[i * 5]}: ${codes[i * 5]}, $from $name"
        [ "$from $name" = "from ${names[i]}" ]
    done
    [ ${#names[@]} -eq 27 ]
}

@test "RFC 5321 4.1.1.1: no name, or what could not stand in Received: EHLO and HELO get 501" {
    while IFS= read -r argument; do
        for verb in EHLO HELO; do
            [ "$(codes "$verb$argument" 'MAIL FROM:<>')" = $'501 5.5.4\n503 5.5.1' ] ||
                { echo "$verb$argument" && false; }
        done
    done <<END

$(printf ' ')
 <a.example>
 <
 a>
 "a.example"
 a"
 (a)
 a(b
 )
 a;b
 ;
 a\\b
 \\
 [192.0.2.1]\\
 \$(id)
 a; b
END
}

@test "RFC 5321 4.1.4: after a refused EHLO or HELO the state is what it was" {
    serve
    dialogue <<'END'
S: 220 ...
C: EHLO me
S*: 250 ...
C: MAIL FROM:<carol@b.example> BODY=8BITMIME
S: 250 2.1.0 ...
C: EHLO
S: 501 5.5.4 ...
C: HELO <me>
S: 501 5.5.4 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: EHLO (you)
S: 501 5.5.4 ...
C: DATA
S: 354 ...
C: Subject: still there
C: .
S: 250 2.0.0 ...
END
    file=$(message bob)
    [ "$(head -n 1 "$file")" = 'Return-Path: <carol@b.example>' ]
    # The name and the protocol are still those of the EHLO that was taken.
    [[ $(field Received "$file") == 'Received: from me '*' with ESMTP '* ]]
}

@test "RFC 5321 4.1.4: a later EHLO or HELO clears the transaction" {
    for verb in EHLO HELO; do
        [ "$(codes 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<bob@localhost>' "$verb you" DATA \
            'RCPT TO:<bob@localhost>' 'MAIL FROM:<>')" = \
            $'250\n250 2.1.0\n250 2.1.5\n250\n503 5.5.1\n503 5.5.1\n250 2.1.0' ]
    done
    files mail 0
}

@test "RFC 5321 4.1.1.1: Received has the name of the last EHLO or HELO, and the protocol" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO first.example
S: 250 ...
C: EHLO [IPv6:2001:db8::1] more text
S*: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
C: HELO Third.example
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<carol@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
END
    [[ $(field Received mail/bob/new/*) == 'Received: from [IPv6:2001:db8::1] '*' with ESMTP '* ]]
    [[ $(field Received mail/carol/new/*) == 'Received: from Third.example '*' with SMTP '* ]]
}

@test "RFC 5321 4.1.4: mail is not refused because the name does not fit the address" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO [203.0.113.7]
S: 250 ...
C: MAIL FROM:<>
S: 250 2.1.0 ...
C: RCPT TO:<bob@localhost>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: .
S: 250 2.0.0 ...
END
}

@test "RFC 6531 3.7.1: a name in 8-bit characters is no name" {
    # Before EHLO nobody can know that we take such: the A-label is to be sent.
    [ "$(codes $'EHLO b\xC3\xBCcher.example' $'HELO me \xC3\xBC' $'EHLO a\tb' $'HELO a\x7F' \
        'MAIL FROM:<>')" = $'500 5.5.2\n500 5.5.2\n500 5.5.2\n500 5.5.2\n503 5.5.1' ]
}

@test "RFC 5321 7.5: greeting and HELP name the software and its version" {
    printf 'HELP\r\n' >.asked
    talk <.asked >out
    grep -qE '^220 mail\.example\.com ESMTP smtpd [0-9]+\.[0-9]+ ' out
    grep -qE '^214-2\.0\.0 .*smtpd [0-9]+\.[0-9]+' out
}
