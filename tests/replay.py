"""Replays traces of strace's, for 6.1-promise.bats: replay.py MESSAGES TRACE...

A file's octets, and each name in a directory, are dirty until that file, or that
directory, is synced. None of a message in new may be dirty where a 250 for it is
written, nor its octets where it enters new."""
import os, re, sys
call = re.compile(r'(?:\d+ +|\[pid +\d+\] )?(\w+)\((.*)\) += (-?\d+)')
quoted = re.compile(r'"((?:[^"\\]|\\.)*)"')


def replay(trace, messages):
    cwd = os.getcwd()
    root = os.path.join(cwd, "mail")
    inode, dirty_data, dirty_names = {}, set(), set()
    promised = 0
    for line in open(trace):
        m = call.match(line)
        if not m or int(m[3]) < 0:
            continue
        name, args = m[1], m[2]
        paths = [os.path.normpath(os.path.join(cwd, p)) for p in quoted.findall(args)]
        fd = re.match(r'(\d+)<(.*?)>', args)
        if name == "chdir":
            cwd = paths[0]
        elif name == "fchdir":
            cwd = fd[2]
        elif name.startswith(("open", "creat")) and ("O_CREAT" in args or name == "creat"):
            inode[paths[0]] = paths[0]
            dirty_names.add(paths[0])
        elif name.startswith("mkdir"):
            dirty_names.add(paths[0])
        elif name.startswith(("link", "rename")):
            old, new = paths
            inode[new] = inode.pop(old) if name[0] == "r" else inode[old]
            dirty_names.add(new)
            if os.path.basename(os.path.dirname(new)) == "new":
                assert inode[new] not in dirty_data, "in new before its octets were synced: " + line
        elif name in ("fsync", "fdatasync"):
            dirty_data.discard(inode.get(fd[2]))
            dirty_names = {n for n in dirty_names if os.path.dirname(n) != fd[2]}
        elif fd and fd[1] in "012":
            if fd[1] == "1" and "250 2.0.0" in args:
                promised += args.count("250 2.0.0")
                for path in [p for p in inode if os.path.dirname(p).endswith("/new")]:
                    assert inode[path] not in dirty_data, "250 before the octets were synced: " + path
                    while path != os.path.dirname(root):
                        assert path not in dirty_names, "250 before the name was synced: " + path
                        path = os.path.dirname(path)
        elif fd and fd[2] in inode:
            dirty_data.add(inode[fd[2]])
    kept = {i for p, i in inode.items() if "/new/" in p}
    assert (promised, len(kept)) == (messages, messages), (promised, kept)


for name in sys.argv[2:]:
    replay(name, int(sys.argv[1]))
