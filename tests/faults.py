"""Make every system call fail in its turn, or be the server's last one, and
see whether mail is lost or spoilt.  Needs strace.

    python3 tests/faults.py PATH-OF-SMTPD [MODE...]

fail   each call on a message's way gets each error that it can get, at each
       of its occurrences; the session goes on and takes the next message
kill   SIGKILL at the n-th call, for every n, with one, two, three recipients
order  what an strace log shows: all written, fsync, rename, fsync of each
       directory with a new name in it, and only then the 250
room   limits: file size, descriptors, memory, processes
disk   no room, at each 4 KB of a message, and at each inode that one needs;
       when there is room again, the same session goes on (root: it mounts)
listen each call of the server that listens gets each error, while three
       clients come one after another; then all is well again
load   SIGKILL while Postfix's smtp-source sends as fast as it can

What must hold: a 250 means a whole file in every mailbox; nothing partial is
ever in new; tmp is left empty, unless we were killed; nothing hangs.
"""
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

SMTPD = os.path.abspath(sys.argv[1])
BODY = "".join(f"line {i} of the message\n" for i in range(4000))
faults = 0


def transaction(users):
    rcpt = "".join(f"RCPT TO:<{u}@example.com>\r\n" for u in users)
    return ("MAIL FROM:<alice@example.org>\r\n" + rcpt + "DATA\r\n"
            "Subject: test\r\n\r\n" + BODY.replace("\n", "\r\n") + ".\r\n")


def session(*recipients):
    return ("EHLO client.example.org\r\n" + "".join(map(transaction, recipients))
            + "QUIT\r\n").encode()


def run(strace_options, script, mail, limit=None):
    """Play the script; returns the replies and strace's log."""
    log = mail + ".strace"
    command = ["strace", "-f", "-qq", "-s", "300", "-o", log] + strace_options
    command += [SMTPD, "-i", "-n", "mail.example.com", "-t", "20", "-m", mail]
    if not strace_options:
        command = command[7:]
    done = subprocess.run(command, input=script, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, timeout=60,
                          preexec_fn=limit, check=False)
    text = ""
    if strace_options:
        with open(log, encoding="latin-1") as file:
            text = file.read()
        os.remove(log)
    return done.stdout.decode(), text, done.returncode


def files(mail, where):
    found = {}
    for user in os.listdir(mail) if os.path.isdir(mail) else []:
        folder = f"{mail}/{user}/{where}"
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            found[user, name] = open(f"{folder}/{name}").read()
    return found


def faults_in(mail, replies, recipients, killed, body=BODY):
    """What is wrong with what lies there, as a list of sentences."""
    wrong = []
    new = files(mail, "new")
    for (user, name), text in new.items():
        if not text.endswith("\n\n" + body) or "Return-Path:" not in text[:20]:
            wrong.append(f"{user}/new/{name} is not whole")
    kept = re.findall(r"^250 2\.0\.0 Message kept as (\S+)\r$", replies, re.M)
    answers = re.findall(r"^(250 2\.0\.0 Message|4\S+ 4\S+|5\S+ 5\S+).*\r$",
                         replies, re.M)
    for number, identity in enumerate(kept):
        holders = {user for (user, name) in new if identity in name}
        options = [set(r) for r in recipients]
        if holders not in options:
            wrong.append(f"message {identity} was kept for {sorted(holders)}")
    names = {name for (_, name) in new}
    extra = [n for n in names if not any(k in n for k in kept)]
    if not killed:
        if files(mail, "tmp"):
            wrong.append("something is left in tmp")
        # A reply that could not be sent leaves a whole message: no loss.
        if extra and "221 " in replies:
            wrong.append("a message lies in new without its 250")
        if any(a.startswith("5") for a in answers):
            wrong.append("a passing trouble was called permanent")
    for name in extra:
        holders = {user for (user, n) in new if n == name}
        if not any(holders <= set(r) for r in recipients):
            wrong.append(f"{name} is in a stranger's mailbox")
    return wrong, kept


