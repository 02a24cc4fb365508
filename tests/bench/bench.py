"""Hold smtpd's speed against a bare server that can't be much faster.

    python3 tests/bench/bench.py all|counts BUILD-FOLDER SMTPD...

The first binary is the one whose figures matter; the others, and the bare
server (limit.c), are measured in turn with it. Each figure is a median, each
ratio the median of the ratios of runs that followed one another, so that a
machine whose speed drifts is fair to all.
The mail goes to BUILD-FOLDER: the disk it lies on is part of what is measured.
Nothing is deleted before the end, for a disk that has freed blocks to discard
is slow for a while, and the next run would pay for it. ext4 also looks for
some minutes at each file number that was given back lately, whoever makes a
file: so wait five minutes after make test, or another bench.
"""
import operator
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

WHAT, BUILD = sys.argv[1], os.path.abspath(sys.argv[2])
BINARIES = [os.path.abspath(path) for path in sys.argv[3:]]
SMTPD, BARE = BINARIES[0], f"{BUILD}/limit"
PAIRS = int(os.environ.get("PAIRS", "5"))
LOAD = f"{BUILD}/load"
MANY = ["-l", "127.0.0.1", "-c", "2000", "-k", "2000"]
count = 0


def title(binary):
    """What a column is headed with."""
    if binary == BARE:
        return "bare server"
    if binary == f"{BUILD}/musl/smtpd":
        return "static, musl"
    return os.path.relpath(binary)


