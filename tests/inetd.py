"""Starts a command as inetd would, for option-i-inetd.bats, plays it the file
$INPUT, prints what comes back, and exits as it did, with 255 for a signal:
    inetd.py KIND[,KIND...] ERROR [OPTIONS...] -- COMMAND...
KIND says what its standard input and output are: ipv4, ipv6, unix (one socket) or
pipes. If there are several, each is a session, and what comes back goes to out.KIND,
not to standard output, and the file is ERROR.KIND. ERROR is "same" where standard
error is that socket too, or a file's name."""
import os, socket, subprocess, sys
kinds, error = sys.argv[1].split(","), sys.argv[2]
dashes = len(sys.argv) - 1 - sys.argv[::-1].index("--")
command = sys.argv[dashes + 1:] + ["-m", "mail", "-n", "mail.example.com"] + sys.argv[3:dashes]


def session(kind, out, error):
    if kind == "pipes":
        # Stand-ins for one socket's two ends.
        read, write = os.pipe()
        back, theirs = os.pipe()
        stdin, stdout = read, theirs
        send, receive = open(write, "wb", 0), open(back, "rb", 0)
    elif kind == "unix":
        ours, stdin = socket.socketpair()
        stdout = stdin
    else:
        family, host = (socket.AF_INET6, "::1") if kind == "ipv6" else (socket.AF_INET, "127.0.0.1")
        listener = socket.socket(family)
        listener.bind((host, 0))
        listener.listen(1)
        ours = socket.create_connection(listener.getsockname()[:2])
        stdin, _ = listener.accept()
        stdout = stdin
        if "nonblocking" in os.environ:
            stdin.setblocking(False)
    if kind != "pipes":
        send = receive = ours.makefile("rwb", 0)
    smtpd = subprocess.Popen(command, stdin=stdin, stdout=stdout,
                             stderr=stdout if error == "same" else open(error, "ab"))
    for fd in {stdin, stdout}:
        os.close(fd) if kind == "pipes" else fd.close()
    data = open(os.environ["INPUT"], "rb").read()
    while data:
        data = data[send.write(data):]
    if kind == "pipes":
        send.close()
    else:
        ours.shutdown(socket.SHUT_WR)
    while True:
        octets = receive.read(65536)
        if not octets:
            break
        out.write(octets)
    status = smtpd.wait(30)
    return status if status >= 0 else 255


if len(kinds) == 1:
    sys.exit(session(kinds[0], sys.stdout.buffer, error))
for kind in kinds:
    with open("out." + kind, "wb") as file:
        status = session(kind, file, error if error == "same" else error + "." + kind)
    if status != 0:
        sys.exit(status)