def report(what, wrong):
    global faults
    for each in wrong:
        faults += 1
        print(f"not ok: {what}: {each}", flush=True)


class Client:
    """Says one thing at a time and waits for its reply, which is "" when the
    server is gone."""
    def __init__(self, connection):
        self.connection, self.heard = connection, ""
        connection.settimeout(15)          # less than -t
        self.file = connection.makefile("rb")
        if self.say().startswith("220 "):
            self.say("EHLO client.example.org\r\n")

    def say(self, text=""):
        line = b"   -"
        try:
            self.connection.sendall(text.encode())
            while line[3:4] == b"-":
                line = self.file.readline()
                self.heard += line.decode()
        except TimeoutError:
            report(repr(text[:40]), ["no reply within 15 seconds"])
            return ""
        except OSError:
            return ""
        return line.decode()

    def send(self, users, body=BODY):
        """One transaction; returns the reply that decides it."""
        text = body.replace("\n", "\r\n")
        for line in ["MAIL FROM:<alice@example.org>",
                     *[f"RCPT TO:<{user}@example.com>" for user in users],
                     "DATA", f"Subject: test\r\n\r\n{text}."]:
            reply = self.say(line + "\r\n")
            if not reply.startswith(("2", "3")):
                break
        return reply

    def quit(self):
        self.say("QUIT\r\n")
        self.file.close()
        self.connection.close()
        return self.heard


def connect(port):
    try:
        return Client(socket.create_connection(("127.0.0.1", port), 30))
    except OSError:
        return Client(socket.socketpair()[0])   # nobody is there


def serve(mail, *options, **more):
    """Start a server that listens; returns it, and its port or None."""
    with open(mail + ".log", "a+", encoding="ascii") as log:
        start = log.tell()
        server = subprocess.Popen(
            [SMTPD, "-p", "0", "-l", "127.0.0.1", "-n", "mail.example.com",
             "-t", "20", "-m", mail, *options], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=log, **more)
        while server.poll() is None:
            log.seek(start)
            if match := re.search(r"listening .* port (\d+)\n", log.read()):
                return server, int(match[1])
            time.sleep(0.01)
    return server, None


def stop(server):
    """End a server that should still run; returns what is wrong."""
    if server.poll() is not None:
        return [f"the server ended by itself, status {server.returncode}"]
    server.terminate()
    try:
        status = server.wait(60)
    except subprocess.TimeoutExpired:
        server.kill()
        status = "none: it did not end"
    return [] if status == 0 else [f"exit status {status}"]


CALLS = {
    "mkdir": "ENOSPC EIO EDQUOT", "openat": "EMFILE ENOSPC EIO ENOMEM EINTR",
    "write": "ENOSPC EIO EDQUOT EINTR", "fsync": "EIO ENOSPC EINTR",
    "close": "EIO EINTR", "link": "EIO ENOSPC EMLINK", "rename": "EIO ENOSPC",
    "unlink": "EIO", "newfstatat": "EIO ENOMEM", "statfs": "EIO",
    "read": "EIO EINTR", "pselect6": "EINTR ENOMEM", "clock_gettime": "EINVAL",
}


def fail_one(job):
    """One error at one occurrence; returns whether it was reached."""
    call, error, when, recipients, folder = job
    mail = tempfile.mkdtemp(dir=folder)
    # What the server does to start is not on a message's way.
    options = ["-e", f"trace={call},execve",
               "-e", f"inject={call}:error={error}:when={when}"]
    replies, log, _ = run(options, session(*recipients), mail)
    if "INJECTED" not in log:
        shutil.rmtree(mail)
        return False
    wrong, kept = faults_in(mail, replies, recipients, False)
    ended = "221 " not in replies
    if ended and call not in ("read", "pselect6", "write") and "220 " in replies:
        wrong.append("the session did not go on")
    if len(kept) < len(recipients) - 1 and not ended:
        wrong.append(f"only {len(kept)} messages of {len(recipients)} were kept")
    report(f"{call} {error} at {when}", wrong)
    shutil.rmtree(mail)
    return True


