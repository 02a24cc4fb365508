#!/usr/bin/env bats
# rfc5321.tsv says of every requirement of RFC 5321 on a server like this which
# test shows it, or why none does; rfc5321-ids.txt is the list of them, a number
# and a level a line. The appendices of walkthrough.md are made from such tables.
load helpers

# A Python program that has the table: rows of number, level, words, shown.
table() {
    {
        cat <<'END'
import glob, os, re, sys
tests = sys.argv[1]
def read(name):
    with open(os.path.join(tests, name), encoding="utf-8") as file:
        return file.read()
rows = [line.split("\t") for line in read("rfc5321.tsv").splitlines()[1:]]
faults = []
END
        cat
        printf '%s\n' 'sys.exit("\n".join(faults) or 0)'
    } | py "$ROOT/tests"
}

@test "requirements: the table has each number of the list once, with its level" {
    table <<'END'
want = read("rfc5321-ids.txt").splitlines()
assert len(want) > 400
for number in {line.split(" ", 1)[0] for line in want}:
    if sum(line.startswith(number + " ") for line in want) != 1:
        faults.append(f"{number} is listed twice")
have = [" ".join(row[:2]) for row in rows]
faults += [f"not in the table: {line}" for line in want if line not in have]
faults += [f"not in the list: {line}" for line in have if line not in want]
faults += [f"twice in the table: {line}" for line in set(have) if have.count(line) > 1]
for line in want:
    if not re.fullmatch(r"([1-7]|[A-F])(\.\d+)*-\d+ (MUST|SHOULD|MUST NOT|SHOULD NOT|GRAMMAR|LIMIT)", line):
        faults.append(f"no number and level: {line}")
END
}

@test "requirements: each has a few words, and a test or a reason" {
    table <<'END'
for row in rows:
    if len(row) != 4 or not row[2].strip() or len(row[2].split()) > 15:
        faults.append(f"not four fields, or not a few words: {row}")
        continue
    first, *more = row[3].split(" | ")
    if not re.fullmatch(r"(departs|not ours): \S.{15,}|\S+\.bats: \S.*", first):
        faults.append(f"{row[0]}: neither a test nor a reason: {first}")
    for part in more:
        if not re.match(r"\S+\.bats: ", part):
            faults.append(f"{row[0]}: no test: {part}")
END
}

@test "requirements: each test that is named is there" {
    table <<'END'
names = {os.path.basename(path): re.findall(r'^@test "(.*)" \{', read(path), re.M)
         for path in glob.glob(tests + "/*.bats")}
seen = 0
for row in rows:
    for part in row[3].split(" | "):
        file, name = re.match(r"(\S+\.bats): (.*)|", part).groups()
        seen += file is not None
        if file and name not in names.get(file, ()):
            faults.append(f"{row[0]}: {file} has no test {name}")
assert seen > 400
END
}

@test "requirements: few are departed from" {
    table <<'END'
departs = [row[0] for row in rows if row[3].startswith("departs: ")]
if len(departs) > 13:
    faults.append(f"{len(departs)} are: " + " ".join(departs))
END
}

@test "requirements: the appendices of walkthrough.md are what tests/book/appendix makes" {
    "$PYTHON" -I "$ROOT/tests/book/appendix"
}
