#!/usr/bin/env bats
# rfc5321.tsv says of every requirement of RFC 5321 on a server like this which
# test shows it, or why none does. The appendices of walkthrough.md are made from
# it and from the tables in book/.
load helpers

# A Python program that has the table: rows of number, level, words, shown.
table() {
    {
        cat <<'END'
import collections, glob, os, re, sys
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

# How many requirements of a server there are in each section, and at each level:
# so none can be dropped, or made a weaker one, without a word here.
counts='
2.1:2 2.2.1:3 2.2.2:4 2.3.4:1 2.3.5:3 2.3.6:1 2.3.7:1 2.3.8:2 2.3.11:1 2.4:15 3.1:2 3.2:1 3.3:25
3.5.1:5 3.5.2:2 3.5.3:6 3.6.1:2 3.6.2:1 3.6.3:1 3.7.2:2 3.8:5 4.1.1:8 4.1.1.1:14 4.1.1.2:3
4.1.1.3:7 4.1.1.4:14 4.1.1.5:8 4.1.1.6:3 4.1.1.7:1 4.1.1.8:4 4.1.1.9:4 4.1.1.10:7 4.1.1.11:3
4.1.2:36 4.1.3:14 4.1.4:12 4.1.5:2 4.2:14 4.2.1:20 4.2.2:22 4.2.3:1 4.2.4:3 4.2.5:3 4.3.1:5
4.3.2:27 4.4:40 4.5.1:15 4.5.2:4 4.5.3.1:3 4.5.3.1.1:1 4.5.3.1.2:1 4.5.3.1.3:1 4.5.3.1.4:1
4.5.3.1.5:1 4.5.3.1.6:1 4.5.3.1.7:3 4.5.3.1.8:5 4.5.3.1.10:3 4.5.3.2.7:1 4.5.4.2:3 6.1:3 6.2:3
6.3:2 7.1:1 7.2:3 7.3:5 7.5:2 7.6:2 7.9:2 A:1 C:2 F:1 F.1:1 F.2:1 F.3:1 F.4:1 F.5:2 F.6:1
MUST:182 MUST_NOT:47 SHOULD:86 SHOULD_NOT:16 GRAMMAR:100 LIMIT:6'
export counts

@test "requirements: the table has each number once, and as many as there are" {
    table <<'END'
have, seen = collections.Counter(), collections.Counter()
for number, level, *_ in rows:
    seen[number] += 1
    have[number.rsplit("-", 1)[0]] += 1
    have[level.replace(" ", "_")] += 1
    if not re.fullmatch(r"([1-7]|[A-F])(\.\d+)*-\d+", number):
        faults.append(f"no number: {number}")
faults += [f"twice in the table: {number}" for number in seen if seen[number] > 1]
want = {word.split(":")[0]: int(word.split(":")[1]) for word in os.environ["counts"].split()}
faults += [f"{word}: {have[word]} requirements, not {want.get(word, 0)}"
           for word in {*have, *want} if have[word] != want.get(word, 0)]
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
if len(departs) > 18:
    faults.append(f"{len(departs)} are: " + " ".join(departs))
END
}

@test "requirements: the appendices of walkthrough.md are what tests/book/appendix makes" {
    "$PYTHON" -I "$ROOT/tests/book/appendix"
}