def fail(folder, pool):
    count = 0
    for recipients in ([["bob"], ["carol"]], [["bob", "carol", "dan"], ["bob"]]):
        for call, errors in CALLS.items():
            for error in errors.split():
                when, going = 1, True
                while going and when < 200:
                    jobs = [(call, error, n, recipients, folder)
                            for n in range(when, when + 8)]
                    hits = list(pool.map(fail_one, jobs))
                    count += sum(hits)
                    going = all(hits)
                    when += 8
    print(f"fail: {count} failures, of each call in its turn")


def kill_one(job):
    call, when, recipients, folder = job
    mail = tempfile.mkdtemp(dir=folder)
    options = ["-e", "trace=all", "-e", f"inject={call}:signal=KILL:when={when}"]
    replies, log, _ = run(options, session(recipients), mail)
    killed = "killed by SIGKILL" in log
    if killed and os.path.isdir(mail):
        wrong, _ = faults_in(mail, replies, [recipients], killed)
        # The next server finds the place in order and takes mail there.
        again, _, _ = run([], session(recipients), mail)
        if "250 2.0.0 Message kept" not in again:
            wrong.append("after it, no mail is taken")
        report(f"killed at {call} {when}", wrong)
    shutil.rmtree(mail)
    return killed


def kill(folder, pool):
    count = 0
    for recipients in (["bob"], ["bob", "carol"], ["bob", "carol", "dan"]):
        mail = tempfile.mkdtemp(dir=folder)
        _, log, _ = run(["-e", "trace=all"], session(recipients), mail)
        calls = re.findall(r"^\d+ +(\w+)\(", log, re.M)
        shutil.rmtree(mail)
        jobs = [(call, n, recipients, folder) for call in sorted(set(calls))
                if call != "execve" for n in range(1, calls.count(call) + 1)]
        count += sum(pool.map(kill_one, jobs))
    print(f"kill: {count} deaths, one at each call")


def order(folder, _):
    """Walk through an strace log with a model of what is on disk."""
    for recipients in (["bob"], ["bob", "carol", "dan"]):
        mail = tempfile.mkdtemp(dir=folder)
        _, log, _ = run(["-y", "-e", "trace=all"], session(recipients, recipients),
                        mail)
        dirty, durable, promised = set(), set(), 0
        unsynced = {}                           # file -> written since fsync
        for line in log.splitlines():
            if match := re.search(r'mkdir\("([^"]+)".* = 0$', line):
                dirty.add(os.path.dirname(os.path.join(mail, match[1].rstrip("/"))))
                if match[1].rstrip("/").endswith("/tmp"):
                    dirty.discard(os.path.dirname(os.path.join(mail, match[1].rstrip("/"))))
            elif match := re.search(r"write\(\d+<([^>]+/tmp/[^>]+)>", line):
                unsynced[match[1]] = True
            elif match := re.search(r"fsync\(\d+<([^>]+)>\) += 0$", line):
                unsynced.pop(match[1], None)
                dirty.discard(match[1].rstrip("/"))
            elif match := re.search(r'rename\("([^"]+)", "([^"]+)"\) = 0$', line):
                source = os.path.join(mail, match[1])
                if unsynced.get(source):
                    report("order", [f"{match[1]} was moved before its fsync"])
                dirty.add(os.path.dirname(os.path.join(mail, match[2])))
            elif re.search(r'write\(1<.*250 2\.0\.0 Message kept', line):
                promised += 1
                if unsynced or dirty:
                    report("order", [f"250 before {sorted(dirty) + list(unsynced)}"])
        if promised != 2:
            report("order", [f"{promised} promises seen, not 2"])
        durable.clear()
        shutil.rmtree(mail)
    print("order: all writes, fsync, rename, fsync of directories, 250")


