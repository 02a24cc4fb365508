"""Hold smtpd's speed against a bare server that can't be much faster.

    python3 tests/bench/bench.py PATH-OF-smtpd BUILD-FOLDER [--svg FILE]

Each figure is the median of pairs of runs, smtpd and the bare server
(limit.c) in turn, so that a machine whose speed drifts is fair to both.
The mail goes to BUILD-FOLDER: the disk it lies on is part of what is measured.
Nothing is deleted before the end, for a disk that has freed blocks to discard
is slow for a while, and the next run would pay for it. ext4 also looks for
some minutes at each file number that was given back lately, whoever makes a
file: so wait five minutes after make test, or another bench.
"""
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SMTPD, BUILD = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
PAIRS = int(os.environ.get("PAIRS", "5"))
LOAD = f"{BUILD}/load"
count = 0


class Server:
    """smtpd or the bare server, in a mail directory of its own."""
    def __init__(self, name, on=BUILD):
        global count
        count += 1
        self.name, self.folder = name, f"{on}/mail{count}"
        os.mkdir(self.folder)
        self.log = open(f"{self.folder}.log", "w+")
        if name == "limit":
            self.process = subprocess.Popen([f"{BUILD}/limit", self.folder],
                                            stdout=self.log)
        else:
            self.process = subprocess.Popen(
                [SMTPD, "-p", "0", "-l", "127.0.0.1", "-m", self.folder, "-c",
                 "2000", "-k", "2000", "-n", "mail.example.com"],
                stdin=subprocess.DEVNULL, stderr=self.log)
        self.port = None
        while self.port is None:
            time.sleep(0.01)
            found = re.search(r"(\d+)\n", open(f"{self.folder}.log").read())
            self.port = found and int(found[1])

    def load(self, clients, messages, size, mode="", recipients=1):
        done = subprocess.run([LOAD, str(self.port), str(clients),
                               str(messages), str(size), mode, str(recipients)],
                              stdout=subprocess.PIPE, check=True)
        return float(done.stdout)

    def children(self):
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return open(path).read().split()

    def end(self):
        self.process.terminate()
        self.process.wait()


def pairs(clients, messages, size, mode=""):
    """Rates of both, and the ratio: medians of alternating runs."""
    os.sync()
    servers = [Server("smtpd"), Server("limit")]
    rates = {"smtpd": [], "limit": []}
    for turn in range(PAIRS + 1):                   # the first warms up
        for server in servers if turn % 2 else servers[::-1]:
            rate = server.load(clients, messages, size, mode)
            if turn > 0:
                rates[server.name].append(rate)
    for server in servers:
        server.end()
    ratio = statistics.median(a / b for a, b in zip(rates["smtpd"], rates["limit"]))
    return (statistics.median(rates["smtpd"]), statistics.median(rates["limit"]),
            ratio)


def speeds():
    print("| what | smtpd | bare server | ratio | aim |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for clients in (1, 10, 50):
        row(f"4 KB messages a second, a connection each, {clients} at a time",
            pairs(clients, 500 if clients == 1 else 1500, 4096), 0.90)
    for clients in (1, 10, 50):
        row(f"the same, connections kept open, {clients} at a time",
            pairs(clients, 500 if clients == 1 else 1500, 4096, "keep"), 0.90)
    row("connect, greeting, QUIT, 4 at a time", pairs(4, 4000, 1, "quit"), 0.90)
    row("25 MB messages a second, one at a time",
        pairs(1, 4, 25000000, "keep"), 0.80)


def row(what, figures, aim):
    print(f"| {what} | {figures[0]:.1f} | {figures[1]:.1f} | {figures[2]:.2f} "
          f"| {aim:.2f} |", flush=True)


def idle_session(name):
    """KB of memory that one of 200 idle sessions costs."""
    server = Server(name)
    client = subprocess.Popen([LOAD, str(server.port), "200", "200", "1",
                               "idle"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, start_new_session=True)
    while len(server.children()) < 200:
        time.sleep(0.05)
    time.sleep(0.5)
    total = 0
    for pid in server.children():
        total += int(re.search(r"Pss: +(\d+)", open(
            f"/proc/{pid}/smaps_rollup").read())[1])
    os.killpg(client.pid, 15)
    client.wait()
    server.end()
    return total / 200


def memory():
    """The mean of several starts: where the stack begins is left to chance, and
    so is whether it needs a page more."""
    a, b = (statistics.mean(idle_session(name) for _ in range(2 * PAIRS))
            for name in ("smtpd", "limit"))
    print(f"| memory of an idle session, KB PSS | {a:.1f} | {b:.1f} | "
          f"{a / b:.2f} | 45 KB or 1.30 |")


def processor():
    """User and system seconds of the whole server for 1,000 messages."""
    used = {"smtpd": [], "limit": []}
    for _ in range(3):
        for name in used:
            server = Server(name)
            before = os.times()
            server.load(4, 1000, 4096)
            # What the children used is in the server's own account when it
            # has waited for them, and in ours when it has ended.
            server.end()
            after = os.times()
            used[name].append(after.children_user - before.children_user +
                              after.children_system - before.children_system)
    a, b = (statistics.median(used[name]) for name in ("smtpd", "limit"))
    print(f"| CPU seconds for 1,000 messages, the client's with it | {a:.2f} | "
          f"{b:.2f} | {a / b:.2f} | 1.20 |")


def automaton():
    """How fast mail data is read, undone and copied, with no disk or socket."""
    done = subprocess.run([f"{BUILD}/automaton"], cwd=BUILD, check=True,
                          stdout=subprocess.PIPE)
    print(f"| GB of mail data for a second of user CPU | {float(done.stdout):.2f}"
          " | | | 1.00 |")


def parts():
    """Where the time of one message goes, one client alone: by difference."""
    rates = {"each": [], "keep": [], "memory": []}
    memory_disk = tempfile.mkdtemp(dir="/dev/shm")
    servers = {"each": Server("smtpd"), "keep": Server("smtpd"),
               "memory": Server("smtpd", memory_disk)}
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
    server, curve = Server("smtpd"), []
    for goal in (10, 100, 1000, 10000, 100000):
        new = f"{server.folder}/bob/new"
        os.makedirs(new, exist_ok=True)
        for number in range(len(os.listdir(new)), goal):
            os.close(os.open(f"{new}/fill.{number}", os.O_CREAT))
        curve.append((goal, server.load(1, 200, 4096)))
    server.end()
    growth_row("messages in the mailbox", curve)
    lines = {"in the mailbox": curve}

    server, curve = Server("smtpd"), []
    for size in (1 << 10, 10 << 10, 100 << 10, 1 << 20, 10 << 20, 25 << 20):
        curve.append((size, server.load(1, max(4, min(200, (40 << 20) // size)),
                                        size - 700)))
    server.end()
    growth_row("octets a message", curve)
    lines["octets"] = curve

    server, curve = Server("smtpd"), []
    for recipients in (1, 10, 100):
        server.load(1, 1, 4096, "", recipients)         # makes the mailboxes
        curve.append((recipients, server.load(1, 200, 4096, "", recipients)))
    server.end()
    growth_row("recipients of a message", curve)
    lines["recipients"] = curve

    server, curve = Server("smtpd"), []
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


if __name__ == "__main__":
    speeds()
    memory()
    processor()
    automaton()
    if os.path.isdir("/dev/shm"):
        parts()
    growth(sys.argv[4] if len(sys.argv) > 4 else None)
