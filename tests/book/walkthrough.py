#!/usr/bin/env python3
"""Keeps walkthrough.md true: plays what it shows, looks up what it names.

    walkthrough.py play N [crlf]   follow chapter N, or all, as a reader would,
                                   in this folder, which is to be empty
    walkthrough.py toys            save the programs of the toy here
    walkthrough.py CHECK           excerpts, names, sections, links, departures,
                                   diagram, exercises or sizes; prints what is
                                   wrong
    walkthrough.py check           all of these: what is wrong is in files here,
                                   CHECK.wrong, empty where nothing is
    walkthrough.py show KIND       print the blocks of one kind, e.g. zone

The first word after ``` says what a block is:

    smtp        a conversation, typed into nc as it stands: C: and S: lines, in
                an S: line ... stands for any text. One that begins with
                S: 220 opens a new connection, another goes on with the last.
                "smtp toy2" is the same with the toy
    c           lines of smtpd.c; ... alone on a line leaves lines out
    c toy1.c    a whole program: it is saved under this name
    diff toy2.c what to change in the program; ... leaves lines out. The first
                such block of a name starts from a copy of the program before it
    sh          commands after "$ ", each with its output; ... alone on a line
                stands for any lines, within a line for any text
    sh server   a command that goes on running: it has been obeyed when the
                output shown has come, and ends with the chapter or the next
    sh server beside
                another one, which runs beside those before; 2526 and 5353 are
                other ports here, too
    seen        lines that the last server has printed, one after the other
    zone        a zone file: it is saved as example.com.zone
    diff        what "Break it" changes in smtpd.c: tests/mutants/run does that

"needs=strace" after these leaves a block out where there is no strace.
Port 2525 is another one here, and nc -N is what this system's nc has for it.
"""
import hashlib
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback

ROOT = os.environ.get('ROOT') or os.path.abspath(
    os.path.join(os.path.dirname(__file__), '..', '..'))
TEXT = os.path.join(ROOT, 'walkthrough.md')
WAIT = 20                       # seconds for anything to happen
COMPILE = 'cc -std=c99 -Wall -Wextra -Wpedantic -Werror'    # as the text has it

# What the text names of the C library, or of others' programs, and smtpd.c
# does not use.
NOT_OURS = {'poll', 'recv', 'printf', 'gets', 'callback', 'connect'}


def read(*path):
    with open(os.path.join(ROOT, *path), encoding='utf-8') as file:
        return file.read()


class Fault(Exception):
    pass


class Block:
    def __init__(self, number, info, chapter):
        words = info.split()
        self.number, self.chapter = number, chapter
        self.kind = words[0] if words else ''
        self.words = [w for w in words[1:] if not w.startswith('needs=')]
        self.needs = [w[6:] for w in words if w.startswith('needs=')]
        self.lines = []

    def where(self):
        return f'walkthrough.md:{self.number}'

    def is_program(self):
        return self.kind in ('c', 'diff') and self.words != []


def parse():
    """The blocks, and the prose: a list of (line number, chapter, text)."""
    blocks, prose, block, chapter = [], [], None, 0
    for number, line in enumerate(read('walkthrough.md').split('\n'), 1):
        title = re.match(r'## (\d+)\. ', line)
        if block is None and title:
            chapter = int(title[1])
        elif block is None and line.startswith('## '):
            chapter = 99
        if line.startswith('```'):
            if block is None:
                block = Block(number, line[3:], chapter)
            else:
                blocks.append(block)
                block = None
        elif block is not None:
            block.lines.append(line)
        else:
            prose.append((number, chapter, line))
    return blocks, prose


def chapters():
    """The numbers of the chapters."""
    return [int(number) for number in
            re.findall(r'(?m)^## (\d+)\. ', read('walkthrough.md'))]


def programs(of=None):
    """The programs of these chapters as they are at the end: name to text."""
    made, text = {}, ''
    for block in parse()[0]:
        if block.is_program() and (of is None or block.chapter in of):
            if block.kind == 'c':
                text = '\n'.join(block.lines) + '\n'
            else:
                text = changed(text, block)
            made[block.words[0]] = text
    return made