def room(folder, _):
    script = session(["bob"], ["carol"])
    def limit(kind, value):
        return lambda: resource.setrlimit(kind, (value, value))
    cases = [("RLIMIT_FSIZE", n) for n in range(0, 110000, 4096)]
    cases += [("RLIMIT_NOFILE", n) for n in range(3, 12)]
    cases += [("RLIMIT_AS", n << 20) for n in (1, 2, 4, 6, 8, 16)]
    for kind, value in cases:
        mail = tempfile.mkdtemp(dir=folder)
        replies, _, status = run([], script, mail,
                                 limit(getattr(resource, kind), value))
        wrong, _ = faults_in(mail, replies, [["bob"], ["carol"]], False)
        if kind == "RLIMIT_FSIZE" and value < len(BODY) and \
                len(re.findall("^452 4.3.1 ", replies, re.M)) != 2:
            wrong.append("no 452 4.3.1 for each message")
        report(f"{kind} {value}", wrong)
        shutil.rmtree(mail)
    print(f"room: {len(cases) + room_to_fork(folder)} limits")


def room_to_fork(folder):
    """RLIMIT_NPROC, which does not bind root.  Who is there already goes on,
    who comes now is told to come later, who comes later is served."""
    mail, kind = folder + "/fork", resource.RLIMIT_NPROC
    soft, hard = resource.getrlimit(kind)
    root = os.geteuid() == 0
    server, port = serve(mail, *["-u", "nobody"] if root else [])
    early = connect(port)

    def limit(value):
        nobody = pwd.getpwnam("nobody")
        who = {"user": nobody.pw_uid, "group": nobody.pw_gid} if root else {}
        subprocess.call(["true"], **who, preexec_fn=lambda: resource.prlimit(
            server.pid, kind, (value, hard)))
    try:
        limit(1)
    except (KeyError, OSError, subprocess.SubprocessError):
        print("room: RLIMIT_NPROC skipped: it can't be set here")
        server.kill()
        return 0
    refused, wrong = connect(port).heard, []
    if not refused.startswith("421 4.3.2 "):
        wrong.append(f"the client was told {refused!r}")
    if not early.send(["bob"]).startswith("250 "):
        wrong.append("the session before it did not go on")
    if server.poll() is None:
        limit(soft)
    late = connect(port)
    late.send(["carol"])
    replies = early.quit() + late.quit()
    more, kept = faults_in(mail, replies, [["bob"], ["carol"]], False)
    if len(kept) != 2:
        wrong.append("after it, no mail is taken")
    report("RLIMIT_NPROC", wrong + more + stop(server))
    return 1


def disk_one(mail, users, body, take, free, enough):
    """One message while only so much is free, the next when there is room."""
    ballast = mail + "/ballast"
    os.mkdir(ballast)
    take(ballast, free)
    ours, theirs = socket.socketpair()
    with subprocess.Popen([SMTPD, "-i", "-n", "mail.example.com", "-m", mail],
                          stdin=theirs, stdout=theirs,
                          stderr=subprocess.DEVNULL):
        theirs.close()
        client = Client(ours)
        first = client.send(users, body)
        shutil.rmtree(ballast)
        second = client.send(users, body)
        replies = client.quit()
    wrong, _ = faults_in(mail, replies, [users, users], False, body)
    if not first.startswith("250 " if enough else "452 4.3.1 "):
        wrong.append(f"the reply was {first!r}")
    if not second.startswith("250 "):
        wrong.append(f"with room again, the reply was {second!r}")
    report(f"disk with {free} free ({take.__name__})", wrong)
    for user in users:
        shutil.rmtree(f"{mail}/{user}", ignore_errors=True)


def octets(ballast, free):
    there = os.statvfs(ballast)
    with open(ballast + "/file", "wb") as file:
        os.posix_fallocate(file.fileno(), 0,
                           there.f_bavail * there.f_frsize - free)


def inodes(ballast, free):
    for number in range(os.statvfs(ballast).f_ffree - free):
        open(f"{ballast}/{number}", "wb").close()


