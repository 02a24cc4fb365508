#!/usr/bin/env bats
# What is an address, and what is not: the grammar of RFC 5321 4.1.2 and 4.1.3,
# and RFC 6531's of addresses in UTF-8.

# shellcheck disable=SC2030,SC2031,SC2034,SC2154
load helpers

# Each of paths must be answered so.
all_get() { # CODES MAIL|RCPT [PARAMETERS OF MAIL]
    local LC_ALL=C options=(-d '*') before=('EHLO me') rows=()
    [ ${#paths[@]} -gt 0 ]
    case $2 in
    MAIL) rows=("${paths[@]/%/${3:+ $3}}") && rows=("${rows[@]/#/$1|MAIL FROM:}") ;;
    RCPT) rows=("${paths[@]/#/$1|RCPT TO:}") && before+=("MAIL FROM:<>${3:+ $3}") ;;
    esac
    rows
}

# They are lines of standard input; octets has octets written \xHH there.
plain() {
    local line
    paths=()
    while IFS= read -r line; do paths+=("$line"); done
}

octets() {
    local line
    paths=()
    while IFS= read -r line; do
        printf -v line %b "$line"
        paths+=("$line")
    done
}

# Paths for MAIL and for RCPT; -d '*' has it all served.
good() {
    plain
    all_get '250 2.1.0' MAIL
    all_get '250 2.1.5' RCPT
}

bad() {
    plain
    all_get '501 5.1.7' MAIL
    all_get '501 5.1.3' RCPT
}

@test "RFC 5321 4.1.2: Dot-string: atoms with dots between" {
    good <<'END'
<a@b.example>
<a.b@b.example>
<a.b.c.d.e.f@b.example>
<1@b.example>
<1.2.3@b.example>
<A.Z.a.z.0.9@b.example>
<!#$%&'*+-/=?^_`{|}~@b.example>
<!.#.$.%.&.'.*.+.-./.=.?.^._.`.{.|.}.~@b.example>
<-@b.example>
<-a-@b.example>
<_@b.example>
<a+b=c_d/e!f@b.example>
<owner-list=bob=c.example@b.example>
<a%elsewhere.example@b.example>
<elsewhere.example!a@b.example>
<%n%s%x@b.example>
<$HOME@b.example>
<`id`@b.example>
<${x}@b.example>
END
}

@test "RFC 5321 4.1.2: what is no Dot-string" {
    bad <<'END'
<@b.example>
<.@b.example>
<..@b.example>
<.a@b.example>
<a.@b.example>
<a..b@b.example>
<a b@b.example>
<a @b.example>
< a@b.example>
<a,b@b.example>
<a:b@b.example>
<a;b@b.example>
<a(b@b.example>
<a)b@b.example>
<(x)a@b.example>
<a(x)@b.example>
<a[b@b.example>
<a]b@b.example>
<a<b@b.example>
<a>b@b.example>
<a\b@b.example>
<a\@c@b.example>
<a\ b@b.example>
<a@c@b.example>
<a@@b.example>
<mailto:a@b.example>
<SMTP:a@b.example>
END
}

@test "RFC 5321 4.1.2: Quoted-string: any printable octet in it" {
    good <<'END'
<"a"@b.example>
<"a.b"@b.example>
<"a b"@b.example>
<" "@b.example>
<" a "@b.example>
<"."@b.example>
<".."@b.example>
<".a"@b.example>
<"a.."@b.example>
<"a@c"@b.example>
<"a>b"@b.example>
<"a<b"@b.example>
<"<>"@b.example>
<">"@b.example>
<"a> SIZE=1"@b.example>
<"a,b"@b.example>
<"a:b"@b.example>
<"@a.example:b"@b.example>
<"(a)"@b.example>
<" !#$%&'()*+,-./0129:;<=>?@AZ[]^_`az{|}~"@b.example>
<"/etc/passwd"@b.example>
<"../../x"@b.example>
END
}

