#!/usr/bin/env bats
# What walkthrough.md says of a server on the Internet: its units, its ways to the
# ports 25 and 465.

# Backticks are Markdown's here, and what is quoted is for another shell.
# shellcheck disable=SC2016
load helpers

TEXT=$ROOT/walkthrough.md

# The blocks of walkthrough.md that begin with ```LANGUAGE.
blocks() { # LANGUAGE
    awk -v start='```'"$1" '$0 == "```" { on = 0 } on { print } $0 == start { on = 1 }' "$TEXT"
}

# Write its units, with a program that is here.
units() {
    blocks ini | sed "s|/usr/local/bin/smtpd|$SMTPD|" |
        awk '/^# / { sub(".*/", ""); file = $0; next } { print > file }'
    [ -s smtpd.service ]
    [ -s smtpd.socket ]
    [ -s smtpd@.service ]
}

@test "walkthrough.md: systemd takes its units without a complaint" {
    need systemd-analyze
    units
    run -0 systemd-analyze verify ./smtpd.service ./smtpd.socket ./smtpd@.service
    [ -z "$output" ]
}

# What follows needs the ports 25 and 465. A script on standard input is run as
# root in a network of its own, where 192.0.2.25 is this host's other address.
# It has process numbers of its own too: so nothing can stay when it has ended.
in_own_network() {
    may_have_network
    unshare -n -p -f --kill-child bash -eo pipefail -c '
        bats_require_minimum_version() { :; }
        . "$ROOT/tests/helpers.bash"
        ip link set lo up
        ip addr add 192.0.2.25/32 dev lo
        answers() { PORT=$1 HOST=192.0.2.25 dialogue <<<"$hello"; }
        listens() { : <"/dev/tcp/$1/$2"; }
        . /dev/stdin' 3>&- 4>&-
}
may_have_network() {
    need unshare ip setpriv
    unshare -n -p -f true 2>/dev/null || skip 'only root can have a network of its own'
}
export hello='S: 220 mail.example.com ...
C: HELO me
S: 250 ...
C: QUIT
S: 221 ...'

# The command that begins so, with a user and a place that are here.
line() { # FIRST WORDS
    { blocks root && blocks ini | sed -n 's|^ExecStart=/usr/local/bin/||p'; } |
        grep "^$1" | sed "s/smtpd)/nobody)/g; s/u smtpd/u nobody/; s/su=smtpd/su=nobody/
        s|/var/lib/smtpd|mail|; s|/usr/local/bin/||; s|/etc/ssl/||"
}

@test "walkthrough.md: port 25 as root, with -u" {
    line=$(line 'smtpd -p') in_own_network <<'END'
eval "exec \"\$SMTPD\" ${line#smtpd}" 2>log &
wait_until listens 192.0.2.25 25
answers 25
[ "$(stat -c %U mail)" = nobody ]
END
}

@test "walkthrough.md: port 25 with a capability" {
    need setcap
    may_have_network
    # Where another user may come: not in the folder of a test.
    place=$(mktemp -d)
    chmod 755 "$place"
    cp "$SMTPD" "$place/smtpd"
    install -d -o nobody "$place/mail"
    capability=$(blocks root | grep ^setcap) line=$(line 'smtpd -p' | sed 's/-u nobody//')
    export place capability line
    run in_own_network <<'END'
cd "$place"
eval "${capability/\/usr\/local\/bin/.}"
eval "exec setpriv --reuid=nobody --regid=nogroup --clear-groups ./$line" 2>log &
wait_until listens 192.0.2.25 25
answers 25
END
    rm -r "$place"
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "walkthrough.md: port 25 from systemd's socket" {
    need systemd-socket-activate
    units
    mkdir mail
    port=$(sed -n 's/^ListenStream=//p' smtpd.socket)
    line=$(sed -n 's/^ExecStart=//p' smtpd@.service)
    export port line=${line/\/var\/lib\/smtpd/mail}
    in_own_network <<'END'
eval "exec systemd-socket-activate -l $port -a --inetd $line" 2>log &
wait_until listens 192.0.2.25 25
answers 25
grep 'client=\[192\.0\.2\.25\]' log
END
}

@test "walkthrough.md: port 25 from tcpserver" {
    need tcpserver
    install -d -o nobody mail
    chmod 755 "$BATS_TEST_TMPDIR"
    cp "$SMTPD" smtpd           # where nobody finds it, wherever it was built
    chmod 755 smtpd
    line=$(line tcpserver) in_own_network <<'END'
eval "exec ${line/ smtpd / ./smtpd }" 2>log &
wait_until listens 192.0.2.25 25
answers 25
grep 'client=\[192\.0\.2\.25\]' log
END
}

@test "walkthrough.md: port 25 by a redirect, of which nft approves" {
    need nft
    blocks nft >rules
    in_own_network <<<'nft -c -f rules'
}

@test "walkthrough.md: TLS from socat, and openssl s_client to talk to it" {
    need socat openssl
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 \
        -subj /CN=mail.example.com -keyout mail.pem -out cert 2>/dev/null
    cat cert >>mail.pem
    blocks bash >given
    [ "$(sed -n 2p given)" = '# /usr/local/bin/smtps-session' ]
    sed "s|/usr/local/bin/smtpd|$SMTPD|; s|/var/lib/smtpd|mail|" given >smtps-session
    chmod +x smtps-session
    mkdir mail
    line=$(line socat | sed 's/,su=nobody//')
    s_client=$(grep -o '`openssl s_client [^`]*`' "$TEXT" | tr -d '`')
    s_client=${s_client/mail.example.com/192.0.2.25}
    export line s_client PATH=$PATH:$PWD
    in_own_network <<'END'
eval "exec $line" 2>log &
tls() { dialogue --lf --to $s_client <<<"$hello"; }
wait_until tls
grep 'client=\[192\.0\.2\.25\]' log
END
}
