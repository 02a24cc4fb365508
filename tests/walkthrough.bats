#!/usr/bin/env bats
# walkthrough.md is true: each conversation, each command with its output, each
# excerpt of smtpd.c, each function, section, test and file that it names.
# walkthrough.py says how the text is marked, and does the work.

# shellcheck disable=SC2154
load helpers

walkthrough() { "$PYTHON" -S "$ROOT/tests/book/walkthrough.py" "$@"; }

# The looking up is done once for all, and the programs are saved in toys.
setup_file() {
    cd "$BATS_FILE_TMPDIR" && mkdir toys
    (cd toys && walkthrough toys)
    walkthrough check || :
}

# What one of the checks has found to be wrong: nothing.
nothing_wrong() { # CHECK
    local wrong=$BATS_FILE_TMPDIR/$1.wrong
    [ -e "$wrong" ]
    [ ! -s "$wrong" ] || { cat "$wrong" && return 1; }
}

TOYS=${BATS_FILE_TMPDIR-}/toys

# Chapter 1 to the last in one folder, typed into plain nc: LF ends lines.
@test "walkthrough.md can be typed along from start to end" {
    walkthrough play all
}

# Each chapter alone, in a fresh folder, with CRLF, as telnet and nc -C send it.
chapter() { walkthrough play "$1" crlf; }

@test "walkthrough.md: chapter 1 by itself, with CRLF" { chapter 1; }
@test "walkthrough.md: chapter 2 by itself, with CRLF" { chapter 2; }
@test "walkthrough.md: chapter 3 by itself, with CRLF" { chapter 3; }
@test "walkthrough.md: chapter 4 by itself, with CRLF" { chapter 4; }
@test "walkthrough.md: chapter 5 by itself, with CRLF" { chapter 5; }
@test "walkthrough.md: chapter 6 by itself, with CRLF" { chapter 6; }
@test "walkthrough.md: chapter 7 by itself, with CRLF" { chapter 7; }
@test "walkthrough.md: chapter 8 by itself, with CRLF" { chapter 8; }
@test "walkthrough.md: chapter 9 by itself, with CRLF" { chapter 9; }
@test "walkthrough.md: chapter 10 by itself, with CRLF" { chapter 10; }
@test "walkthrough.md: chapter 11 by itself, with CRLF" { chapter 11; }
@test "walkthrough.md: chapter 12 by itself, with CRLF" { chapter 12; }
@test "walkthrough.md: chapter 13 by itself, with CRLF" { chapter 13; }
@test "walkthrough.md: chapter 14 by itself, with CRLF" { chapter 14; }

@test "walkthrough.md: each C excerpt stands in smtpd.c, line for line" {
    nothing_wrong excerpts
}

@test "walkthrough.md: each step of toy and client compiles without a warning" {
    local toys
    toys=("$TOYS"/toy*.c "$TOYS"/send*.c)
    [ "${#toys[@]}" -ge 7 ]
    "${CC:-cc}" -std=c99 -O2 -Wall -Wextra -Wpedantic -Werror -S "${toys[@]}"
}

@test "walkthrough.md: tests/book/toy5.c is what the toy has become" {
    diff "$ROOT/tests/book/toy5.c" "$TOYS/toy5.c"
}

# What send2 says by its exit status, of what a server has said.
sends() { # EXIT STATUS [SERVER'S OPTIONS]
    serve "${@:2}"
    run -"$1" ./send2 127.0.0.1 "$PORT" '' bob@localhost carol@example.com <letter
    end_server
}

@test "walkthrough.md: the client has 90 lines at most, and sends octet for octet" {
    mapfile -t lines <"$TOYS/send2.c"
    [ "${#lines[@]}" -le 90 ]
    "${CC:-cc}" -std=c99 -O2 -o send2 "$TOYS/send2.c"
    printf '%s\n' 'Subject: dots' '' . .. ...x 'x.' '' ' .' >letter
    printf 'no line end' >>letter
    sends 0
    look mail/bob/new/*
    echo >>letter
    diff letter <(printf %s "$rest")
    mails carol 1
    sends 75 -x 'exit 75'
    sends 77 -x 'exit 77'
    sends 77 -d localhost
    run -75 ./send2 127.0.0.1 "$PORT" '' bob@localhost <letter
    mails bob 1
}

@test "walkthrough.md: each function named exists" {
    nothing_wrong names
}

@test "walkthrough.md: each section of RFC 5321 cited exists, its title too" {
    nothing_wrong sections
}

@test "walkthrough.md: each link leads somewhere" {
    nothing_wrong links
}

@test "walkthrough.md: each chapter breaks a line that is there, and names a test" {
    "$PYTHON" "$ROOT/tests/mutants/run" --check chapter-{1..14}
}

@test "walkthrough.md: the diagram of states says what the command table says" {
    nothing_wrong diagram
}

@test "walkthrough.md: each departure marked in smtpd.c is argued, and no other" {
    nothing_wrong departures
}

@test "walkthrough.md: each chapter names an exercise that is there" {
    nothing_wrong exercises
}

@test "walkthrough.md: chapters of 500 to 900 words, blocks of 20 lines" {
    nothing_wrong sizes
}

@test "walkthrough.md: the zone file is one" {
    need named-checkzone
    walkthrough show zone >example.com.zone
    named-checkzone example.com example.com.zone
}

@test "walkthrough.md: each make target named is in the Makefile" {
    local each made wanted=()
    mapfile -t wanted < <(grep -oE '`make [a-z]+' "$ROOT/walkthrough.md")
    [ ${#wanted[@]} -gt 0 ]
    IFS= read -r -d '' made <"$ROOT/Makefile" || :
    for each in "${wanted[@]}"; do
        [[ $made == *$'\n# '"${each#* }: "* ]] || { echo "there is no $each" && return 1; }
    done
}
