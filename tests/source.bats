#!/usr/bin/env bats
# What can be read off the source: that citations are right and lead to tests,
# that replies have the right codes, that the file keeps to its own order.

load helpers

SOURCE=$ROOT/smtpd.c
TESTS=$ROOT/tests
tab=$'\t'

# smtpd.c's string literals, a line each; those written in pieces made whole.
strings() {
    py "$SOURCE" <<'END'
import re, sys
text = re.sub(r'/\*.*?\*/', '', open(sys.argv[1]).read(), flags=re.S)
text = re.sub(r'" *\n *"', '', text)
for string in re.findall(r'"((?:[^"\\\n]|\\.)*)"', text):
    print(string)
END
}

# Those that are replies.
replies() { strings | grep -E '^[2-5][0-9][0-9][ -]'; }

# The names of all tests.
names() { sed -n 's/^@test "\(.*\)" {.*/\1/p' "$TESTS"/*.bats; }

# Files with citations: the source, the tests but this one, the texts.
cited() {
    find "$SOURCE" "$TESTS" "$ROOT"/*.md -type f \
        \( -name '*.c' -o -name '*.bats' -o -name '*.bash' -o -name '*.md' \) ! -name source.bats
}

# Print the lines that match, with file and number, and fail if there are any.
none() { # REGULAR-EXPRESSION FILE...
    run -1 grep -nE -- "$@" /dev/null
}

@test "source: every section of RFC 5321 that is cited exists" {
    # RFC 5321 4.1.1, 4.1.4, 4.2: such a list is cited number by number.
    # shellcheck disable=SC2046
    grep -noE 'RFC 5321 (appendix )?[A-F0-9][0-9.]*(,? (and )?(appendix )?[A-F0-9][0-9]*(\.[0-9]+)*)*' \
        $(cited) >citations
    [ "$(wc -l <citations)" -gt 300 ]
    py "$TESTS/book/sections.tsv" <<'END'
import re, sys
known = {line.split('\t')[0] for line in open(sys.argv[1])}
assert len(known) == 142 # and one is the table's first line
wrong = 0
for line in open('citations'):
    for section in re.findall(r'(?:appendix )?\b[A-F0-9][0-9]*(?:\.[0-9]+)*(?![0-9A-Za-z])', line.split('RFC 5321 ')[1]):
        if section not in known:
            print('no such section:', section, 'in', line, end='')
            wrong = 1
sys.exit(wrong)
END
}

@test "source: a citation has one form, RFC N N.N, and stands on one line" {
    files=$(cited)
    # shellcheck disable=SC2086
    {
        none '(RFC|rfc|Rfc)[0-9-][0-9]+ |rfc [0-9]|RFC  |RFC [0-9]+[,;:.]? *(§|[Ss]ec)' $files
        none '§|[Ss]ections? [0-9]|[Ss]ec\. ?[0-9]|RFC [0-9]+ Appendix' $files
        none 'RFC [0-9]+ [A-F](\.[0-9]|[ :),]|$)|RFC [0-9]+\.[0-9]' $files
        # So that grep 'RFC 5321 4.1.4' finds it. An RFC as a whole may be cut.
        awk '{ line = $0; sub(/^[ #*]*/, "", line) }
            before ~ /RFC$/ && line ~ /^[0-9]+ (appendix|[0-9]+(\.[0-9]|[ :;,)]))/ ||
            before ~ /RFC [0-9]+( appendix)?$/ && line ~ /^(appendix|[0-9]+\.[0-9]|[A-F]\.[0-9])/ {
                print FILENAME ": " FNR ": " before " / " line; bad = 1 }
            { before = $0 }
            END { exit bad }' $files
    }
}

@test "source: outside banners each section follows its RFC" {
    # A banner's first line may list several, and so may nothing else: "7.5"
    # on its own is not found by who looks for RFC 5321 7.5.
    py "$SOURCE" "$TESTS/book/sections.tsv" <<'END'
import re, sys
known = {line.split('\t')[0] for line in open(sys.argv[2])}
wrong = 0
for number, line in enumerate(open(sys.argv[1]), 1):
    if re.match(r' \* [0-9]+\. ', line) or not re.search(r'/\*|^ *\* ', line):
        continue
    line = re.sub(r'RFC [0-9]+ [0-9.]*[0-9]', '', line)
    for section in re.findall(r'(?<![\w.%:"-])[1-9]\.[0-9]+(?:\.[0-9]+)*(?![\w.%])', line):
        if section in known:
            print('line %d: %s of which RFC?' % (number, section))
            wrong = 1
sys.exit(wrong)
END
}