def changed(text, block):
    """The text as a diff block changes it, each place of which is found once."""
    for place in re.split(r'(?m)^\.\.\.\n', '\n'.join(block.lines) + '\n'):
        lines = place.splitlines()
        old, new = (''.join('\n' + line[1:] for line in lines if line[:1] != sign)
                    for sign in '+-')
        if ('\n' + text).count(old + '\n') != 1:
            raise Fault(f'{block.where()}: not once in the program:{old}')
        text = ('\n' + text).replace(old + '\n', new + '\n')[1:]
    return text


def pattern(text):
    return '.*'.join(re.escape(part) for part in text.split('...'))


def matches(wanted, got):
    """Do the lines got fit the lines wanted, in which ... is anything?"""
    regex = ''.join('(?:.*\n)*' if line.strip() == '...'
                    else pattern(line) + '\n' for line in wanted)
    return re.fullmatch(regex, ''.join(line.rstrip() + '\n' for line in got))


class Reader:
    """Someone who types along, in an empty folder, with the sources there."""

    def __init__(self, crlf):
        self.end = b'\r\n' if crlf else b'\n'
        self.nc, self.servers = None, []
        self.ports = dict(zip(('2525', '2526', '5353'), free_ports()))
        for name in ('smtpd.c', 'README.md', 'walkthrough.md', 'tests'):
            os.symlink(os.path.join(ROOT, name), name)
        with open('Makefile', 'w', encoding='utf-8') as file:
            file.write(self.adapt(read('Makefile').replace(
                './smtpd -v', './smtpd -v -p 2525')))
        shutil.copy(os.environ['SMTPD'], 'smtpd')
        os.utime('smtpd')

    def adapt(self, text):
        nc = os.environ.get('NC_EOF', 'nc -N')
        return re.sub('2525|2526|5353', lambda match: self.ports[match[0]],
                      text).replace('nc -N', nc)

    def play(self, block):
        if not all(shutil.which(need) for need in block.needs):
            print(f'{block.where()}: left out, for want of {block.needs}')
        elif block.kind == 'smtp':
            self.converse(block)
        elif block.kind == 'sh' and 'server' in block.words:
            self.serve(block)
        elif block.kind == 'seen':
            self.see(block)
        elif block.kind == 'sh':
            self.obey(block)
        elif block.kind == 'zone':
            self.save('example.com.zone', '\n'.join(block.lines) + '\n')

    def save(self, name, text):
        with open(name, 'w', encoding='utf-8') as file:
            file.write(self.adapt(text))

    def commands(self, block):
        """Each command of a block, and the lines shown after it."""
        found = []
        for line in block.lines:
            if line.startswith('$ '):
                found.append([self.adapt(line[2:]), []])
            elif line.startswith('> ') and not found[-1][1]:
                found[-1][0] += '\n' + self.adapt(line[2:])
            else:
                found[-1][1].append(self.adapt(line))
        return found

    def obey(self, block):
        for command, wanted in self.commands(block):
            got = run(command)
            if not matches(wanted, got):
                raise Fault(f'{block.where()}: $ {command}\nprinted\n'
                            + '\n'.join(got) + '\nand not\n'
                            + '\n'.join(wanted))

    def serve(self, block):
        self.hang_up()
        if 'beside' not in block.words:
            self.stop()
        (command, wanted), = self.commands(block)
        command = re.sub(r'\./smtpd\b', f'./smtpd -p {self.ports["2525"]}', command)
        with open(f'.server{len(self.servers)}', 'wb') as log:
            self.servers.append(subprocess.Popen(
                ['bash', '-c', command], stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True))
        self.await_output(block, f'$ {command}', wanted)

    def see(self, block):
        wanted = [self.adapt(line) for line in block.lines]
        self.await_output(block, 'the server', ['...', *wanted, '...'])

    def await_output(self, block, who, wanted):
        """Wait until the last server has printed what is wanted."""
        until = time.monotonic() + WAIT
        while time.monotonic() < until:
            got = self.printed(len(self.servers) - 1).splitlines()
            if matches(wanted, got):
                return
            time.sleep(0.02)
        raise Fault(f'{block.where()}: {who}\nprinted\n'
                    + '\n'.join(got) + '\nand not\n' + '\n'.join(wanted))

    @staticmethod
    def printed(number):
        with open(f'.server{number}', encoding='utf-8', errors='replace') as log:
            return log.read()

    def stop(self):
        while self.servers:
            server = self.servers[-1]
            try:
                os.killpg(server.pid, signal.SIGTERM)
                server.wait(WAIT)
            except subprocess.TimeoutExpired:
                raise Fault('the server did not end at SIGTERM') from None
            except ProcessLookupError:
                pass
            finally:
                self.kill()
            crash = re.search('.*(Sanitizer|runtime error):.*',
                              self.printed(len(self.servers)))
            if crash:
                raise Fault(f'the server complained: {crash[0]}')

    def kill(self):
        """The last server, and what it has started."""
        try:
            os.killpg(self.servers.pop().pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def converse(self, block):
        for line in block.lines:
            who, text = line[:2], self.adapt(line[3:])
            if who == 'C:':
                self.nc.stdin.write(text.encode() + self.end)
            elif who == 'S:':
                self.expect(block, text)
            elif line:
                raise Fault(f'{block.where()}: neither C: nor S:: {line}')
        if self.nc is not None:
            self.nc.stdin.flush()

    def expect(self, block, text):
        if text.startswith('220'):
            self.hang_up()
            self.nc = subprocess.Popen(
                ['nc', '127.0.0.1', self.ports['2525']], bufsize=0,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL)
        got = self.hear()
        if not re.fullmatch(pattern(text), got):
            raise Fault(f'{block.where()}: wanted "{text}", got "{got}"')
        if re.match('(221|421)[ .]', text):
            self.nc.stdin.close()       # Ctrl-D: many an nc waits for it
            if self.hear() != '':
                raise Fault(f'{block.where()}: the connection is still open')
            self.hang_up()

    def hear(self):
        """One line from nc, without CRLF; '' when the server has closed."""
        got = b''
        while not got.endswith(b'\n'):
            if not select.select([self.nc.stdout], [], [], WAIT)[0]:
                return f'{got.decode()}, and then nothing in time'
            octet = self.nc.stdout.read(1)
            if octet == b'':
                break
            got += octet
        return got.decode().rstrip('\r\n')

    def hang_up(self):
        if self.nc is not None:
            self.nc.kill()
            self.nc.wait()
            self.nc = None


def run(command):
    """The lines which it prints. What one of the tests of this file has compiled
    by this command, from this source, is copied: each chapter would do it again."""
    kept = None
    compiles = re.fullmatch(r'\S*cc .*-o (\w+) (\w+\.c)', command)
    if compiles and 'BATS_FILE_TMPDIR' in os.environ:
        with open(compiles[2], 'rb') as file:
            key = hashlib.sha256(command.encode() + file.read()).hexdigest()
        kept = os.path.join(os.environ['BATS_FILE_TMPDIR'], key)
        if os.path.exists(kept):
            shutil.copy(kept, compiles[1])
            return []
    done = subprocess.run(
        ['bash', '-c', command], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=2 * WAIT, check=False)
    if kept and done.returncode == 0 and done.stdout == b'':
        shutil.copy(compiles[1], kept)
    return done.stdout.decode('utf-8', 'replace').splitlines()


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('127.0.0.1', int(port)))
            return True
        except OSError:
            return False