class Server:
    """smtpd or the bare server, in a mail directory of its own."""
    def __init__(self, binary, on=BUILD, options=MANY, tracer=()):
        global count
        count += 1
        self.folder = f"{on}/mail{count}"
        os.mkdir(self.folder)
        self.log = open(f"{self.folder}.log", "w+")
        command = [BARE, self.folder] if binary == BARE else [
            binary, "-p", "0", "-m", self.folder, "-n", "mail.example.com", *options]
        self.process = subprocess.Popen([*tracer, *command], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        self.port = None
        while self.port is None:
            time.sleep(0.01)
            found = re.search(r"(\d+)\n", open(f"{self.folder}.log").read())
            self.port = found and int(found[1])
        self.pid = self.process.pid
        if tracer:
            self.pid = int(children(self.pid)[0])

    def load(self, clients, messages, size, mode="", recipients=1):
        done = subprocess.run([LOAD, str(self.port), str(clients),
                               str(messages), str(size), mode, str(recipients)],
                              stdout=subprocess.PIPE, check=True)
        return float(done.stdout)

    def end(self):
        os.kill(self.pid, 15)
        self.process.wait()


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()


def in_turn(binaries, measure):
    """Call measure(binary) for each in turn, PAIRS times after one to warm up;
    return each one's figures."""
    figures = {binary: [] for binary in binaries}
    for turn in range(PAIRS + 1):
        for binary in binaries if turn % 2 else binaries[::-1]:
            figure = measure(binary)
            if turn > 0:
                figures[binary].append(figure)
    return figures


def line(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def header(binaries):
    """First the figures, then how each compares with the bare server, and the
    first one with the others."""
    first, *others = map(title, binaries)
    titles = [f"{first} : {each}" for each in others[::-1]]
    titles += [f"{each} : bare" for each in others[:-1]]
    line("what", first, *others, *titles, "aim")
    line("---", *["---:"] * (2 + len(others) + len(titles)))


def row(what, figures, aim, form=".1f"):
    """FIGURES: a list for each binary, of as many figures as the others'."""
    first, *others = figures.values()
    pairs = [(first, each) for each in others[::-1]]
    pairs += [(each, others[-1]) for each in others[:-1]]
    line(what, *(format(statistics.median(each), form) for each in figures.values()),
         *(f"{statistics.median(map(operator.truediv, *pair)):.2f}" for pair in pairs), aim)


def speeds(binaries):
    def rates(what, clients, messages, size, mode, aim, options=MANY):
        os.sync()
        servers = {binary: Server(binary, options=options) for binary in binaries}
        row(what, in_turn(binaries, lambda binary: servers[binary].load(
            clients, messages, size, mode)), aim)
        for server in servers.values():
            server.end()

    for clients in (1, 10, 50):
        rates(f"4 KB messages a second, a connection each, {clients} at a time",
              clients, 500 if clients == 1 else 1500, 4096, "", "0.90")
    for clients in (1, 10, 50):
        rates(f"the same, connections kept open, {clients} at a time",
              clients, 500 if clients == 1 else 1500, 4096, "keep", "0.90")
    for clients in (1, 10):     # a fork and a shell more for each message
        rates(f"the same with -x 'exit 0', {clients} at a time", clients, 500, 4096,
              "keep", "", [*MANY, "-x", "exit 0"])
    rates("connect, greeting, QUIT, 4 at a time", 4, 4000, 1, "quit", "0.90")
    rates("25 MB messages a second, one at a time", 1, 4, 25000000, "keep", "0.80")


def processor(binary):
    """User and system seconds of the whole server for 1,000 messages."""
    server = Server(binary)
    before = os.times()
    server.load(4, 1000, 4096)
    # What the children used is in the server's own account when it has waited
    # for them, and in ours when it has ended.
    server.end()
    after = os.times()
    return (after.children_user - before.children_user +
            after.children_system - before.children_system)


# --- what is counted ---

def one_session(server, binary):
    """One message of 4 KB, in lock step; then wait until its process is gone.
    The bare server waits for that one when the next client comes."""
    server.load(1, 1, 4096)
    while any(binary != BARE or state(pid) != "Z" for pid in children(server.pid)):
        time.sleep(0.001)


def state(pid):
    return stat(pid)[0]


def stat(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()


def calls(binary):
    """System calls that a session costs, those of the listening server too."""
    total = []
    for sessions in 2, 7:
        path = f"{BUILD}/calls"
        server = Server(binary, options=(), tracer=["strace", "-f", "-c", "-o", path])
        for _ in range(sessions):
            one_session(server, binary)
        server.end()
        with open(path) as file:
            total.append(int(re.search(r"(\d+)(?: +\d+)? total\n", file.read())[1]))
    return (total[1] - total[0]) / 5


def page_faults(binary):
    """Those of the processes that the server has waited for."""
    server, total = Server(binary, options=()), []
    for sessions in 2, 5:
        for _ in range(sessions):
            one_session(server, binary)
        total.append(int(stat(server.pid)[8]))
    server.end()
    return (total[1] - total[0]) / 5


def idle_session(binary):
    """KB of memory that one of 200 idle sessions costs."""
    server = Server(binary)
    client = subprocess.Popen([LOAD, str(server.port), "200", "200", "1",
                               "idle"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, start_new_session=True)
    while len(children(server.pid)) < 200:
        time.sleep(0.05)
    time.sleep(0.5)
    total = 0
    for pid in children(server.pid):
        with open(f"/proc/{pid}/smaps_rollup") as file:
            total += int(re.search(r"Pss: +(\d+)", file.read())[1])
    os.killpg(client.pid, 15)
    client.wait()
    server.end()
    return total / 200


def counts(binaries, starts):
    """Where the stack begins is left to chance, and so is whether it needs a
    page more: so memory is a mean of several starts."""
    if shutil.which("strace"):
        row("system calls for a message of 4 KB, both processes",
            {binary: [calls(binary)] for binary in binaries}, "")
    row("page faults of the process that takes it",
        {binary: [page_faults(binary)] for binary in binaries}, "")
    row("memory of an idle session, KB PSS", {binary: [statistics.mean(
        idle_session(binary) for _ in range(starts))] for binary in binaries}, "45 KB or 1.30")


def automaton():
    """How fast mail data is read, undone and copied, with no disk or socket."""
    done = subprocess.run([f"{BUILD}/automaton"], cwd=BUILD, check=True,
                          stdout=subprocess.PIPE)
    print(f"\nGB of mail data for a second of user CPU (aim: 1.00): {float(done.stdout):.2f}")


def parts():
    """Where the time of one message goes, one client alone: by difference."""
    rates = {"each": [], "keep": [], "memory": []}
    memory_disk = tempfile.mkdtemp(dir="/dev/shm")
    servers = {"each": Server(SMTPD), "keep": Server(SMTPD),
               "memory": Server(SMTPD, memory_disk)}
    for _ in range(PAIRS):
        for name, server in servers.items():
            mode = "" if name == "each" else "keep"
            rates[name].append(server.load(1, 500, 4096, mode))
    for server in servers.values():
        server.end()
    shutil.rmtree(memory_disk)
    each, keep, memory = (1e6 / statistics.median(rates[name]) for name in rates)
    print("\n| where the time of one message goes | microseconds |\n| --- | ---: |")
    print(f"| connect, fork, greeting, EHLO, QUIT | {each - keep:.0f} |")
    print(f"| two fsyncs and the disk | {keep - memory:.0f} |")
    print(f"| MAIL, RCPT, DATA, the file, the client itself | {memory:.0f} |")


def growth(svg):
    """How cost grows; each line should be flat, or fall in proportion."""
    print("\n| what grows | messages a second |\n| --- | --- |")
    server, curve = Server(SMTPD), []
    for goal in (10, 100, 1000, 10000, 100000):
        new = f"{server.folder}/bob/new"
        os.makedirs(new, exist_ok=True)
        for number in range(len(os.listdir(new)), goal):
            os.close(os.open(f"{new}/fill.{number}", os.O_CREAT))
        curve.append((goal, server.load(1, 200, 4096)))
    server.end()
    growth_row("messages in the mailbox", curve)
    lines = {"in the mailbox": curve}

    server, curve = Server(SMTPD), []
    for size in (1 << 10, 10 << 10, 100 << 10, 1 << 20, 10 << 20, 25 << 20):
        curve.append((size, server.load(1, max(4, min(200, (40 << 20) // size)),
                                        size - 700)))
    server.end()
    growth_row("octets a message", curve)
    lines["octets"] = curve

    server, curve = Server(SMTPD), []
    for recipients in (1, 10, 100):
        server.load(1, 1, 4096, "", recipients)         # makes the mailboxes
        curve.append((recipients, server.load(1, 200, 4096, "", recipients)))
    server.end()
    growth_row("recipients of a message", curve)
    lines["recipients"] = curve

    server, curve = Server(SMTPD), []
    for clients in (1, 10, 100, 1000):
        curve.append((clients, server.load(clients, max(500, clients * 2), 4096)))
    server.end()
    growth_row("sessions at a time", curve)
    lines["sessions"] = curve
    if svg:
        draw(lines, svg)


def growth_row(what, curve):
    print(f"| {what} | " + ", ".join(f"{x}: {y:.0f}" for x, y in curve) + " |",
          flush=True)


def draw(lines, path):
    """A plot with logarithmic axes, as plain SVG."""
    from math import log10
    colours = iter(("#1b6ca8", "#c0392b", "#7d3c98", "#2d8659"))
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 330" '
           'font-family="sans-serif" font-size="12">',
           '<rect width="640" height="330" fill="white"/>']

    def place(x, y):
        return 60 + log10(x) * 70, 290 - log10(max(y, 1)) * 65
    for power in range(8):
        x, _ = place(10 ** power, 1)
        out.append(f'<text x="{x:.0f}" y="308" text-anchor="middle">'
                   f'10^{power}</text>')
    for power in range(5):
        _, y = place(1, 10 ** power)
        out.append(f'<line x1="60" y1="{y:.0f}" x2="560" y2="{y:.0f}" '
                   f'stroke="#ddd"/><text x="52" y="{y + 4:.0f}" '
                   f'text-anchor="end">{10 ** power}</text>')
    out.append('<text x="60" y="16">durable messages a second</text>')
    for number, (name, curve) in enumerate(lines.items()):
        colour = next(colours)
        points = " ".join("%.1f,%.1f" % place(x, y) for x, y in curve)
        out.append(f'<polyline points="{points}" fill="none" '
                   f'stroke="{colour}" stroke-width="2"/>')
        out.append(f'<text x="{240 + number * 100}" y="16" fill="{colour}">'
                   f'{name}</text>')
    out.append('</svg>')
    with open(path, "w") as file:
        file.write("\n".join(out) + "\n")


def main():
    binaries = [*BINARIES, BARE]
    header(binaries)
    if WHAT == "counts":
        return counts(binaries, 1)
    speeds(binaries)
    row("CPU seconds for 1,000 messages, the client's with it",
        in_turn(binaries, processor), "1.20", ".2f")
    counts(binaries, 2 * PAIRS)
    automaton()
    if os.path.isdir("/dev/shm"):
        parts()
    growth(os.environ.get("SVG"))
    return None


main()
