#!/usr/bin/env bats
# Exercise poll: one process for all clients, with poll() instead of fork().

SMTPD=${SMTPD:-$BATS_TEST_DIRNAME/../../../smtpd}
load ../../helpers

# Runs a Python program which has these words, and PORT and SERVER.
clients() {
    {
        cat <<'END'
import os, signal, socket, sys, time
port, server = int(os.environ["PORT"]), int(os.environ["SERVER"])

class Client:
    def __init__(self, small=False):
        self.s = socket.socket()
        if small:
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.s.settimeout(10)
        self.s.connect(("127.0.0.1", port))
        self.f = self.s.makefile("rb")

    def hears(self, code):
        line = self.f.readline()
        assert line.startswith(code.encode()), (code, line)

    def says(self, text, *codes):
        self.s.sendall(text.encode() + b"\r\n")
        for code in codes:
            self.hears(code)

    def ends(self):
        assert self.f.read() == b"", "no end"

    def begins(self, user):
        self.hears("220 ")
        self.says("HELO me", "250 ")
        self.says("MAIL FROM:<>", "250 ")
        self.says(f"RCPT TO:<{user}@localhost>", "250 ")
        self.says("DATA", "354 ")

def served(user="bob"):
    began = time.time()
    c = Client()
    c.begins(user)
    c.says("text\r\n.", "250 ")
    c.says("QUIT", "221 ")
    c.ends()
    assert time.time() - began < 2, "held up"
