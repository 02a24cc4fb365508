#!/usr/bin/env bats
# edits.py changes smtpd.c for the mutants and for the exercises' solutions. An
# edit that has come to mean another place must be noticed.
load helpers

edits() { "$PYTHON" "$ROOT/tests/edits.py" "$@"; }

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    cat >old.c <<'END'
#include <stdio.h>

static void hello(void);        /* it stands below */
struct pair {
    int a, b;
};

/* Says hello. */
static void hello(void)
{
    puts("hello");
    puts("hello");
    puts("world");
}

int main(void)
{
    hello();
    puts("world");
}
END
}

@test "edits: what an edit says is done, and undone by edits made from the two files" {
    cat >edits <<'END'
in the file:
+#include <stdlib.h>
 #include <stdio.h>
in main:
-puts("world");
+    puts("you");
in struct pair:
     int a, b;
+    int c;
instead of hello:
/* Says it once. */
static void hello(void)
{
    puts("hello");
}

before main:
static int one = 1;
after main:
static int two = 2;
END
    edits apply old.c edits >new.c
    diff - new.c <<'END'
#include <stdlib.h>
#include <stdio.h>

static void hello(void);        /* it stands below */
struct pair {
    int a, b;
    int c;
};

/* Says it once. */
static void hello(void)
{
    puts("hello");
}

static int one = 1;

int main(void)
{
    hello();
    puts("you");
}

static int two = 2;
END
    edits make new.c old.c >back
    edits apply new.c back | diff - old.c
}

@test "edits: one that does not fit exactly once, and there, is refused" {
    misfit() { # COMPLAINT EDIT
        printf '%s\n' "${@:2}" >edits
        run edits apply old.c edits
        [ "$status" -eq 1 ] || { echo "taken: $2" && return 1; }
        [[ $output = *"$1"* ]] || { echo "said: $output" && return 1; }
    }
    misfit 'there is no goodbye' 'in goodbye:' '-    hello();'
    misfit '0 times in hello' 'in hello:' '-    hello();'
    misfit '2 times in hello' 'in hello:' '-    puts("hello");'
    misfit '2 times in the file' 'in the file:' '-    puts("world");'
    misfit '0 times in main' 'in main:' '+    puts("somewhere");'
    misfit 'two edits change' 'in main:' '-    hello();' 'without main:'
    misfit 'each line begins with' 'in main:' 'hello();'
    misfit 'before the first heading' 'hello();' 'in main:' '-    hello();'
}

@test "edits: each mutant fits, and the test that shall notice it is there" {
    "$ROOT/tests/mutants/run" --check
}

@test "edits: each solution of an exercise fits" {
    for solution in "$ROOT"/tests/exercises/*/solution.txt; do
        edits apply "$ROOT/smtpd.c" "$solution" >solved.c
        run ! diff -q "$ROOT/smtpd.c" solved.c
    done
}
