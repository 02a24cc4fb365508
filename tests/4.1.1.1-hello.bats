#!/usr/bin/env bats
# EHLO and HELO: who the client is, and what we offer.

# shellcheck disable=SC2034,SC2154
load helpers

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
    ask 'EHLO me'
    [ "${#said[@]}" -gt 2 ]
    # ehlo-line = ehlo-keyword *( SP ehlo-param )
    for line in "${said[@]:2}"; do
        [[ $line =~ ^250[\ -][A-Za-z0-9][A-Za-z0-9-]*(\ [!-~]+)*$ ]]
    done
    for line in "${said[@]:2:${#said[@]}-3}"; do [[ $line == 250-* ]]; done
    [[ $last == '250 '* ]]
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
    ask 'HELO me'
    lacks replies SIZE
}

@test "RFC 5321 2.4: the verb is the same in any case" {
    gets '250 250 2.1.0 250 250 2.1.0 250 250 2.1.0 250 250 2.1.0' 'ehlo me' 'MAIL FROM:<>' \
        'Ehlo me' 'MAIL FROM:<>' 'eHLO me' 'MAIL FROM:<>' 'helo me' 'MAIL FROM:<>'
}

@test "RFC 5321 4.1.1: white space after the argument is let pass" {
    gets '250 250 250 250 2.1.0' 'HELO me ' $'HELO me\t' $'HELO me \t  ' 'MAIL FROM:<>'
}

@test "RFC 5321 4.1.1.1: a domain names the client, any domain" {
    lines=() wanted=
    while IFS= read -r name; do
        lines+=("HELO $name" "EHLO $name" 'MAIL FROM:<>')
        wanted+=' 250 250 250 2.1.0'
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
    gets "${wanted# }" "${lines[@]}"
}

@test "RFC 5321 4.5.3.1.2: the domain may have 255 octets, and no more" {
    name=${xs:0:247}.example
    for verb in HELO EHLO; do
        # One dot at its end is not counted.
        for dot in '' .; do
            gets '501 5.5.4 503 5.5.1 250 250 2.1.0' "$verb x$name$dot" 'MAIL FROM:<>' \
                "$verb $name$dot" 'MAIL FROM:<>'
        done
        gets '501 5.5.4 250' "$verb $name.." "$verb $name. x"
    done
}

@test "RFC 5321 4.1.3: an address literal names a client that has no domain" {
    lines=() wanted=
    for literal in '[192.0.2.1]' '[IPv6:2001:db8::1]' '[ipv6:::1]' '[IPv6:::ffff:192.0.2.1]'; do
        lines+=("EHLO $literal" 'MAIL FROM:<>' "HELO $literal" 'MAIL FROM:<>')
        wanted+=' 250 250 2.1.0 250 250 2.1.0'
    done
    gets "${wanted# }" "${lines[@]}"
}

@test "RFC 5321 4.1.1.1: further text after a name or address literal is passed over" {
    lines=() wanted=
    for text in 'my host' '(client.example)' 'a:b' 'IPv6:x]' ' "<;>\"' .; do
        lines+=("HELO [192.0.2.1] $text" 'MAIL FROM:<>' "EHLO me $text")
        wanted+='250 250 2.1.0 250 '
    done
    gets "${wanted}250 250 2.1.0" "${lines[@]}" 'HELO [IPv6:2001:db8::1] my host' 'MAIL FROM:<>'
}

@test "RFC 5321 4.1.4: whatever real clients call themselves is taken, and noted as it is" {
    # Each line: what is said, and what is noted. A short name with its dot, one
    # with underscores, IPv6 as PHP and Java say it, curl -T's file, and more.
    names=() lines=()
    while IFS='|' read -r name noted; do
        verb=EHLO && [ $((${#names[@]} % 2)) -eq 0 ] || verb=HELO
        lines+=("$verb $name" 'MAIL FROM:<>' "RCPT TO:<u${#names[@]}@localhost>" DATA .)
        names+=("$noted")
    done <<END
box.|box
app_web_1|app_web_1
[::1]|[::1]
fe80::1|fe80::1
cabinet-.example.org|cabinet-.example.org
my letter.txt|my
${xs:0:255}|${xs:0:255}
${xs:0:255}.|${xs:0:255}
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
    space=' '
    rows=()
    while IFS= read -r argument; do
        rows+=("501 5.5.4|EHLO$argument" '503 5.5.1|MAIL FROM:<>')
        rows+=("501 5.5.4|HELO$argument" '503 5.5.1|MAIL FROM:<>')
    done <<END

$space
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
    rows
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
    look mail/bob/new/*
    [ "$path" = '<carol@b.example>' ]
    # The name and the protocol are still those of the EHLO that was taken.
    [[ $received == 'from me '*' with ESMTP '* ]]
}

@test "RFC 5321 4.1.4: a later EHLO or HELO clears the transaction" {
    for verb in EHLO HELO; do
        gets '250 250 2.1.0 250 2.1.5 250 503 5.5.1 503 5.5.1 250 2.1.0' 'HELO me' 'MAIL FROM:<>' \
            'RCPT TO:<bob@localhost>' "$verb you" DATA 'RCPT TO:<bob@localhost>' 'MAIL FROM:<>'
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
    look mail/bob/new/*
    [[ $received == 'from [IPv6:2001:db8::1] '*' with ESMTP '* ]]
    look mail/carol/new/*
    [[ $received == 'from Third.example '*' with SMTP '* ]]
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
    gets '500 5.5.2 500 5.5.2 500 5.5.2 500 5.5.2 503 5.5.1' $'EHLO b\xC3\xBCcher.example' \
        $'HELO me \xC3\xBC' $'EHLO a\tb' $'HELO a\x7F' 'MAIL FROM:<>'
}

@test "RFC 5321 7.5: greeting and HELP name the software and its version" {
    ask HELP
    [[ ${said[0]} =~ ^220\ mail\.example\.com\ ESMTP\ smtpd\ [0-9]+\.[0-9]+\  ]]
    [[ ${said[1]} =~ ^214-2\.0\.0\ .*smtpd\ [0-9]+\.[0-9]+ ]]
}
