#!/usr/bin/env bats
# Real clients: each sends one message, as a person would with it. It has an
# attachment of over 5 MB, headers in UTF-8 and lines that begin with dots, and
# must lie in the mailbox as it was sent, octet for octet. Real readers read it.

# shellcheck disable=SC2154
load helpers

# At a terminal: see terminal.py.
typed() { "$PYTHON" -I "$ROOT/tests/terminal.py" "$@"; }

setup_file() { "$PYTHON" -I "$ROOT/tests/letter.py" >"$BATS_FILE_TMPDIR/letter"; }

letter=${BATS_FILE_TMPDIR-}/letter

# The one message of this user must be the letter, after two fields of ours,
# the second of which says so much about the sender and the protocol.
arrived() { # USER FROM WITH
    local path received line lines=2 file=("mail/$1/new"/*)
    mails "$1" 1
    {
        IFS= read -r path && IFS= read -r received
        while IFS= read -r line && [[ $line == [$' \t']* ]]; do
            lines=$((lines + 1)) received+=" ${line#?}"
        done
    } <"${file[0]}"
    [ "$path" = "Return-Path: <$2>" ]
    [[ $received == "Received: from client.example ([127.0.0.1]) by "*" with $3 id "* ]]
    tail -n "+$((lines + 1))" "${file[0]}" | cmp - "$letter"
}

@test "curl: a large message with --crlf arrives as it was sent" {
    need curl
    serve
    curl -sS --crlf --mail-from zoe@example.org --mail-rcpt bob@localhost -T "$letter" \
        "smtp://127.0.0.1:$PORT/client.example"
    arrived bob zoe@example.org ESMTP
}

@test "RFC 5321 2.3.8: curl without --crlf is refused, and shown the cure" {
    need curl
    serve
    status=0
    printf 'Subject: x\n\ntext\n' | curl -v --mail-from zoe@example.org --mail-rcpt bob@localhost \
        -T - "smtp://127.0.0.1:$PORT/client.example" 2>err || status=$?
    [ "$status" -ne 0 ]
    holds err $'\n< 554 5.6.0 *curl --crlf'
    files mail 0
}

@test "curl: to an SMTPUTF8 address, from one, and to several recipients" {
    need curl
    serve
    LC_ALL=C.UTF-8 curl -sS --crlf --mail-from zoë@example.org --mail-rcpt jürgen@localhost \
        --mail-rcpt bob@localhost -T "$letter" "smtp://127.0.0.1:$PORT/client.example"
    arrived j%C3%BCrgen zoë@example.org UTF8SMTP
    files=(mail/j%C3%BCrgen/new/* mail/bob/new/*)
    [ "${files[0]}" -ef "${files[1]}" ]
}

@test "swaks: a large message arrives as it was sent" {
    need swaks
    serve
    # What does not end with the final dot gets an empty line from swaks.
    { cat "$letter" && echo .; } >data
    swaks --server "127.0.0.1:$PORT" --helo client.example --from zoe@example.org \
        --to bob@localhost --suppress-data --data @data >said 2>&1 || { cat said && false; }
    arrived bob zoe@example.org ESMTP
}

@test "msmtp: a large message arrives as it was sent" {
    need msmtp
    serve
    msmtp --file=/dev/null --host=127.0.0.1 --port="$PORT" --domain=client.example --tls=off \
        --auth=off --from=zoe@example.org -- bob@localhost <"$letter"
    arrived bob zoe@example.org ESMTP
}

@test "msmtp: shows a refusal, with our words for what to do" {
    need msmtp
    serve
    status=0
    msmtp --file=/dev/null --host=127.0.0.1 --port="$PORT" --domain=client.example --tls=off \
        --auth=off --from=zoe@example.org -- bob@elsewhere.example <"$letter" 2>err || status=$?
    [ "$status" -ne 0 ]
    grep -q '550 5\.7\.1 .*RFC 5321 3\.6\.2' err
}

@test "Python smtplib: a large message arrives as it was sent" {
    serve
    py "$PORT" "$letter" <<'END'
import smtplib, sys
letter = open(sys.argv[2], "rb").read()
with smtplib.SMTP("127.0.0.1", int(sys.argv[1]), "client.example") as s:
    # As for CRLF in octets, smtplib leaves that to us.
    letter = letter.replace(b"\n", b"\r\n")
    s.sendmail("zoe@example.org", ["bob@localhost"], letter)
    s.sendmail("zoë@example.org", ["jürgen@localhost"], letter,
               mail_options=["SMTPUTF8", "BODY=8BITMIME"])
END
    arrived bob zoe@example.org ESMTP
    arrived j%C3%BCrgen zoë@example.org UTF8SMTP
}

@test "Python smtplib: send_message, with refused recipients and a second try" {
    serve
    py "$PORT" <<'END'
import smtplib, sys
from email.message import EmailMessage
m = EmailMessage()
m["From"], m["To"], m["Subject"] = "zoë@example.org", "jürgen@localhost, eve@elsewhere.example", "Grüße"
m.set_content(".\n..\nZoë\n")
s = smtplib.SMTP("127.0.0.1", int(sys.argv[1]), "client.example")
assert list(s.send_message(m)) == ["eve@elsewhere.example"]
try:
    s.sendmail("zoe@example.org", ["eve@elsewhere.example"], "text")
    sys.exit("mail for elsewhere was taken")
except smtplib.SMTPRecipientsRefused:
    pass
assert s.verify("bob")[0] == 252 and s.help()
s.sendmail("", ["bob@localhost"], "Subject: x\n\n.\n")
s.quit()
END
    look mail/j%C3%BCrgen/new/*
    [ "$text" = $'.\n..\nZoë\n' ]
    look mail/bob/new/*
    [ "$text" = $'.\n' ]
}

@test "Python mailbox: reads what has come, and finds the attachment" {
    {
        printf '%s\r\n' 'EHLO client.example' 'MAIL FROM:<zoe@example.org>' 'RCPT TO:<bob@localhost>' DATA
        awk '{ sub(/^\./, ".."); printf "%s\r\n", $0 }' "$letter"
        printf '%s\r\n' . QUIT
    } >.asked
    talk <.asked >replies
    py <<'END'
import email, email.policy, mailbox
box = mailbox.Maildir("mail/bob", lambda f: email.message_from_binary_file(f, policy=email.policy.default))
[m] = list(box)
assert m["Return-Path"] == "<zoe@example.org>", m["Return-Path"]
assert m["Subject"] == "Grüße, 用户 und ein Anhang", m["Subject"]
assert len(m.get_all("Received")) == 1 and not m.defects, m.defects
text, data = m.iter_parts()
assert text.get_content().startswith(".\n..\n.one dot"), text.get_content()[:30]
assert len(data.get_content()) == 4000000
# As a reader does: it moves to cur, and its flag is written.
[key] = box.keys()
message = mailbox.Maildir("mail/bob")[key]
message.set_subdir("cur")
message.add_flag("S")
mailbox.Maildir("mail/bob")[key] = message
END
    mails bob 0
    files=(mail/bob/cur/*)
    [[ ${files[0]} == *:2,S ]]
}

@test "mutt: reads what has come" {
    need mutt
    printf '%s\r\n' 'HELO client.example' 'MAIL FROM:<zoe@example.org>' 'RCPT TO:<bob@localhost>' DATA \
        'From: Zoë <zoe@example.org>' 'Subject: Gruss aus mutt' '' '..' 'the text' . QUIT >.asked
    talk <.asked >replies
    echo 'set folder=mail move=no quit=yes mail_check=0 sleep_time=0 wait_key=no' >muttrc
    # It wants a terminal. It shows the message, hands it on and leaves.
    keys='push "<display-message><pipe-message>cat >piped<enter><exit><quit>"'
    TERM=vt100 HOME=$PWD LC_ALL=C.UTF-8 typed mutt -n -F muttrc -f mail/bob -e "$keys" \
        <<<'E: and ends' >screen
    grep -q 'Gruss aus mutt' screen
    holds piped $'\n.\nthe text\n'
    # It is read now.
    mails bob 0
    files=(mail/bob/cur/*)
    [[ ${files[0]} == *:2,*S* ]]
}