@test "RFC 5321 4.1.2: Quoted-string: a backslash takes the next octet literally" {
    good <<'END'
<"\""@b.example>
<"\\"@b.example>
<"\a"@b.example>
<"\ "@b.example>
<"\>"@b.example>
<"\@"@b.example>
<"Joe\,Smith"@b.example>
<"\\\\\\"@b.example>
<"\\\""@b.example>
<"a\"b\"c"@b.example>
<"\~\!\0"@b.example>
END
}

@test "RFC 5321 4.1.2: what is no Quoted-string" {
    bad <<'END'
<"@b.example>
<"a@b.example>
<a"@b.example>
<a"b@b.example>
<a"b"@b.example>
<"a"b@b.example>
<"a"."b"@b.example>
<a."b"@b.example>
<"a".b@b.example>
<"a""b"@b.example>
<"a" @b.example>
< "a"@b.example>
<"a"b"@b.example>
<"a\"@b.example>
<"a\\"b"@b.example>
<"\"@b.example>
<"a\
<"
<"a"
<"a">
<"a"@>
<""""@b.example>
<'a b'@b.example>
END
}

@test "RFC 5321 4.1.2: an empty Quoted-string is a reverse-path, but no mailbox here" {
    paths=('<""@b.example>')
    all_get '250 2.1.0' MAIL
    options=(-d '*')
    ask 'EHLO me' 'MAIL FROM:<>' 'RCPT TO:<""@b.example>'
    [[ $code == 5* ]]
}

@test "RFC 5321 4.1.2: Domain: letters, digits and hyphens inside, and dots between" {
    good <<'END'
<a@b>
<a@localhost>
<a@b.c>
<a@b.c.d.e.f.g.h>
<a@B.EXAMPLE>
<a@1>
<a@3com.example>
<a@192.0.2.1>
<a@b-c.example>
<a@b--c.example>
<a@b-1.example>
<a@xn--bcher-kva.example>
<a@b.xn--p1ai>
END
}

@test "RFC 5321 4.1.2: an underscore in a domain is met in real names, and let pass" {
    good <<'END'
<a@my_host.example>
<a@_b.example>
<a@b_.example>
<a@_>
END
}

@test "RFC 5321 4.1.2: what is no Domain" {
    bad <<'END'
<a>
<a@>
<@>
<a@.>
<a@.b>
<a@b.>
<a@b..c>
<a@-b>
<a@b->
<a@->
<a@b-.c>
<a@b.-c>
<a@b c>
<a@ b>
<a@b >
<a@b!c>
<a@b#c>
<a@b$c>
<a@b%c>
<a@b&c>
<a@b'c>
<a@b*c>
<a@*>
<a@*.example>
<a@b+c>
<a@b,c>
<a@b/c>
<a@b:25>
<a@b;c>
<a@b=c>
<a@b?c>
<a@b\c>
<a@b^c>
<a@b`c>
<a@b{c>
<a@b|c>
<a@b}c>
<a@b~c>
<a@(b)>
<a@b(c)>
<a@"b">
<a@"b c">
<a@<b>
<a@#1234>
END
}

@test "RFC 5321 appendix C: a source route: domains with @, commas between, a colon" {
    good <<'END'
<@a:b@c>
<@a.example:b@c.example>
<@a.example,@b.example:c@d.example>
<@a,@b,@c,@d,@e,@f:g@h>
<@1.2,@3:b@c>
<@a:"b c"@d>
<@a:"@b:c"@d>
END
}

@test "RFC 5321 4.1.2: what is no source route" {
    bad <<'END'
<@a>
<@a:>
<@a:b>
<@a:@b>
<@:b@c>
<@,@a:b@c>
<@a,:b@c>
<@a,@:b@c>
<@a,b:c@d>
<a,@b:c@d>
<,@a:b@c>
<@a@b:c@d>
<@a:@b:c@d>
<@a:b:c@d>
<@a b@c>
<@a b:c@d>
<@a :b@c>
<@a: b@c>
<@a, @b:c@d>
<@a..b:c@d>
<@-a:b@c>
<x@a:b@c>
<@[192.0.2.1]:b@c>
<@a;b@c>
<@a:<b@c>>
END
}

@test "RFC 5321 4.1.3: IPv4-address-literal: four numbers up to 255" {
    good <<'END'
<a@[192.0.2.1]>
<a@[0.0.0.0]>
<a@[255.255.255.255]>
<a@[192.000.002.001]>
<a@[00.0.000.0]>
<"a b"@[192.0.2.1]>
<@b.example:a@[192.0.2.1]>
END
}

@test "RFC 5321 4.1.3: what is no IPv4-address-literal" {
    bad <<'END'
<a@[]>
<a@[ ]>
<a@[1]>
<a@[1.2.3]>
<a@[1.2.3.4.5]>
<a@[1.2.3.]>
<a@[.1.2.3]>
<a@[1..2.3]>
<a@[1.2.3.4.]>
<a@[256.2.3.4]>
<a@[1.256.3.4]>
<a@[1.2.3.256]>
<a@[1.2.3.999]>
<a@[1.2.3.0004]>
<a@[1.2.3.1234]>
<a@[-1.2.3.4]>
<a@[+1.2.3.4]>
<a@[1.2.3.x]>
<a@[0x7f.0.0.1]>
<a@[2130706433]>
<a@[1.2.3.4/8]>
<a@[ 1.2.3.4]>
<a@[1.2.3.4 ]>
<a@[1,2,3,4]>
<a@[1.2.3.4>
<a@1.2.3.4]>
<a@[[1.2.3.4]]>
<a@[1.2.3.4]]>
<a@[1.2.3.4]b>
<a@b[1.2.3.4]>
<a@[1.2.3.4].example>
<a@[example.com]>
<a@[IPv4:1.2.3.4]>
<[1.2.3.4]@b.example>
<[1.2.3.4]>
END
}

@test "RFC 5321 4.1.3: IPv6-address-literal: in full, or with ::, or with an IPv4 address" {
    good <<'END'
<a@[IPv6:1:2:3:4:5:6:7:8]>
<a@[IPv6:0:0:0:0:0:0:0:0]>
<a@[IPv6:0001:0020:0300:4000:ABCD:abcd:EF09:ef90]>
<a@[ipv6:1:2:3:4:5:6:7:8]>
<a@[IPV6:1:2:3:4:5:6:7:8]>
<a@[IPv6:::]>
<a@[IPv6:::1]>
<a@[IPv6:1::]>
<a@[IPv6:1::2]>
<a@[IPv6:2001:db8::1]>
<a@[IPv6:1:2:3:4:5:6::]>
<a@[IPv6:1:2:3:4:5::6]>
<a@[IPv6:1::2:3:4:5:6]>
<a@[IPv6:::1:2:3:4:5:6]>
<a@[IPv6:1:2:3:4:5:6:192.0.2.1]>
<a@[IPv6:::192.0.2.1]>
<a@[IPv6:::ffff:192.0.2.1]>
<a@[IPv6:1::192.0.2.1]>
<a@[IPv6:64:ff9b::192.0.2.33]>
<a@[IPv6:1:2:3:4::192.0.2.1]>
<a@[IPv6:1:2::3:4:192.0.2.1]>
<a@[IPv6:::1:2:3:4:192.0.2.1]>
<a@[IPv6:::12:255.255.255.255]>
END
}

@test "RFC 5321 4.1.3: what is no IPv6-address-literal" {
    bad <<'END'
<a@[IPv6:]>
<a@[IPv6::]>
<a@[IPv6]>
<a@[IPv6:1]>
<a@[IPv6:1:2:3:4:5:6:7]>
<a@[IPv6:1:2:3:4:5:6:7:8:9]>
<a@[IPv6:ABCD:ABCD:ABCD:ABCD:ABCD:ABCD:192.168.158.1900]>
<a@[IPv6:1:2:3:4:5:6:7:]>
<a@[IPv6:1:2:3:4:5:6:7:8:]>
<a@[IPv6::1:2:3:4:5:6:7:8]>
<a@[IPv6::1:2:3:4:5:6:7]>
<a@[IPv6::1]>
<a@[IPv6:1:]>
<a@[IPv6:12345::1]>
<a@[IPv6:00001::1]>
<a@[IPv6:g::1]>
<a@[IPv6:1::x]>
<a@[IPv6:fe80::1%eth0]>
<a@[IPv6:fe80::1/64]>
<a@[IPv6: ::1]>
<a@[IPv6:::1 ]>
<a@[IPv6 ::1]>
<a@[IPv6-::1]>
<a@[IPv5:::1]>
<a@[IPv6:::1>
<a@IPv6:::1>
<a@IPv6:::1]>
<a@[IPv6:::1]]>
<a@[IPv6:[::1]]>
<a@[IPv6:localhost]>
END
}

@test "RFC 5321 4.1.3: :: may stand for one group, as the C library has it" {
    good <<'END'
<a@[IPv6:1:2:3:4:5:6:7::]>
<a@[IPv6:::1:2:3:4:5:6:7]>
<a@[IPv6:1:2:3:4::5:6:7]>
<a@[IPv6:1::3:4:5:6:7:8]>
<a@[IPv6:1:2:3:4:5::192.0.2.1]>
<a@[IPv6:::1:2:3:4:5:192.0.2.1]>
<a@[IPv6:1:2:3::4:5:192.0.2.1]>
END
}

@test "RFC 5321 4.1.3: :: stands for one group at least, and stands once" {
    bad <<'END'
<a@[IPv6:1::2::3]>
<a@[IPv6:::1::]>
<a@[IPv6:1:::2]>
<a@[IPv6::::]>
<a@[IPv6:::::]>
<a@[IPv6::::1]>
<a@[IPv6:1:::]>
<a@[IPv6:1:2:3:4:5:6:7::8]>
<a@[IPv6:1:2:3:4::5:6:7:8]>
<a@[IPv6:::1:2:3:4:5:6:7:8]>
END
}

@test "RFC 5321 4.1.3: an IPv4 address within IPv6 stands for the last two groups" {
    bad <<'END'
<a@[IPv6:192.0.2.1]>
<a@[IPv6:1:192.0.2.1]>
<a@[IPv6:1:2:3:4:5:192.0.2.1]>
<a@[IPv6:1:2:3:4:5:6:7:192.0.2.1]>
<a@[IPv6:1:2:3:4:5:6::192.0.2.1]>
<a@[IPv6:::1:2:3:4:5:6:192.0.2.1]>
<a@[IPv6:1:2:3::4:5:6:192.0.2.1]>
<a@[IPv6:::192.0.2]>
<a@[IPv6:::192.0.2.1.5]>
<a@[IPv6:::192.0.2.256]>
<a@[IPv6:::192.0.2.1:1]>
<a@[IPv6:::192.0.2.1::]>
<a@[IPv6:192.0.2.1::]>
<a@[IPv6:192.0.2.1:1:2:3:4:5:6]>
<a@[IPv6:::ffff192.0.2.1]>
<a@[IPv6:::c0.0.2.1]>
END
}

@test "RFC 5321 4.1.3: no other tag is registered, so no other literal is taken" {
    bad <<'END'
<a@[2001:db8::1]>
<a@[::1]>
<a@[fe80::1]>
<a@[x-tag:some.thing]>
<a@[tag:]>
<a@[:x]>
<a@[-:x]>
<a@[a[b]>
<a@[tag:a\b]>
END
}

@test "RFC 5321 4.1.2: a control octet has no place in an address, quoted or not" {
    # RFC 5321 2.4: nor in any command.
    local octet lines=()
    for octet in '\x00' '\x01' '\x08' '\x09' '\x0D' '\x1B' '\x1F' '\x7F'; do
        lines+=("<a$octet@b.example>" "<a@b$octet.example>" "<\"a$octet\"@b.example>" \
            "<\"a\\\\$octet\"@b.example>" "<$octet>")
    done
    # Twenty would be one too many.
    for part in 0 14 28; do
        { printf 'EHLO me\r\n' && printf 'MAIL FROM:%b SMTPUTF8\r\n' "${lines[@]:part:14}"; } >commands
        tell commands
        wanted=("${lines[@]:part:14}")
        [ "${codes[*]}" = "250 ${wanted[*]/*/500 5.5.2}" ]
    done
    [ ${#lines[@]} -eq 40 ]
}

@test "RFC 6531 3.3: UTF-8 is taken with SMTPUTF8, wherever an address has letters" {
    octets <<'END'
<\xC3\xA9@b.example>
<a.\xC3\xA9@b.example>
<\xC3\xA9.\xE4\xBD\xA0@b.example>
<J\xC3\xBCrgen+x@b.example>
<"\xC3\xA9"@b.example>
<"\xC3\xA9 \xF0\x9F\x98\x80"@b.example>
<a@b\xC3\xBC.example>
<a@\xC3\xBC>
<a@\xE4\xBE\x8B\xE3\x81\x88.\xE3\x83\x86\xE3\x82\xB9\xE3\x83\x88>
<\xE7\x94\xB2@\xE4\xB9\x99.example>
<@b\xC3\xBC.example:a@c.example>
END
    all_get '250 2.1.0' MAIL SMTPUTF8
    all_get '250 2.1.5' RCPT SMTPUTF8
}

@test "RFC 6531 3.4: without SMTPUTF8 an address in UTF-8 gets 553 5.6.7" {
    octets <<'END'
<\xC3\xA9@b.example>
<"\xC3\xA9"@b.example>
<a@b\xC3\xBC.example>
<@b\xC3\xBC.example:a@c.example>
END
    all_get '553 5.6.7' MAIL
    all_get '553 5.6.7' MAIL SIZE=5
    all_get '553 5.6.7' RCPT
}

@test "RFC 6531 3.3: the rest of the grammar is as it was" {
    octets <<'END'
<\xC3\xA9>
<\xC3\xA9@>
<@\xC3\xA9>
<.\xC3\xA9@b.example>
<\xC3\xA9..a@b.example>
<\xC3\xA9 a@b.example>
<\xC3\xA9"@b.example>
<"\xC3\xA9@b.example>
<a@b\xC3\xBC..example>
<a@-\xC3\xBC>
<a@\xC3\xBC->
<a@[\xC3\xBC]>
<a@[IPv6:\xC3\xBC::]>
<a@[\xC3\xBC:x]>
END
    # Only ASCII can be quoted by a backslash.
    paths+=($'<"\\\xC3\xA9"@b.example>')
    all_get '501 5.1.7' MAIL SMTPUTF8
    all_get '501 5.1.3' RCPT SMTPUTF8
}

# Paths with this, written \xHH, in each place where letters can be.
everywhere() {
    local sequence
    paths=()
    while IFS= read -r sequence; do
        printf -v sequence %b "$sequence"
        paths+=("<$sequence@b.example>" "<x$sequence.y@b.example>" "<a@b$sequence.example>" \
            "<\"$sequence\"@b.example>")
    done
}

@test "RFC 3629 4: well-formed UTF-8, from the first of each length to the last" {
    everywhere <<'END'
\xC2\x80
\xDF\xBF
\xE0\xA0\x80
\xEC\xBF\xBF
\xED\x80\x80
\xED\x9F\xBF
\xEE\x80\x80
\xEF\xBF\xBF
\xF0\x90\x80\x80
\xF0\xBF\xBF\xBF
\xF1\x80\x80\x80
\xF3\xBF\xBF\xBF
\xF4\x80\x80\x80
\xF4\x8F\xBF\xBF
END
    all_get '250 2.1.0' MAIL SMTPUTF8
    all_get '250 2.1.5' RCPT SMTPUTF8
}

# Not UTF-8, in each place: refused for that, with SMTPUTF8 and without.
not_utf8() {
    everywhere
    all_get '553 5.6.7' MAIL SMTPUTF8
    all_get '553 5.6.7' RCPT SMTPUTF8
    all_get '553 5.6.7' MAIL
    all_get '553 5.6.7' RCPT
}

@test "RFC 3629 4: octets that never start a character, or are missing, or too many" {
    not_utf8 <<'END'
\x80
\xBF
\xC3
\xC3\xC3\xA9
\xC3\xA9\xA9
\xE2\x82
\xE2
\xE2\x82\xC3
\xE2\xC3\xA9
\xF0\x9F\x98
\xF0\x9F
\xF0
\xF0\x9F\x98\x80\x80
\xFE
\xFF
\xE9
END
}

@test "RFC 6531 3.3: the refusal tells what is not UTF-8 from what lacks SMTPUTF8" {
    ask 'EHLO me' $'MAIL FROM:<\xC3@b.example> SMTPUTF8' $'MAIL FROM:<\xC3\xA9@b.example>' \
        'MAIL FROM:<> SMTPUTF8' $'RCPT TO:<a@\xA9>' RSET 'MAIL FROM:<>' $'RCPT TO:<\xC3\xA9@b.example>'
    count 4 '553 5.6.7'
    holds replies $'\n553 5.6.7 Not UTF-8*\n553 5.6.7 *SMTPUTF8*\n553 5.6.7 Not UTF-8*\n553 5.6.7 *SMTPUTF8'
}

@test "RFC 3629 3: overlong forms are no UTF-8" {
    # Of /, of the first characters of each length, and of the last before it.
    not_utf8 <<'END'
\xC0\xAF
\xC0\x80
\xC1\xBF
\xE0\x80\xAF
\xE0\x80\x80
\xE0\x9F\xBF
\xF0\x80\x80\xAF
\xF0\x80\x80\x80
\xF0\x8F\xBF\xBF
\xF8\x80\x80\x80\xAF
\xFC\x80\x80\x80\x80\xAF
END
}

@test "RFC 3629 3: surrogates are no characters, and none is above U+10FFFF" {
    not_utf8 <<'END'
\xED\xA0\x80
\xED\xAF\xBF
\xED\xB0\x80
\xED\xBF\xBF
\xED\xA0\xBD\xED\xB8\x80
\xF4\x90\x80\x80
\xF4\xBF\xBF\xBF
\xF5\x80\x80\x80
\xF7\xBF\xBF\xBF
\xF8\x88\x80\x80\x80
\xFC\x84\x80\x80\x80\x80
END
}

@test "RFC 5321 4.1.2: what is no mailbox makes no directory either" {
    ask 'HELO me' 'MAIL FROM:<>' 'RCPT TO:<a b@localhost>' 'RCPT TO:<.@localhost>' \
        'RCPT TO:<../x@localhost>' DATA
    [ "$code" = '503 5.5.1' ]
    mailboxes
}

@test "RFC 5321 2.4: BODY=8BITMIME lets no 8-bit octet into an address" {
    serve
    dialogue <<'END'
S: 220 ...
C: EHLO me
S*: 250 ...
X: MAIL FROM:<\xE9@b.example> BODY=8BITMIME\r\n
S: 553 5.6.7 ...
C: MAIL FROM:<a@b.example> BODY=8BITMIME
S: 250 2.1.0 ...
X: RCPT TO:<\xE9@localhost>\r\n
S: 553 5.6.7 ...
C: DATA
S: 503 5.5.1 ...
END
}