@test "source: every section that a client is sent has a test named after it" {
    strings | grep -oE 'RFC [0-9]+ (appendix )?[A-F0-9]+(\.[0-9]+)*' | sort -u >sections
    [ "$(wc -l <sections)" -gt 30 ]
    names >tests
    awk 'FNR == NR { sub(/: .*/, ""); named[$0]; next }
        !($0 in named) { print "no test is named after " $0 }' tests sections >missing
    [ ! -s missing ] || { cat missing && false; }
}

@test "source: every test named after a section of RFC 5321 names one that exists" {
    names | grep '^RFC' >tests
    [ "$(wc -l <tests)" -gt 100 ]
    none '^RFC ([^0-9]|[0-9]+ ([^0-9a]|[^:]*$)|[0-9]+:)' tests
    awk -F '\t' 'FNR == NR { known[$1]; next }
        sub(/^RFC 5321 /, "") { sub(/: .*/, ""); if (!($0 in known)) print }' \
        "$TESTS/book/sections.tsv" tests >wrong
    [ ! -s wrong ] || { cat wrong && false; }
}

@test "source: every reply has an enhanced code of its class, or is one that has none" {
    replies >literals
    [ "$(wc -l <literals)" -gt 50 ]
    # RFC 4954 4: what follows a 334 is for a program. turn_away() is given its code.
    none '^([^24523]|2..[ -][^2]|4..[ -][^4]|5..[ -][^5])' <(grep -vE -e '^(220 %s |354 )' \
        -e '^250[ -](%s |SIZE |8BITMIME$|PIPELINING$|ENHANCEDSTATUSCODES$|SMTPUTF8$|HELP$)' \
        -e '^250-AUTH PLAIN LOGIN$|^334 [A-Za-z0-9+/=]*$|^421 %s %s %s$' literals)
    none '^[245]..[ -][245](\.[0-9]*)?( |$)' literals
    strings | grep -E '^[245]\.[0-9]+\.[0-9]+$' >given
    [ "$(wc -l <given)" -eq 2 ]
    none '^[^4]' given
}

@test "source: every refusal says where it is written" {
    # And so does what turn_away() is given to say.
    { replies | grep -E '^[45]' | grep -vx '421 %s %s %s'
        strings | grep -E '^(Too many sessions|No room)'; } >refusals
    [ "$(wc -l <refusals)" -gt 40 ]
    [ "$(grep -c '^[A-Z]' refusals)" -eq 3 ]
    run -1 grep -vE '\((RFC [0-9]+ (appendix )?[A-F0-9]+(\.[0-9]+)*|%s)\)(\\r\\n)?$' refusals
}

@test "source: 221 and 421 have our name after the code" {
    replies | grep -E '^(221|421)' >closing
    [ "$(wc -l <closing)" -ge 5 ]
    run -1 grep -vE '^(221|421) ([24]\.[0-9]\.[0-9]|%s) %s ' closing
    [ "$(grep -c '^421 %s' closing)" -eq 1 ]
    grep -q '"421 %s %s %s", code, options\.name, why)' "$SOURCE"
}

@test "source: every reply is expected by some test" {
    cat "$TESTS"/*.bats >tests
    # Code and enhanced code; or, where there is none, code and keyword.
    replies | sed -nE 's/^([2-5]..)[ -]([245]\.[0-9]+\.[0-9]+|SIZE|8BITMIME|PIPELINING|ENHANCEDSTATUSCODES|SMTPUTF8|HELP).*/\1.\2/p
        s/^([2-5]..)[ -](%s|Start).*/\1 /p' | sort -u >codes
    [ "$(wc -l <codes)" -gt 30 ]
    # The tests are read once for all codes; one that was found is looked for no more.
    awk '
        FNR == NR {
            n = split($1, part, ".")
            code = part[1]
            for (i = 2; i <= n; i++) code = code "[\\\\]?[. -]" part[i]
            wanted[code] = $1
            next
        }
        { for (code in wanted) if ($0 ~ wanted[code]) delete wanted[code] }
        END { for (code in wanted) print "no test expects " code }' codes tests >missing
    [ ! -s missing ] || { cat missing && false; }
}