def disk(folder, _):
    """Less than 64 KB free, and MAIL is refused; more, and write() fails."""
    mail, counts = folder + "/disk", [0, 0]
    # The last of its write() calls, of 64 KB, is 50 KB: some end in it.
    body = BODY * 4 + BODY[:BODY.index("line 2000 ")]
    os.mkdir(mail)
    if subprocess.call(["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=64",
                        "tmpfs", mail], stderr=subprocess.DEVNULL) != 0:
        print("disk: skipped: no tmpfs can be mounted")
        return
    try:
        # Our fields take less than a page.
        pages = (len(body) + 4095) // 4096
        for free in range(pages + 4):
            if free != pages:
                disk_one(mail, ["bob"], body, octets, free * 4096, free > pages)
                counts[0] += 1
        # A mailbox is four directories; on a tmpfs each link is an inode.
        for users in (["bob"], ["bob", "carol", "dan"]):
            for free in range(5 * len(users) + 3):
                disk_one(mail, users, BODY, inodes, free,
                         free >= 5 * len(users))
                counts[1] += 1
    finally:
        subprocess.call(["umount", mail])
    print(f"disk: {counts[0]} amounts of room, {counts[1]} numbers of inodes")


LISTEN = {
    "accept": "EMFILE ENFILE ENOMEM ENOBUFS ECONNABORTED EINTR EPERM",
    "clone": "EAGAIN ENOMEM", "pselect6": "EINTR ENOMEM", "wait4": "EINTR",
    "fcntl": "EINTR", "dup2": "EBUSY EINTR", "close": "EIO EINTR",
}
LISTEN["accept4"] = LISTEN["accept"]        # other names, on other machines
LISTEN["dup3"] = LISTEN["dup2"]
LISTEN["fork"] = LISTEN["vfork"] = LISTEN["clone3"] = LISTEN["clone"]


