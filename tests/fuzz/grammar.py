"""Compare smtpd's address parser with a slow matcher made from the ABNF.

    python3 tests/fuzz/grammar.py PATH-OF-parser [COUNT]

COUNT (a million) strings are made by walking the grammar of RFC 5321 4.1.2
and 4.1.3, three of four then damaged.  The matcher is a regular expression
put together rule by rule; it knows nothing of smtpd.c.  Departures, which
are argued in smtpd.c, stand in the rules here: the underscore in domains, no
General-address-literal, 8-bit octets as letters (RFC 6531 3.3), and that "::"
may stand for one group.

Each mailbox name that comes out must be a single file name that leads nowhere
else and tells the local-part it came from.
"""
import random
import re
import subprocess
import sys
from urllib.parse import unquote_to_bytes

EIGHT = "\x80-\xff"
let_dig = f"[A-Za-z0-9{EIGHT}_]"
ldh_str = f"(?:[A-Za-z0-9{EIGHT}_-]*{let_dig})"
sub_domain = f"{let_dig}{ldh_str}?"
domain = rf"{sub_domain}(?:\.{sub_domain})*"
snum = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]{1,2})"
ipv4 = rf"{snum}(?:\.{snum}){{3}}"
hexa = "[0-9A-Fa-f]{1,4}"


def comp(most, tail=""):
    """[hex *(":" hex)] "::" [hex *(":" hex)], of most groups together."""
    forms = []
    for left in range(most + 1):
        for right in range(most + 1 - left):
            forms.append(":".join([hexa] * left) + "::" +
                         ":".join([hexa] * right + ([tail] if tail else [])))
    return "|".join(forms)


# The C library, which reads these, takes no zero before a number in IPv4.
plain_snum = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
tail = rf"{plain_snum}(?:\.{plain_snum}){{3}}"
ipv6 = (f"(?:{':'.join([hexa] * 8)}|{comp(7)}|"
        f"{':'.join([hexa] * 6)}:{tail}|{comp(5, tail)})")
literal = rf"\[(?:{ipv4}|[Ii][Pp][Vv]6:{ipv6})\]"
atext = f"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{EIGHT}-]"
dot_string = rf"{atext}+(?:\.{atext}+)*"
quoted = rf'"(?:[ !#-\[\]-~{EIGHT}]|\\[ -~])*"'
mailbox = rf"(?P<local>{dot_string}|{quoted})@(?:{domain}|{literal})"
path = re.compile(rf"<(?:@{domain}(?:,@{domain})*:)?{mailbox}>|<>")

rand = random.Random(5321)
chance = rand.random


def some(alphabet, most=4, least=1):
    return "".join(rand.choices(alphabet, k=rand.randint(least, most)))


LETTERS = "abcXYZ019-_"
ATOMS = "abcXYZ019!#$%&'*+-/=?^_`{|}~\xc3\xa9"
QUOTED = 'ab. @<>,:;()[]\t!\xc3"\\'


def a_domain():
    return ".".join(some(LETTERS) for _ in range(rand.randint(1, 3)))


def a_v4():
    return ".".join(str(rand.choice([0, 1, 9, 10, 99, 199, 255, 256, "01",
                                     "001", "0001", rand.randint(0, 300)]))
                    for _ in range(rand.choice([4, 4, 4, 4, 3, 5])))


def a_v6():
    groups = [some("0123abcdefABCDEF", rand.choice([4, 4, 5]))
              for _ in range(rand.randint(0, 9))]
    if groups and chance() < 0.3:
        groups[-1] = a_v4()
    text = ":".join(groups)
    if chance() < 0.7:
        at = rand.randint(0, len(groups))
        text = ":".join(groups[:at]) + "::" + ":".join(groups[at:])
    return text


def a_literal():
    return "[" + rand.choice([a_v4, a_v4, lambda: "IPv6:" + a_v6(),
                              lambda: "ipV6:" + a_v6(), a_v6,
                              lambda: some(LETTERS) + ":x"])() + "]"


def a_local():
    if chance() < 0.4:
        return '"' + "".join(
            "\\" + rand.choice('"\\ a.@') if chance() < 0.2 else
            rand.choice(QUOTED[:-2]) for _ in range(rand.randint(0, 6))) + '"'
    return ".".join(some(ATOMS) for _ in range(rand.randint(1, 3)))


def a_path():
    if chance() < 0.01:
        return "<>"
    route = ""
    if chance() < 0.2:
        route = ",".join("@" + a_domain()
                         for _ in range(rand.randint(1, 3))) + ":"
    where = a_literal() if chance() < 0.4 else a_domain()
    return f"<{route}{a_local()}@{where}>"


def damage(text):
    for _ in range(rand.choice([0, 1, 1, 2])):
        at = rand.randrange(len(text) + 1)
        how = chance()
        if how < 0.4:
            text = text[:at] + rand.choice('<>@,:.[]"\\- _:a1\x7f\x01\xff') + text[at:]
        elif how < 0.8:
            text = text[:at] + text[at + 1:]
        else:
            other = rand.randrange(len(text) + 1)
            text = text[:at] + text[other:]
    return text.replace("\n", "").replace("\0", "")


def expected_name(local):
    if local.startswith('"'):
        local = re.sub(r"\\(.)", r"\1", local[1:-1], flags=re.S)
    return re.sub("[A-Z]", lambda m: m[0].lower(), local).encode("latin-1")


def main():
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1000000
    wrong = good = done = 0
    while done < count:
        texts = [damage(a_path()) for _ in range(min(100000, count - done))]
        feed = "".join(f"P {t}\n" for t in texts).encode("latin-1")
        answers = subprocess.run([sys.argv[1]], input=feed, check=True,
                                 stdout=subprocess.PIPE).stdout.decode("latin-1")
        for text, answer in zip(texts, answers.splitlines(), strict=True):
            match = path.fullmatch(text)
            said, _, name = answer.partition(" ")
            ok = said == str(int(match is not None))
            if match and match["local"] and len(text) <= 256 and name != "-":
                ok = ok and re.fullmatch(r"(?!\.)[a-z0-9_+=.%A-F-]*", name) \
                    and unquote_to_bytes(name) == expected_name(match["local"])
            good += match is not None
            if not ok:
                wrong += 1
                print(f"differ: {text!r}: grammar says {match is not None}, "
                      f"smtpd says {answer!r}")
            if wrong > 20:
                sys.exit(1)
        done += len(texts)
    print(f"{count} paths, {good} of them good: {wrong} judged otherwise")
    sys.exit(wrong > 0)


main()