def free_ports():
    """Three below those that the kernel hands out, so that they stay free; the
    same for all tests of a file, since they are in the programs compiled."""
    kept = os.path.join(os.environ.get('BATS_FILE_TMPDIR', os.devnull), 'ports')
    if os.path.exists(kept):
        with open(kept, encoding='ascii') as file:
            ports = file.read().split()
        if all(map(is_free, ports)):
            return ports
    ports = []
    while len(ports) < 3:
        port = str(random.randrange(10000, 30000))
        if port not in ports and is_free(port):
            ports.append(port)
    if 'BATS_FILE_TMPDIR' in os.environ:
        with open(kept, 'w', encoding='ascii') as file:
            file.write(' '.join(ports))
    return ports


def play(chapter, crlf):
    reader = Reader(crlf)
    try:
        for name, text in programs().items():
            reader.save(name, text)
        blocks = [block for block in parse()[0]
                  if chapter in ('all', str(block.chapter))]
        if chapter.isdigit():
            typed = '\n'.join(line for block in blocks for line in block.lines)
            for name in programs(range(1, int(chapter))):
                # what earlier chapters have left here, if it is run
                if re.search(rf'\./{name[:-2]}\b', typed):
                    run(f'{COMPILE} -o {name[:-2]} {name}')
        for block in blocks:
            reader.play(block)
        reader.hang_up()
        reader.stop()
    except Fault as fault:
        return [str(fault)]
    finally:
        reader.hang_up()
        while reader.servers:
            reader.kill()
    return []


