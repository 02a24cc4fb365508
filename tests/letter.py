"""Prints the letter that the clients of clients.bats send: an attachment of over
5 MB, UTF-8 in its header section, lines that begin with dots."""
import base64, sys
out = sys.stdout.buffer
data = bytes(range(256)) * 15625
out.write("""From: Zoë <zoe@example.org>
To: Jürgen <bob@localhost>
Subject: Grüße, 用户 und ein Anhang
Date: Wed, 1 Oct 2008 12:00:00 +0000
Message-ID: <5321@example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

.
..
.one dot, and a line of dots:
.....
 . is no dot at the start, Zoë says.
%s

.
--b
Content-Type: application/octet-stream
Content-Disposition: attachment; filename=data
Content-Transfer-Encoding: base64

""" .replace("%s", "x" * 990).encode())
encoded = base64.encodebytes(data)
assert len(encoded) > 5 * 1024 * 1024
out.write(encoded + b"--b--\n..\n")
