"""Ends of mail data that are none, what a sender would hide behind them, and a
judge, for smuggling.bats. The program on standard input may use all of this."""
import itertools, os, re
from pieces import codes, envelope, message, pour, run, same, stored

# What has been found to work on one server or another, and its like.
known = [tuple(eval('b"%s"' % part) for part in end.split('.', 1)) for end in r"""
    \n.\n \n.\r\n \r\n.\n \n.\r \r.\n \r.\r \r\n.\r \r.\r\n \n\r.\n\r \r\n.\n\r
    \r\n.\r\r\n \r\r\n.\r\r\n \r\n\r.\r\n \r\n.\r\r \r\n\r\r\n\r.\r\n
    \n\n.\n\n \n\n.\r\n \r\n.\n\n \r\n.\n\r\n \r\n\n.\n \r\n\n.\r\n\n
    \r\n\0.\r\n \r\n.\0\r\n \r\n.\r\0\n \r\0\n.\r\n \0\r\n.\n \r\n.\0 \0.\0
    \r\n\0.\0\r\n \n\0.\n \n.\0\n \r.\0\r \r\n.\n\0 \r\n.\r\0 \r\n.\r\0\r\n
    \x0b.\x0b \x0c.\x0c \x85.\x85 \xE2\x80\xA8.\xE2\x80\xA8 \x1E.\x1E \x1A.\x1A
    \x8D\x8A.\x8D\x8A \r\n.\x8D\n \\r\\n.\\r\\n =0D=0A.=0D=0A \x04. \xFF\xF4.\xFF\xF4
    \r\n.\x20\r\n \r\n\x20.\r\n \r\n.\t\r\n \r\n\x08.\r\n \r\n.\x7F\r\n
    \r\n\xEF\xBB\xBF.\r\n \r\n\xAE\r\n. \r\n..\r\n \r\n..\n \n..\r\n \n..\n""".split()]

# Every pair of at most three octets that anyone may take for a line end.
words = [b''.join(word) for length in range(4)
         for word in itertools.product([b'\r', b'\n', b'\0'], repeat=length)]
pairs = list(itertools.product(words, words))


def attempt(end, eol=b'\r\n'):
    """A text that seems to end, commands that seem to follow, the real end."""
    lines = (b'MAIL FROM:<evil@example.org>', b'RCPT TO:<victim@localhost>',
             b'DATA', b'Subject: 99999', b'', b'evil', b'.', b'')
    return b'one' + end[0] + b'.' + end[1] + eol.join(lines)


def judge(texts, said, by_hand=False):
    """Each text has given one message, and the right one, or one refusal."""
    kept, said = stored(), iter(said)
    for number, text in enumerate(texts):
        rest = text.replace(b'\r\n', b'')
        if by_hand:
            rest = rest.replace(b'\n', b'')
        foul = any(octet in rest for octet in b'\r\n\0')
        same([next(said, None) for _ in range(4)],
             ['250 2.1.0', '250 2.1.5', '354', '554 5.6.0' if foul else '250 2.0.0'],
             'the replies to %r' % text)
        body = re.sub(rb'^\.(?!\n\Z)', b'', text.replace(b'\r\n', b'\n'), flags=re.M)
        same(kept.pop(number, None), None if foul else body[:-2], 'what is kept of %r' % text)
    same(list(said), ['221 2.0.0'], 'the end of the session')
    same(kept, {}, 'what else is kept')
    same(os.path.exists('mail/victim'), False, 'a message smuggled in')


def play(texts, eol=b'\r\n', **environment):
    """What all of them are answered. A session ends after 1,000 refusals, so one
    gets no more than 900."""
    said = []
    for first in range(0, len(texts), 900):
        session = b'HELO me' + eol
        for number, text in enumerate(texts[first:first + 900], first):
            session += envelope('bob', eol) + message(number, text, eol)
        answers = codes(pour(session + b'QUIT' + eol, **environment))
        same(answers[:2], ['220', '250'], 'the greeting and HELO')
        if first > 0:
            same(said.pop(), '221 2.0.0', 'the end of the session before')
        said += answers[2:]
    return said


def no_end(end, eol=rb'\r\n'):
    return not re.search(eol + rb'\.' + eol, end[0] + b'.' + end[1])


if __name__ == '__main__':
    run(globals())