def excerpts():
    """Each c block stands in smtpd.c, line for line."""
    source = read('smtpd.c')
    for block in parse()[0]:
        if block.kind != 'c' or block.words:
            continue
        runs = re.split(r'(?m)^\s*\.\.\.\n', '\n'.join(block.lines) + '\n')
        at = 0
        for run in runs:
            found = ('\n' + source).find('\n' + run, at)
            if found == -1:
                yield f'{block.where()}: not in smtpd.c, line for line:\n{run}'
                break
            at = found + len(run)


def names():
    """Each function named is one of smtpd.c, of the toy, or the library."""
    prose = parse()[1]
    code = read('smtpd.c') + ''.join(programs().values())
    for number, _, line in prose:
        for name in re.findall(r'(?<![.\w])(\w+)\(\)', line):
            if name not in NOT_OURS and not re.search(rf'\b{name}\(', code):
                yield f'walkthrough.md:{number}: there is no {name}()'


def section_list():
    """What sections RFC 5321 has: their titles by number."""
    rows = read('tests', 'book', 'sections.tsv').splitlines()[1:]
    return {number: title for number, title, _ in
            (row.split('\t') for row in rows)}


def sections():
    """Each section of RFC 5321 that is cited exists, under the title given."""
    known, seen = section_list(), 0
    for number, line in enumerate(read('walkthrough.md').split('\n'), 1):
        for match in re.finditer(
                r'RFC 5321 ((?:appendix [A-Z]|\d)[.\d]*)((?:,? (?:and )?\d'
                r'(?:\.\d+)+)*)(?:`? \(([^)]*)\)|`? \| ([^|]*) \|)?', line):
            cited = [match[1]] + re.findall(r'\d[.\d]+', match[2])
            title = match[3] or match[4]
            seen += 1
            for section in (each.rstrip('.') for each in cited):
                if section not in known:
                    yield f'walkthrough.md:{number}: no RFC 5321 {section}'
                elif (title and len(cited) == 1 and title[:1].isupper()
                      and title.strip() != known[section]):
                    yield (f'walkthrough.md:{number}: RFC 5321 {section} is '
                           f'called {known[section]}, not {title}')
    if seen < 50:
        yield f'only {seen} citations found: is the check blind?'


def slug(title):
    title = re.sub(r'[^\w\- ]', '', title.strip().lower())
    return title.replace(' ', '-')


def links():
    """Each link leads somewhere."""
    _, prose = parse()
    anchors = {slug(line.lstrip('#')) for _, _, line in prose
               if line.startswith('#')}
    for number, _, line in prose:
        for target in re.findall(r'\]\(([^)\s]+)\)', line):
            path, _, anchor = target.partition('#')
            if path == '' and anchor not in anchors:
                yield f'walkthrough.md:{number}: no heading #{anchor}'
            elif path and '://' not in path and not os.path.exists(
                    os.path.join(ROOT, path)):
                yield f'walkthrough.md:{number}: no file {path}'