def listen_one(job):
    """strace comes when the server listens, and goes before the last client.
    Each process counts its calls by itself.  Returns strace's log."""
    call, error, when, folder = job
    mail = tempfile.mkdtemp(dir=folder)
    server, port = serve(mail)
    command = ["strace", "-f", "-o", mail + ".strace", "-p", str(server.pid),
               "-e", "trace=" + ",".join("?" + name for name in LISTEN)]
    if call:
        command += ["-e", f"inject={call}:error={error}:when={when}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as strace:
        attached = b"attached" in strace.stderr.readline()
        replies = []
        for user in ("bob", "carol", "dan"):
            client = connect(port)
            client.send([user], "short\n")
            replies.append(client.quit())
        strace.send_signal(signal.SIGINT)
    last = connect(port)
    last.send(["eve"], "short\n")
    replies.append(last.quit())
    everything = "".join(replies)
    if everything.count("\n221 ") < 4:      # not all sessions came to their end
        everything = everything.replace("221 ", "")
    wrong, kept = faults_in(mail, everything,
                            [["bob"], ["carol"], ["dan"], ["eve"]], False,
                            "short\n")
    if "250 2.0.0 Message kept" not in replies[3]:
        wrong.append("after it, no mail is taken")
    # Who was not let in at once waits; who gets no process is told so.
    if call.startswith("accept") and len(kept) != 4:
        wrong.append(f"{len(kept)} messages of 4 were kept")
    if LISTEN.get(call) == LISTEN["clone"] and \
            [reply[:10] for reply in replies].count("421 4.3.2 ") != 1:
        wrong.append("it is not one client that was told 421 4.3.2")
    report(f"listening, {call} {error} at {when}", wrong + stop(server))
    if not attached:
        return ""
    with open(mail + ".strace", encoding="latin-1") as file:
        return file.read()


def listen(folder, pool):
    log = listen_one(("", "", 0, folder))
    calls = re.findall(r"^(\d+) +(\w+)\(", log, re.M)
    if not calls:
        print("listen: skipped: strace may not attach to a process")
        return
    jobs = []
    for call, errors in LISTEN.items():
        most = max(calls.count((pid, call)) for pid, _ in set(calls))
        jobs += [(call, error, when, folder) for error in errors.split()
                 for when in range(1, most + 1)]
    hits = sum("INJECTED" in log for log in pool.map(listen_one, jobs))
    print(f"listen: {hits} failures, of each call in its turn")


def load_one(source, mail, turn):
    """Send, kill while that goes on; returns the IDs in smtp-source's log."""
    victim = ("parent", "children", "both")[turn % 3]
    ends, held = os.pipe()
    server, port = serve(mail, pass_fds=[held], start_new_session=True)
    os.close(held)
    with open(mail + ".source", "w+", encoding="latin-1") as log:
        sender = subprocess.Popen(
            [source, "-v", "-s", "10", "-m", "1000000", "-l", "4096",
             "-f", "alice@example.org", "-t", "bob@example.com",
             *["-d"] * (turn // 3 % 2), f"127.0.0.1:{port}"],
            stdout=subprocess.DEVNULL, stderr=log)
        time.sleep(0.1 + turn * 0.05)
        if victim == "parent":
            server.kill()
        elif victim == "both":
            os.killpg(server.pid, signal.SIGKILL)
        while victim == "children" and sender.poll() is None:
            with open(f"/proc/{server.pid}/task/{server.pid}/children",
                      encoding="ascii") as children, suppress(OSError):
                for child in children.read().split():
                    os.kill(int(child), signal.SIGKILL)
        time.sleep(0.2)                 # children that are left serve on
        sender.kill()
        sender.wait()
        if victim == "children":
            report("children killed under load", stop(server))
        server.wait()
        os.read(ends, 1)                # until the last child has ended
        os.close(ends)
        log.seek(0)
        return re.findall(r"<<< 250 2\.0\.0 Message kept as (\S+)\n",
                          log.read())


def load(folder, _):
    """What this shows: a message whose 250 smtp-source has read outlives all
    of the server's processes, whenever they die; it is there once, whole.
    With -v smtp-source tells each reply, and so each ID.  (Its -c counts the
    dots that it has sent, and of these as many as it has sessions may lack
    their reply.)  More may be there: what was killed before its 250 was read.
    That it would outlive the power too is for the mode "order" to show."""
    source = shutil.which("smtp-source", path=os.environ["PATH"] + ":/usr/sbin")
    if not source:
        print("load: skipped: smtp-source is not installed")
        return
    mail, promised, total = folder + "/load", [], 0
    for turn in range(12):
        identities = load_one(source, mail, turn)
        wrong = [] if identities else ["smtp-source was told of no message"]
        promised += identities
        # The next server finds the place in order and takes mail there.
        server, port = serve(mail)
        client = connect(port)
        if not client.send(["carol"]).startswith("250 "):
            wrong.append("after it, no mail is taken")
        client.quit()
        wrong += stop(server)
        report(f"load, turn {turn}", wrong + load_faults(mail, promised))
        total = len(files(mail, "new"))
    print(f"load: 12 deaths, {len(promised)} messages acknowledged, "
          f"{total} there")


def load_faults(mail, promised):
    new = files(mail, "new")
    bodies = [text.partition("\n\n")[2] for (user, _), text in new.items()
              if user == "bob"]
    names = [name.split(".")[1] for (_, name) in new]
    with open(mail + ".log", encoding="ascii") as log:
        kept = re.findall(r" kept (\S+) .* file=(\S+)/new/(\S+)\n", log.read())
    wrong = [f"{each} is in new {names.count(each)} times"
             for each in set(promised) if names.count(each) != 1]
    wrong += [f"{each} has its 250, but is not in the log"
              for each in set(promised) - {each for each, _, _ in kept}]
    wrong += [f"{name} is in the log, but not in {user}/new"
              for _, user, name in kept if (user, name) not in new]
    if any(len(body) < 4000 or body != bodies[0] for body in bodies):
        wrong.append("a message is not whole")
    return wrong


if __name__ == "__main__":
    chosen = sys.argv[2:] or ["order", "room", "disk", "load", "listen",
                              "kill", "fail"]
    with tempfile.TemporaryDirectory() as here, \
            ThreadPoolExecutor(max_workers=4) as workers:
        for name in chosen:
            globals()[name](os.path.realpath(here), workers)
    print(f"{faults} faults found")
    sys.exit(faults > 0)