@test "source: HELP names the section that is about the verb" {
    [ "$(printf 'HELP AUTH\r\n' | talk -a | tail -n 1)" = \
        $'214 2.0.0 It is described in RFC 4954 4\r' ]
    local titles
    IFS= read -r -d '' titles <"$TESTS/book/sections.tsv" || :
    for verb in EHLO HELO MAIL RCPT DATA RSET VRFY HELP NOOP QUIT; do
        ask "HELP $verb"
        # shellcheck disable=SC2154
        title=${titles#*$'\n'"${last##*RFC 5321 }$tab"}
        [[ ${title%%$'\n'*} == *"$verb"* ]]
    done
}

@test "source: the contents list at the top is the parts that there are" {
    sed -nE 's/^ \*  +([0-9]+\. .*[^ ])  +.*/\1/p; s/^ \*  +([0-9]+\. [A-Za-z]+( [A-Za-z]+)*)$/\1/p' "$SOURCE" >contents
    sed -nE '/^\/\* -----/ { n; s/^ \* ([0-9]+\. .*)/\1/; s/  +RFC.*//; p; }' "$SOURCE" >banners
    [ "$(wc -l <banners)" -ge 10 ]
    diff contents banners
    # Numbered from 1, none left out.
    [ "$(sed 's/\..*//' banners | xargs)" = "$(seq "$(wc -l <banners)" | xargs)" ]
}

@test "source: no line of smtpd.c is longer than 100 columns" {
    none '.{101}' "$SOURCE"
    none "$(printf '\t')| \$" "$SOURCE"
}

@test "source: no function is longer than 40 lines" {
    awk '/^[a-zA-Z_].*\(/ && !/;$/ { start = NR; name = $0 }
        /^}$/ { count++; if (NR - start + 1 > 40) { print NR - start + 1 ": " name; bad = 1 } }
        END { exit bad || count < 100 }' "$SOURCE"
}

@test "source: no test has a ! which bats does not heed" {
    # set -e passes over what begins so: it can't fail but at a test's end.
    # shellcheck disable=SC2046
    none '^ +! ' $(find "$TESTS" -name '*.bats')
}

@test "source: no test joins two checks with && so that the first is not heeded" {
    # set -e passes over all of a && b but b. Conditions, and what || follows, may have it.
    # shellcheck disable=SC2046
    awk '/^ *(if|elif|while|until) / || /\|\|/ { next }
        /\] +&&( |$)/ || /&& +\[/ { print FILENAME ": " $0; bad = 1 }
        END { exit bad }' $(find "$TESTS" -name '*.bats')
}

@test "source: where grep must find nothing, that is not mixed up with its failing" {
    # run ! takes status 2 too: a file that is not there, or no such command.
    # shellcheck disable=SC2046
    none 'run !( [A-Z_]+=| .*grep)|run (! |-[0-9]+ )?[A-Z_]+=' $(find "$TESTS" -name '*.bats')
}

@test "source: no here-document of Python is longer than 15 lines" {
    # What is longer is a file of its own, which pyflakes3 reads.
    # shellcheck disable=SC2046
    awk 'FNR == 1 { end = "" }
        end == "" && match($0, /[^<]<<-?[^<]?[A-Z]+/) {
            end = substr($0, RSTART, RLENGTH)
            gsub(/[^A-Z]/, "", end)
            lines = python = 0
            next
        }
        end != "" && $0 == end {
            if (python && lines > 15) { print FILENAME ": " FNR ": " lines " lines"; bad = 1 }
            count += python
            end = ""
            next
        }
        { lines++ }
        /^(import|from|def|class) / || /^(for|while|if|with) .*:( *#.*)?$/ || /^[a-z_][a-z_, ]* = .*[^;]$/ {
            python = 1
            if (end == "") { print FILENAME ": " FNR ": no here-document"; bad = 1 }
        }
        END { exit bad || count < 50 }' $(find "$TESTS" -name '*.bats')
}
