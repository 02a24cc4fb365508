#!/usr/bin/env python3
"""Changes to smtpd.c that name its functions, and no line numbers.

    edits.py apply FILE EDITS    print FILE as the edits change it; says which of
                                 them do not fit, and makes the others
    edits.py make OLD NEW        print edits that make the file NEW out of OLD

The mutants and the solutions of the exercises are written so:

    in NAME:            change some lines of a function, as diff(1) shows it:
     a line that stays      "-" goes, "+" comes, " " stays. What goes or stays
    -a line that goes       must be found once in the function, or the edit does
    +a line that comes      not fit. "..." alone on a line leaves lines out
    instead of NAME:    what follows replaces the function
    before NAME:        what follows comes before the function
    after NAME:         what follows comes after it
    without NAME:       the function goes

A function has the comment right above it. NAME can also be "struct session" or
"enum state", a table, as commands, or "the file", for what stands elsewhere.
Blanks at both ends of a line do not count when it is looked for.

Whoever gives a function another name gives it everywhere, and mends nothing:
    git grep -lw OLD | xargs sed -i 's/\\bOLD\\b/NEW/g'
"""
import difflib
import functools
import re
import sys

HEADING = re.compile(r'(in|instead of|before|after|without) ([\w ]+):')
HEADS = (                       # of a definition, which begins in column 1
    re.compile(r'((?:struct|enum) \w+) \{'),
    re.compile(r'[a-z][\w *]*?\b(\w+)(?:\[\w*\])* = \{$'),
    re.compile(r'[a-zA-Z_][\w *]*?\b(\w+)\('),
)


class Misfit(Exception):
    """An edit does not fit the file."""


def code(line):
    """The line without a comment at its end."""
    return re.sub(r'\s*/\*.*\*/$', '', line)


@functools.lru_cache(maxsize=4)
def definitions(lines):
    """What a file defines, given as a tuple: names to (first line, line after the last)."""
    found = {}
    for number, line in enumerate(lines):
        match = next(filter(None, (head.match(line) for head in HEADS)), None)
        if match is None or match[1] in found:
            continue
        body = number
        while body < len(lines) and not code(lines[body]).endswith(('{', ';')):
            body += 1
        if body == len(lines) or code(lines[body]).endswith(';'):
            continue                    # only declared
        start, end = number, body
        while not re.fullmatch(r'\}|\}.*;', lines[end]):
            end += 1
        if start > 0 and re.fullmatch(r'(/| )\*.*\*/', lines[start - 1]):
            while not lines[start - 1].startswith('/*'):
                start -= 1
            start -= 1
        found[match[1]] = start, end + 1
    return found


def parse(text):
    """The edits in a text: a list of (what, name, lines)."""
    edits = []
    for line in text.split('\n'):
        match = HEADING.fullmatch(line)
        if match:
            edits.append((match[1], match[2], []))
        elif edits:
            edits[-1][2].append(line)
        elif line.strip() and not line.startswith('#'):
            raise Misfit(f'this is before the first heading: {line}')
    return edits


def trimmed(lines):
    return '\n'.join(lines).strip('\n').split('\n')


def places(lines, start, end, wanted):
    """Where in lines[start:end] these lines stand, but for blanks."""
    wanted = [line.strip() for line in wanted]
    return [at for at in range(start, end - len(wanted) + 1)
            if all(lines[at + i].strip() == line for i, line in enumerate(wanted))]


def singly(edits):
    """The edits, of which each changes one place: "..." divides an "in"."""
    for what, name, text in edits:
        part = []
        for line in [*text, '...'] if what == 'in' else []:
            if line == '...':
                yield what, name, trimmed(part)
                part = []
            else:
                part.append(line)
        if what != 'in':
            yield what, name, trimmed(text)


def place(lines, what, name, text):
    """The edit as (first line, line after the last, what comes in their place)."""
    defined = {**definitions(tuple(lines)), 'the file': (0, len(lines))}
    if name not in defined:
        raise Misfit(f'there is no {name}')
    start, end = defined[name]
    if what == 'without':
        return start, end + 1, []       # with the empty line after it
    if what == 'instead of':
        return start, end, text
    if what == 'before':
        return start, start, [*text, '']
    if what == 'after':
        return end, end, ['', *text]
    if not all(line[:1] in ('', ' ', '-', '+') for line in text):
        raise Misfit(f'each line begins with "-", "+" or " ": {shown(text)}')
    old = [line[1:] for line in text if line[:1] != '+']
    found = places(lines, start, end, old) if ''.join(old).strip() else []
    if len(found) != 1:
        raise Misfit(f'{len(found)} times in {name}: {shown(old)}')
    first = last = found[0]
    new = []
    for line in text:
        if line.startswith('+'):
            new.append(line[1:])
        else:
            if not line.startswith('-'):
                new.append(lines[last])
            last += 1
    return first, last, new


def shown(lines):
    return ' / '.join(line.strip() for line in lines)


def apply(lines, edits, misfits=None):
    """The lines as the edits change them. Those that do not fit are left out,
    and what is wrong with them is put into misfits, if that is given."""
    changes = []
    for edit in singly(edits):
        try:
            start, end, new = place(lines, *edit)
            for other_start, other_end, _ in changes:
                if start < other_end and other_start < end:
                    raise Misfit(f'two edits change this in {edit[1]}: {lines[start].strip()}')
            changes.append((start, end, new))
        except Misfit as why:
            if misfits is None:
                raise
            misfits.append(str(why))
    result, last = [], 0
    for start, end, new in sorted(changes, key=lambda change: change[:2]):
        result += lines[last:start] + new
        last = end
    return result + lines[last:]