def departures():
    """Each "Departure:" of smtpd.c is argued in the text, and no other: there
    its first sentence stands. So is each section that rfc5321.tsv has a
    departure from."""
    code = re.sub(r'\s+(\* )?', ' ', read('smtpd.c'))
    there = set(re.findall(r'[* ]Departure: (.*?)\. ', code))
    told = set(re.findall(r'(?ms)^\| `Departure:`.*?\n\n',
                          read('walkthrough.md'))[0].split('\n')[2:])
    told = {line.split(' | ')[0][2:] for line in told if line}
    for what in there ^ told:
        where = 'walkthrough.md' if what in there else 'smtpd.c'
        yield f'{where} has no "Departure: {what}"'
    argued = re.findall(r'(?ms)^\| `Departure:`.*?^###',
                        read('walkthrough.md'))[0]
    rows = [row.split('\t') for row in read('tests', 'rfc5321.tsv').split('\n')]
    for row in rows:
        section = row[0].split('-')[0]
        if row[-1].startswith('departs: ') and not re.search(
                rf'RFC 5321 {re.escape(section)}(?![.\d]*\d)', argued):
            yield f'the last chapter does not argue {row[0]}: {row[2]}'


def diagram():
    """The diagram of states says what the command table says."""
    table = {verb: states for verb, states in re.findall(
        r'\{ "([A-Z]+)[^"]*", cmd_\w+, ([^"]*),', read('smtpd.c'))}
    edges = [match for block in parse()[0] if block.kind == 'mermaid'
             for line in block.lines
             for match in re.findall(r'(\w+) --> (\w+) : (.*)', line)]
    states = {start for start, _, _ in edges} - {'*'}
    transaction = states - {'START', 'GREETED'}
    for verb in ('MAIL', 'RCPT', 'DATA', 'RSET', 'EHLO', 'HELO'):
        in_table = set(re.findall(r'IN\((\w+)\)', table[verb]))
        if 'IN_TRANSACTION' in table[verb]:
            in_table |= transaction
        elif 'ANY_TIME' in table[verb]:
            in_table |= transaction | ({'START'} if 'H' in verb else set())
        drawn = {start for start, _, label in edges if verb in label}
        if drawn != in_table:
            yield f'{verb}: drawn in {drawn}, but good in {in_table}'


def exercises():
    """Each chapter gives an exercise, and it is there."""
    _, prose = parse()
    for chapter in chapters():
        text = '\n'.join(line for _, c, line in prose if c == chapter)
        named = re.findall(r'make exercises NAME=(\w+)', text)
        if not named:
            yield f'chapter {chapter} has nothing to build'
        for name in named:
            if not os.path.isdir(os.path.join(ROOT, 'tests', 'exercises',
                                              name)):
                yield f'chapter {chapter}: no exercise {name}'


def sizes():
    """Chapters of 500 to 900 words; blocks of at most 20 lines, but what is
    typed in at most 50."""
    blocks, prose = parse()
    for block in blocks:
        typed = block.kind in ('zone', 'ini') or block.is_program()
        if len(block.lines) > (50 if typed else 20):
            yield f'{block.where()}: a block of {len(block.lines)} lines'
    for chapter in chapters():
        words = sum(len(line.split()) for _, c, line in prose
                    if c == chapter and not line.startswith('|'))
        if not 500 <= words <= 900:
            yield f'chapter {chapter} has {words} words'


def toys():
    """Save the programs."""
    for name, text in programs().items():
        with open(name, 'w', encoding='utf-8') as file:
            file.write(text)


def show(kind):
    for block in parse()[0]:
        if block.kind == kind:
            print('\n'.join(block.lines))


CHECKS = {check.__name__: check for check in (
    excerpts, names, sections, links, departures, diagram, exercises, sizes)}


def check_all():
    for name, check in CHECKS.items():
        try:
            wrong = '\n'.join(check())
        except Exception:               # pylint: disable=broad-except
            wrong = traceback.format_exc()
        with open(name + '.wrong', 'w', encoding='utf-8') as file:
            file.write(wrong)


def main(command, *args):
    if command in ('show', 'toys'):
        return globals()[command](*args)
    if command == 'check':
        return check_all()
    faults = (play(args[0], 'crlf' in args) if command == 'play'
              else list(CHECKS[command]()))
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
