"""Press smtpd hard, on loopback, and see that it holds.  Linux, for /proc.

    python3 tests/stress.py PATH-OF-smtpd [CASE...]

Each case is a server of its own; after each, nothing may be left: no process,
zombie or descriptor, and no file in tmp.  Prints a line a case, with figures.
"""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

SMTPD = os.path.abspath(sys.argv[1])
failed = 0


class Server:
    def __init__(self, *options):
        self.folder = tempfile.mkdtemp()
        self.mail = self.folder + "/mail"
        self.log = open(self.folder + "/log", "w+")
        self.process = subprocess.Popen(
            [SMTPD, "-p", "0", "-l", "127.0.0.1", "-m", self.mail,
             "-n", "mail.example.com", *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=self.log)
        while "listening" not in self.logged():
            time.sleep(0.01)
        self.port = int(self.logged().split("port ")[1].split()[0])
        self.descriptors = self.count_descriptors()

    def logged(self):
        with open(self.folder + "/log") as log:
            return log.read()

    def count_descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def children(self):
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return open(path).read().split()

    def connect(self, source=None):
        client = Client(socket.create_connection(
            ("127.0.0.1", self.port), 30, (source, 0) if source else None))
        return client

    def pss(self):
        total = 0
        for pid in self.children():
            try:
                for line in open(f"/proc/{pid}/smaps_rollup"):
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
            except OSError:
                pass
        return total

    def messages(self, user):
        try:
            return os.listdir(f"{self.mail}/{user}/new")
        except FileNotFoundError:
            return []

    def end(self):
        """Stop it; returns what is wrong with what is left."""
        wrong = []
        deadline = time.time() + 20
        while self.process.poll() is None and self.children() and \
                time.time() < deadline:
            time.sleep(0.02)
        if self.process.poll() is None:
            if self.children():
                wrong.append(f"{len(self.children())} processes are left")
            if self.count_descriptors() != self.descriptors:
                wrong.append("descriptors have leaked")
            self.process.send_signal(signal.SIGTERM)
        if self.process.wait(60) != 0:
            wrong.append(f"exit status {self.process.returncode}")
        for where, _, files in os.walk(self.mail):
            if where.endswith("/tmp") and files:
                wrong.append(f"{len(files)} files are left in tmp")
        if "was ended by signal" in self.logged():
            wrong.append("a session crashed")
        shutil.rmtree(self.folder)
        return wrong


class Client:
    def __init__(self, connection):
        self.connection = connection
        self.file = connection.makefile("rb")

    def hear(self, code=None):
        while True:
            line = self.file.readline().decode()
            if line[3:4] != "-":
                break
        if code is not None and not line.startswith(code):
            raise AssertionError(f"wanted {code}, heard {line!r}")
        return line

    def say(self, line, code=None):
        self.connection.sendall(line.encode() + b"\r\n")
        return self.hear(code)

    def send(self, text=b"Subject: x\r\n\r\nx\r\n", user="bob"):
        self.say("MAIL FROM:<a@example.org>", "250")
        self.say(f"RCPT TO:<{user}@example.com>", "250")
        self.say("DATA", "354")
        self.connection.sendall(text + b".\r\n")
        return self.hear("250")

    def close(self):
        self.file.close()
        self.connection.close()


def greeted(server, source=None):
    client = server.connect(source)
    client.hear("220")
    client.say("EHLO client.example.org", "250")
    return client


def rate(server, seconds=4.0):
    """Messages a second of one good client, each in a session of its own."""
    count, end = 0, time.time() + seconds
    while time.time() < end:
        client = greeted(server)
        client.send()
        client.say("QUIT", "221")
        client.close()
        count += 1
    return count / seconds


def idle():
    """1,000 idle sessions at once"""
    server = Server("-c", "2000", "-k", "2000")
    clients = [greeted(server) for _ in range(1000)]
    pss = server.pss() / len(server.children())
    for client in clients[::2]:
        client.say("QUIT", "221")
    for client in clients:
        client.close()
    return server.end(), f"{len(clients)} held, {pss:.0f} KB PSS each"


def short():
    """10,000 short sessions"""
    server, began = Server("-c", "2000", "-k", "2000"), time.time()
    for _ in range(10000):
        client = server.connect()
        client.connection.sendall(b"QUIT\r\n")
        client.hear("220")
        client.hear("221")
        client.close()
    return server.end(), f"{10000 / (time.time() - began):.0f} a second"


def drip():
    """200 slow-drip clients beside a good one"""
    server = Server("-k", "256")
    usual = rate(server)
    drips = [greeted(server) for _ in range(200)]
    stop = threading.Event()

    def drip_on():
        while not stop.wait(0.5):
            for each in drips:
                each.connection.sendall(b"N")
    thread = threading.Thread(target=drip_on)
    thread.start()
    beside = rate(server)
    stop.set()
    thread.join()
    for each in drips:
        each.close()
    time.sleep(0.5)
    usual = min(usual, rate(server))            # the machine's speed drifts
    wrong = server.end()
    if beside < usual / 2:
        wrong.append("the good client is held up")
    return wrong, f"{beside:.0f} messages a second beside them, {usual:.0f} alone"


def greedy():
    """one client takes all of -k, another is served"""
    server = Server("-k", "20", "-c", "40")
    held = [greeted(server, "127.0.0.2") for _ in range(20)]
    refused = [server.connect("127.0.0.2") for _ in range(60)]
    for each in refused:
        each.hear("421 4.7.0")
    other = greeted(server, "127.0.0.3")
    other.send()
    for each in held + refused + [other]:
        each.close()
    wrong = server.end()
    return wrong, "60 more were refused with 421 4.7.0"


def silent():
    """a flood of connections that say nothing"""
    server = Server("-t", "2", "-k", "50", "-c", "100")
    flood = [server.connect(f"127.0.0.{2 + i % 5}") for i in range(500)]
    other = server.connect("127.0.0.99")
    first = other.hear()
    codes = [each.hear()[:3] for each in flood]
    last = [each.file.readline()[:9] for each, code in zip(flood, codes)
            if code == "220"]
    wrong = [] if all(x == b"421 4.4.2" for x in last) else ["no 421 4.4.2"]
    time.sleep(3)                               # they linger for 2 seconds
    again = greeted(server, "127.0.0.99")
    again.send()
    for each in flood + [other, again]:
        each.close()
    return server.end() + wrong, \
        f"{codes.count('220')} of 500 greeted, the rest refused; a stranger " \
        f"heard {first[:3]} at once, and was served after -t"


def large():
    """a 25 MB message from each of 20 clients at once"""
    server, most = Server(), 0
    text = b"Subject: large\r\n\r\n" + (b"x" * 76 + b"\r\n") * 335000
    done = []

    def one(number):
        client = greeted(server)
        client.send(text, f"user{number}")
        client.say("QUIT", "221")
        client.close()
        done.append(number)
    began = time.time()
    threads = [threading.Thread(target=one, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        pss, count = server.pss(), len(server.children())
        most = max(most, pss / max(count, 1))
        time.sleep(0.2)
    seconds = time.time() - began
    wrong = [] if len(done) == 20 else ["not all were taken"]
    if most > 500:
        wrong.append("memory is not bounded")
    return server.end() + wrong, \
        f"{20 * len(text) / seconds / 1e6:.0f} MB/s, at most {most:.0f} KB PSS each"


def stop():
    """SIGTERM, and SIGKILL, under load lose nothing acknowledged"""
    counts, wrong = [], []
    for number in (signal.SIGTERM, signal.SIGKILL):
        server, acknowledged = Server("-c", "500", "-k", "500"), []

        def one(number):
            try:
                client = greeted(server)
                while True:
                    acknowledged.append(client.send().split()[-1])
            except (OSError, AssertionError, IndexError):
                pass
        threads = [threading.Thread(target=one, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        time.sleep(2)
        if number == signal.SIGKILL:            # the children too
            for pid in server.children():
                os.kill(int(pid), signal.SIGKILL)
        server.process.send_signal(number)
        server.process.wait(60)
        for thread in threads:
            thread.join()
        kept = " ".join(server.messages("bob"))
        lost = [each for each in acknowledged if each not in kept]
        if lost:
            wrong.append(f"{len(lost)} acknowledged messages are lost")
        counts.append(len(acknowledged))
        if number == signal.SIGTERM:
            wrong += server.end()
        else:
            shutil.rmtree(server.folder)
    return wrong, f"{counts[0]} and {counts[1]} acknowledged, all there"


if __name__ == "__main__":
    cases = [idle, short, drip, greedy, silent, large, stop]
    chosen = sys.argv[2:] or [case.__name__ for case in cases]
    for case in cases:
        if case.__name__ not in chosen:
            continue
        trouble, figures = case()
        failed += bool(trouble)
        print(f"{'not ok' if trouble else 'ok'}: {case.__doc__}: {figures}",
              *trouble, sep="\n    " if trouble else "", flush=True)
    sys.exit(failed > 0)