# --- and the other way: edits out of two files --------------------------------

def differences(old, new):
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return [op[1:] for op in matcher.get_opcodes() if op[0] != 'equal']


def hunk_for(lines, bounds, spot, new, part):
    """Lines that say: in lines[part], lines[spot] become new. As many lines
    that stay are added as tell the place, within the bounds."""
    first, last = spot
    grow_up = True
    while True:
        told = ''.join(lines[first:last]) and \
            len(places(lines, *part, lines[first:last])) == 1
        if told and lines[first] and lines[last - 1]:
            break
        if (first, last) == tuple(bounds):
            if told:
                break
            raise Misfit(f'the place can not be told: line {first + 1}')
        if first > bounds[0] and (grow_up or last == bounds[1]):
            first -= 1
        else:
            last += 1
        grow_up = not grow_up
    text = ([' ' + line for line in lines[first:spot[0]]] +
            ['-' + line for line in lines[spot[0]:spot[1]]] +
            ['+' + line for line in new] +
            [' ' + line for line in lines[spot[1]:last]])
    return first, last, ['' if line == ' ' else line for line in text]


def hunks_for(lines, bounds, new, part):
    """The body of an "in" that makes new out of lines[bounds]."""
    start, end = bounds
    spots = [((start + a, start + b), (c, d))
             for a, b, c, d in differences(lines[start:end], new)]
    while True:                 # two whose lines that stay overlap become one
        made = [hunk_for(lines, bounds, old, new[c:d], part) for old, (c, d) in spots]
        for i in range(len(made) - 1):
            if made[i][1] > made[i + 1][0]:
                spots[i:i + 2] = [((spots[i][0][0], spots[i + 1][0][1]),
                                   (spots[i][1][0], spots[i + 1][1][1]))]
                break
        else:
            break
    body = []
    for _, _, text in made:
        body += ['...'] * (body != []) + text
    return body


def make(old, new):
    """Edits that make new out of old."""
    olds, news = definitions(tuple(old)), definitions(tuple(new))
    matcher = difflib.SequenceMatcher(None, list(olds), list(news), autojunk=False)
    names = list(olds)
    common = [names[block.a + i] for block in matcher.get_matching_blocks()
              for i in range(block.size)]
    edits, elsewhere = [], []
    before = None
    for name in [*common, None]:
        # What stands between two definitions that both files have.
        gaps = []
        for lines, defined in (old, olds), (new, news):
            start = defined[before][1] if before else 0
            end = defined[name][0] if name else len(lines)
            own = [each for each, (first, _) in defined.items() if start <= first < end]
            gaps.append((start, end, own))
        (start, end, gone), (new_start, new_end, come) = gaps
        for each in gone:
            edits.append(('without', each, []))
        added = []
        for each in come:
            added += [''] * (added != []) + new[slice(*news[each])]
        # Between two functions all that comes is theirs.
        if not ''.join(old[n] for n in range(start, end)
                       if not any(olds[each][0] <= n < olds[each][1] for each in gone)):
            added = new[new_start:new_end]
            new_start = new_end
        if ''.join(added):
            added = trimmed(added)
            edits.append(('after', before, added) if before else ('before', name, added))
        # The rest of the gap, in pieces that the definitions which go leave.
        rest_old, rest_new = (
            [n for n in range(first, last)
             if not any(defined[each][0] <= n <= defined[each][1] for each in own)]
            for defined, (first, last, own) in
            ((olds, gaps[0]), (news, (new_start, new_end, come))))
        old_text, new_text = [old[n] for n in rest_old], [new[n] for n in rest_new]
        for a, b, c, d in differences(old_text, new_text):
            spot = (rest_old[a], rest_old[b - 1] + 1) if a < b else \
                ((rest_old[a], ) * 2 if a < len(rest_old) else (end, end))
            bounds = [start, end]
            for each in gone:
                if olds[each][1] < spot[0]:
                    bounds[0] = max(bounds[0], olds[each][1])
                elif olds[each][0] >= spot[1]:
                    bounds[1] = min(bounds[1], olds[each][0])
            if ''.join(old_text[a:b] + new_text[c:d]).strip():
                elsewhere.append((tuple(bounds), spot, new_text[c:d]))
        if name:
            was, now = old[slice(*olds[name])], new[slice(*news[name])]
            if was != now:
                same = difflib.SequenceMatcher(None, was, now, autojunk=False).ratio()
                if same < 0.6:
                    edits.append(('instead of', name, now))
                else:
                    edits.append(('in', name, hunks_for(old, olds[name], now, olds[name])))
        before = name
    body = []
    for bounds, spot, text in elsewhere:
        body += ['...'] * (body != []) + hunk_for(old, bounds, spot, text, (0, len(old)))[2]
    if body:
        edits.insert(0, ('in', 'the file', body))
    return edits


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def main(command, first, second):
    if command == 'apply':
        misfits = []
        lines = apply(read(first).split('\n'), parse(read(second)), misfits)
        sys.stdout.write('\n'.join(lines))
        if misfits:
            raise Misfit('\nedits.py: '.join(misfits))
        return
    old, new = read(first).split('\n'), read(second).split('\n')
    edits = make(old, new)
    for what, name, text in edits:
        print(f'{what} {name}:')
        print('\n'.join(text) + '\n' if text else '')
    made = apply(old, edits)
    if [line for line in made if line] != [line for line in new if line]:
        raise Misfit('this does not make quite the same file: mend it by hand')


if __name__ == '__main__':
    try:
        main(*sys.argv[1:])
    except Misfit as why:
        sys.exit(f'edits.py: {why}')
