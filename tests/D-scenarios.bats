#!/usr/bin/env bats
# The conversations of RFC 5321 appendix D, as the server's side of them is
# here: its words differ, and every reply has an enhanced code.

# shellcheck disable=SC2154
load helpers

# The server is foo.com; Jones, Brown and Crispin have mailboxes there.
foo_com() {
    mkdir -p mail/jones mail/brown mail/admin.mrc
    serve -n foo.com -d foo.com -s
}

@test "RFC 5321 appendix D.1: a typical transaction, one recipient of three unknown" {
    foo_com
    dialogue <<'END'
S: 220 foo.com ESMTP...
C: EHLO bar.com
S*: 250-foo.com ...
C: MAIL FROM:<Smith@bar.com>
S: 250 2.1.0 ...
C: RCPT TO:<Jones@foo.com>
S: 250 2.1.5 ...
C: RCPT TO:<Green@foo.com>
S: 550 5.1.1 ...
C: RCPT TO:<Brown@foo.com>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: Blah blah blah...
C: ...etc. etc. etc.
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
    mails jones 1 brown 1
    [ ! -e mail/green ]
    # The third line is what was said, less the dot that RFC 5321 4.5.2 undoes.
    look mail/brown/new/*
    [ "$rest" = $'Blah blah blah...\n..etc. etc. etc.\n' ]
    cmp mail/jones/new/* mail/brown/new/*
}

@test "RFC 5321 appendix D.2: an aborted transaction leaves nothing" {
    foo_com
    dialogue <<'END'
S: 220 foo.com ESMTP...
C: HELO bar.com
S: 250 foo.com ...
C: MAIL FROM:<Smith@bar.com>
S: 250 2.1.0 ...
C: RCPT TO:<Jones@foo.com>
S: 250 2.1.5 ...
C: RCPT TO:<Green@foo.com>
S: 550 5.1.1 ...
C: RSET
S: 250 2.0.0 ...
C: DATA
S: 503 5.5.1 ...
C: QUIT
S: 221 2.0.0 ...
END
    files mail 0
}

@test "RFC 5321 appendix D.3: mail for somebody elsewhere is not relayed" {
    foo_com
    dialogue <<'END'
S: 220 foo.com ESMTP...
C: HELO bar.com
S: 250 foo.com ...
C: MAIL FROM:<JQP@bar.com>
S: 250 2.1.0 ...
C: RCPT TO:<Jones@XYZ.COM>
S: 550 5.7.1 ...
C: DATA
S: 503 5.5.1 ...
C: QUIT
S: 221 2.0.0 ...
END
    files mail 0
}

@test "RFC 5321 appendix D.3: relayed mail arrives with the relay's trace" {
    serve -n xyz.com
    dialogue <<'END'
S: 220 xyz.com ESMTP...
C: HELO foo.com
S: 250 xyz.com ...
C: MAIL FROM:<JQP@bar.com>
S: 250 2.1.0 ...
C: RCPT TO:<Jones@XYZ.COM>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: Received: from bar.com by foo.com ; Thu, 21 May 1998
C:     05:33:29 -0700
C: Date: Thu, 21 May 1998 05:33:22 -0700
C: From: John Q. Public <JQP@bar.com>
C: Subject:  The Next Meeting of the Board
C: To: Jones@xyz.com
C:
C: Bill:
C: The next meeting of the board of directors will be
C: on Tuesday.
C:                         John.
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
    look mail/jones/new/*
    [ "$path" = '<JQP@bar.com>' ]
    [[ $received == "from foo.com "*" by xyz.com "* ]]
    # The relay's Received: is the next field.
    [[ $rest == 'Received: from bar.com by foo.com '*$'\nDate: '* ]]
    [[ $text == *$'\n                        John.\n' ]]
}

@test "RFC 5321 appendix D.4: verifying tells nothing, sending works" {
    foo_com
    dialogue <<'END'
S: 220 foo.com ESMTP...
C: HELO bar.com
S: 250 foo.com ...
C: VRFY Crispin
S: 252 2.0.0 ...
C: MAIL FROM:<EAK@bar.com>
S: 250 2.1.0 ...
C: RCPT TO:<Admin.MRC@foo.com>
S: 250 2.1.5 ...
C: DATA
S: 354 ...
C: Blah blah blah...
C: ...etc. etc. etc.
C: .
S: 250 2.0.0 ...
C: QUIT
S: 221 2.0.0 ...
END
    mails admin.mrc 1
}

@test "RFC 5321 4.5.1: the nine verbs of the minimum, each of them good" {
    serve
    dialogue <<'END'
S: 220 ...
C: HELO me
S: 250 ...
C: EHLO me
S*: 250 ...
C: NOOP
S: 250 ...
C: VRFY bob
S: 252 ...
C: MAIL FROM:<a@b.example>
S: 250 ...
C: RSET
S: 250 ...
C: MAIL FROM:<a@b.example>
S: 250 ...
C: RCPT TO:<bob@localhost>
S: 250 ...
C: DATA
S: 354 ...
C: Subject: the minimum
C: .
S: 250 ...
C: QUIT
S: 221 ...
END
    look mail/bob/new/*
    [ "$rest" = $'Subject: the minimum\n' ]
}
