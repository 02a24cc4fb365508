"""Plays a conversation at a terminal, and prints what was on its screen:
    terminal.py COMMAND... <<'END'
    S: text     wait until a line that begins so is on the screen
    C: text     type this line, and Enter
    K: keys     press these keys, as printf %b has them
    E:          wait until the command ends by itself, or for 20 seconds"""
import os, pty, select, signal, sys, time

script = sys.stdin.buffer.read().decode().splitlines()
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
screen, seen = '\n', 0


def look(seconds):
    """Add to the screen; False when nothing comes, or the program has ended."""
    global screen
    try:
        octets = os.read(terminal, 65536) if select.select([terminal], [], [], seconds)[0] else b''
    except OSError:     # how Linux says it
        octets = b''
    screen += octets.decode('latin-1').replace('\r', '')
    return octets != b''


def wait(text):
    global seen
    end = time.monotonic() + 10
    while screen.find('\n' + text, seen) < 0:
        if time.monotonic() > end or not look(10):
            sys.exit('waited for %r; the screen:\n%s' % (text, screen))
    seen = screen.index('\n' + text, seen) + 1


def press(keys):
    os.write(terminal, keys)


try:
    for line in script:
        kind, text = line[:2], line[3:]
        if kind == 'S:':
            wait(text)
        elif kind == 'C:':
            press(text.encode() + b'\r')
        elif kind == 'K:':
            press(text.encode().decode('unicode_escape').encode('latin-1'))
        elif kind == 'E:':
            end = time.monotonic() + 20
            while time.monotonic() < end and look(20):
                pass
    # Some end when the server has closed, some with the next line or Ctrl-C.
    for keys in b'', b'\r', b'\3':
        press(keys)
        while look(0.1):
            pass
        if os.waitpid(pid, os.WNOHANG)[0]:
            pid = 0
            break
    print(screen)
finally:
    if pid:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
