"""Make every system call fail in its turn, or be the server's last one, and
see whether mail is lost or spoilt.  Needs strace.

    python3 tests/faults.py PATH-OF-SMTPD [fail|kill|order|room]

fail   each call on a message's way gets each error that it can get, at each
       of its occurrences; the session goes on and takes the next message
kill   SIGKILL at the n-th call, for every n, with one, two, three recipients
order  what an strace log shows: all written, fsync, rename, fsync of each
       directory with a new name in it, and only then the 250
room   limits: file size, descriptors, memory

What must hold: a 250 means a whole file in every mailbox; nothing partial is
ever in new; tmp is left empty, unless we were killed; nothing hangs.
"""
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

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


def faults_in(mail, replies, recipients, killed):
    """What is wrong with what lies there, as a list of sentences."""
    wrong = []
    new = files(mail, "new")
    for (user, name), text in new.items():
        if not text.endswith("\n\n" + BODY) or "Return-Path:" not in text[:20]:
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
    print(f"room: {len(cases)} limits")


if __name__ == "__main__":
    chosen = sys.argv[2:] or ["order", "room", "kill", "fail"]
    with tempfile.TemporaryDirectory() as here, \
            ThreadPoolExecutor(max_workers=4) as workers:
        for name in chosen:
            globals()[name](os.path.realpath(here), workers)
    print(f"{faults} faults found")
    sys.exit(faults > 0)
