#!/usr/bin/env bats
# -a: programs that are set up with a name and a password, and send nothing
# where they can't log in. Each sends a message in each way that it knows, and
# none of them may have its password shown.

# shellcheck disable=SC2030,SC2031,SC2154
load helpers

# From now on a message has come for each time, after AUTH, and nothing that -v
# shows has the password in it, "hunter2", plain or in base64, alone or after
# the name "alice".
logged_in() { # TIMES
    local file
    mails bob "$1"
    for file in mail/bob/new/*; do
        look "$file"
        [[ $'\n'$rest == *$'\nSubject: hello\n'* ]]
        [[ $received == *" with ESMTPA id "* ]]
    done
    [ "$(grep -c ' S: 235 2\.7\.0 ' log)" -eq "$1" ]
    holds log $' C: (not shown)\n'
    lacks log hunter2
    lacks log aHVudGVyMg
    lacks log AGh1bnRlcjI
}

# Runs this; what it says is shown where it fails.
quietly() { bounded "$@" >said 2>&1 || { cat said && return 1; }; }

# nodemailer is where npm has put it (npm install --prefix DIR nodemailer, and
# NODE_PATH=DIR/node_modules), or where Debian has (node-nodemailer).
need_nodemailer() {
    need node
    local folders folder
    export NODE_PATH=${NODE_PATH:+$NODE_PATH:}/usr/share/nodejs
    IFS=: read -r -a folders <<<"$NODE_PATH"
    for folder in "${folders[@]}"; do
        if [ -e "$folder/nodemailer" ]; then return; fi
    done
    skip "nodemailer is not installed"
}

@test "nodemailer: logs in and sends, with PLAIN and with LOGIN" {
    need_nodemailer
    serve -a -v
    quietly node - "$PORT" <<'END'
const nodemailer = require('nodemailer')
for (const authMethod of [undefined, 'PLAIN', 'LOGIN'])
  nodemailer.createTransport({
    host: '127.0.0.1', port: process.argv[2], authMethod, auth: { user: 'alice', pass: 'hunter2' }
  }).sendMail({ from: 'a@example.org', to: 'bob@localhost', subject: 'hello', text: 'text' })
END
    logged_in 3
}

@test "nodemailer: verify() succeeds, and a pool sends many after one AUTH" {
    need_nodemailer
    serve -a -v
    quietly node - "$PORT" <<'END'
const pool = require('nodemailer').createTransport({
  host: '127.0.0.1', port: process.argv[2], pool: true, maxConnections: 1,
  auth: { user: 'alice', pass: 'hunter2' }
})
const letter = { from: 'a@example.org', to: 'bob@localhost', subject: 'hello', text: 'text' }
pool.verify().then(() => Promise.all([1, 2, 3].map(() => pool.sendMail(letter))))
  .then(() => pool.close())
END
    mails bob 3
    [ "$(grep -c ' S: 235 2\.7\.0 ' log)" -eq 2 ]
    for file in mail/bob/new/*; do
        look "$file"
        [[ $received == *' with ESMTPA id '* ]]
    done
}

@test "Python smtplib: logs in and sends, with PLAIN and LOGIN, at once and when asked" {
    serve -a -v
    py "$PORT" <<'END'
import smtplib, sys
for method in "PLAIN", "LOGIN":
    for at_once in True, False:
        with smtplib.SMTP("127.0.0.1", int(sys.argv[1])) as s:
            s.ehlo()
            s.user, s.password = "alice", "hunter2"
            s.auth(method, getattr(s, "auth_" + method.lower()), initial_response_ok=at_once)
            s.sendmail("a@example.org", ["bob@localhost"], "Subject: hello\r\n\r\ntext\r\n")
with smtplib.SMTP("127.0.0.1", int(sys.argv[1])) as s:
    s.login("alice", "hunter2")
    s.sendmail("a@example.org", ["bob@localhost"], "Subject: hello\r\n\r\ntext\r\n")
END
    logged_in 5
}

@test "swaks: logs in and sends, with PLAIN and with LOGIN" {
    need swaks
    serve -a -v
    for method in PLAIN LOGIN; do
        quietly swaks --server "127.0.0.1:$PORT" --auth "$method" --auth-user alice \
            --auth-password hunter2 --from a@example.org --to bob@localhost --h-Subject hello
    done
    logged_in 2
}

@test "curl: logs in and sends, with PLAIN and LOGIN, at once and when asked" {
    need curl
    serve -a -v
    printf 'Subject: hello\r\n\r\ntext\r\n' >letter
    for how in AUTH=PLAIN AUTH=LOGIN 'AUTH=PLAIN --sasl-ir' 'AUTH=LOGIN --sasl-ir'; do
        # shellcheck disable=SC2086
        quietly curl -sS --user alice:hunter2 --login-options $how --mail-from a@example.org \
            --mail-rcpt bob@localhost -T letter "smtp://127.0.0.1:$PORT"
    done
    logged_in 4
}

@test "msmtp: logs in and sends, with PLAIN and with LOGIN" {
    need msmtp
    serve -a -v
    for method in plain login; do
        quietly msmtp --file=/dev/null --host=127.0.0.1 --port="$PORT" --tls=off \
            --auth=$method --user=alice --passwordeval='echo hunter2' --from=a@example.org \
            -- bob@localhost <<<$'Subject: hello\n\ntext'
    done
    logged_in 2
}

@test "Perl's Net::SMTP: logs in and sends" {
    need perl
    perl -MNet::SMTP -MAuthen::SASL -e 1 2>/dev/null || skip "Authen::SASL is not installed"
    serve -a -v
    quietly perl -MNet::SMTP - "$PORT" <<'END'
my $s = Net::SMTP->new("127.0.0.1", Port => $ARGV[0]) or die "no connection";
$s->auth("alice", "hunter2") && $s->mail("a\@example.org") && $s->to("bob\@localhost") &&
    $s->data("Subject: hello\n\ntext\n") && $s->quit or die $s->message;
END
    logged_in 1
}

@test "PHPMailer: logs in and sends, with PLAIN and with LOGIN" {
    need php
    serve -a -v
    status=0
    quietly php -- "$PORT" <<'END' || status=$?
<?php
(@include "libphp-phpmailer/autoload.php") or exit("PHPMailer is not installed");
foreach (["", "PLAIN", "LOGIN"] as $method) {
    $m = new PHPMailer\PHPMailer\PHPMailer(true);
    $m->isSMTP();
    [$m->Host, $m->Port, $m->SMTPAuth, $m->AuthType] = ["127.0.0.1", $argv[1], true, $method];
    [$m->Username, $m->Password] = ["alice", "hunter2"];
    $m->setFrom("a@example.org");
    $m->addAddress("bob@example.com");
    [$m->Subject, $m->Body] = ["hello", "text"];
    $m->send();
}
END
    if holds said 'PHPMailer is not installed'; then skip "PHPMailer is not installed"; fi
    [ "$status" -eq 0 ]
    logged_in 3
}

@test "Ruby's Net::SMTP: logs in and sends, with PLAIN and with LOGIN" {
    need ruby
    ruby -rnet/smtp -e 1 2>/dev/null || skip "ruby's net/smtp is not installed"
    serve -a -v
    quietly ruby -rnet/smtp - "$PORT" <<'END'
[:plain, :login].each do |method|
  Net::SMTP.start("127.0.0.1", ARGV[0], "localhost", "alice", "hunter2", method) do |smtp|
    smtp.send_message "Subject: hello\r\n\r\ntext\r\n", "a@example.org", "bob@localhost"
  end
end
END
    logged_in 2
}

@test "s-nail: logs in and sends, with PLAIN and with LOGIN" {
    need s-nail
    serve -a -v
    for method in plain login; do
        quietly s-nail -n -S v15-compat -S "mta=smtp://alice:hunter2@127.0.0.1:$PORT" \
            -S smtp-auth=$method -S from=a@example.org -S hostname=client.example \
            -S sendwait -s hello bob@localhost <<<text
    done
    logged_in 2
}

@test "mutt: logs in and sends" {
    need mutt
    serve -a -v
    quietly mutt -n -F /dev/null -e "set smtp_url=smtp://alice:hunter2@127.0.0.1:$PORT" \
        -e 'set from=a@example.org hostname=client.example copy=no ssl_force_tls=no' \
        -e 'set smtp_authenticators=plain' -s hello bob@localhost <<<text
    logged_in 1
}

# STARTTLS, by stunnel before smtpd -i, on a port that the kernel chooses.
serve_tls() { # [ADDRESS]
    need stunnel openssl
    local key=$BATS_FILE_TMPDIR/mail.key certificate=$BATS_FILE_TMPDIR/mail.crt line
    [ -e "$certificate" ] ||
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 \
            -subj /CN=localhost -keyout "$key" -out "$certificate" 2>openssl.log
    cat >smtpd.sh <<END
#!/bin/sh
TCPREMOTEIP=\$REMOTE_HOST exec '$SMTPD' -i -a -v -m mail -n mail.example.com
END
    chmod +x smtpd.sh
    cat >stunnel.conf <<END
foreground = yes
pid =
debug = info
[submission]
protocol = smtp
accept = ${1-127.0.0.1}:0
cert = $certificate
key = $key
exec = ./smtpd.sh
END
    stunnel stunnel.conf </dev/null >log 2>&1 3>&- 4>&- &
    # shellcheck disable=SC2034
    SERVERS=" $!"
    wait_until holds log ' bound to *:[1-9]'
    while IFS= read -r line; do
        case $line in *' bound to '*:[1-9]*) export PORT=${line##*:} ;; esac
    done <log
}

# The message came by TLS: smtpd -i saw no STARTTLS, but whose connection it was.
came_from() { # LITERAL
    wait_until holds log ' end client='
    logged_in 1
    lacks log ' C: STARTTLS'
    look mail/bob/new/*
    [[ $received == *" ($1) by mail.example.com with ESMTPA "* ]]
}

@test "stunnel: swaks --tls sends by it, and Received: has the client's own address" {
    need swaks
    serve_tls
    quietly swaks --server "127.0.0.1:$PORT" --local-interface 127.0.0.2 --tls --auth PLAIN \
        --auth-user alice --auth-password hunter2 --from a@example.org --to bob@localhost \
        --h-Subject hello
    came_from '[127.0.0.2]'
}

# nodemailer which insists on STARTTLS, from this address to that one.
insist() { # TO FROM
    quietly node - "$PORT" "$@" <<'END'
const [port, host, localAddress] = process.argv.slice(2)
require('nodemailer').createTransport({
  host, port, localAddress, requireTLS: true,
  tls: { rejectUnauthorized: false }, auth: { user: 'alice', pass: 'hunter2' }
}).sendMail({ from: 'a@example.org', to: 'bob@localhost', subject: 'hello', text: 'text' })
END
}

@test "stunnel: nodemailer with requireTLS sends by it, and Received: has its address" {
    need_nodemailer
    serve_tls
    insist 127.0.0.1 127.0.0.2
    came_from '[127.0.0.2]'
}

@test "stunnel: over IPv6 too Received: has the client's own address" {
    need_nodemailer
    py 2>/dev/null <<<'import socket; socket.socket(socket.AF_INET6).bind(("::1", 0))' ||
        skip "no IPv6 here"
    serve_tls ::1
    insist ::1
    came_from '[IPv6:::1]'
}

@test "stunnel: it demands STARTTLS, so mail without does not get in" {
    need swaks
    serve_tls
    run ! bounded swaks --server "127.0.0.1:$PORT" --from a@example.org --to bob@localhost
    [[ $output == *'220 mail.example.com stunnel for ESMTP '* ]]
    mails bob 0
    lacks log ' C: MAIL'
}
