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
    misfits=(
        'there is no goodbye' $'in goodbye:\n-    hello();'
        '0 times in hello' $'in hello:\n-    hello();'
        '2 times in hello' $'in hello:\n-    puts("hello");'
        '2 times in the file' $'in the file:\n-    puts("world");'
        '0 times in main' $'in main:\n+    puts("somewhere");'
        'two edits change' $'in main:\n-    hello();\nwithout main:'
        'each line begins with' $'in main:\nhello();'
        'before the first heading' $'hello();\nin main:\n-    hello();'
    )
    py "$ROOT/tests" "${misfits[@]}" <<'END'
import sys
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import edits
old = edits.read("old.c").split("\n")
for complaint, edit in zip(sys.argv[2::2], sys.argv[3::2]):
    try:
        edits.apply(old, edits.parse(edit + "\n"))
        sys.exit("taken: " + edit)
    except edits.Misfit as why:
        assert complaint in str(why), why
END
    # From the shell it is one line, and the status.
    printf '%s\n' "${misfits[1]}" >edits
    run -1 edits apply old.c edits
    [[ $output == *"edits.py: "*"${misfits[0]}"* ]]
}

@test "edits: each mutant fits, and the test that shall notice it is there" {
    "$ROOT/tests/mutants/run" --check
}

@test "edits: each solution of an exercise fits" {
    py "$ROOT/tests" "$ROOT"/tests/exercises/*/solution.txt <<'END'
import sys
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import edits
source = edits.read(sys.argv[1] + "/../smtpd.c")
for solution in sys.argv[2:]:
    print(solution)
    solved = "\n".join(edits.apply(source.split("\n"), edits.parse(edits.read(solution))))
    assert solved != source
END
}
