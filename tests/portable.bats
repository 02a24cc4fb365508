#!/usr/bin/env bats
# What smtpd.c asks of the system that it is built on.

load helpers

# Every name that the object file leaves open must be in symbols.txt.
only_known_symbols() { # CFLAGS...
    "${CC:-cc}" -std=c99 "$@" -c -o smtpd.o "$ROOT/smtpd.c"
    nm -u smtpd.o | awk '{ print $NF }' | sort -u >undefined
    [ "$(wc -l <undefined)" -gt 80 ] # nm has understood us
    sed -e '/^#/d' -e '/^$/d' -e 's/ .*//' -e 's/\*/.*/' "$ROOT/tests/portable/symbols.txt" >known
    run -1 grep -vxf known undefined
    [ -z "$output" ]
}

@test "portable: no symbol is undefined but POSIX.1-2008's, and a few with a reason" {
    need "${CC:-cc}" nm
    [ "$(uname)" = Linux ] || skip "names look different in this system's objects"
    only_known_symbols -O0
    only_known_symbols -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
}
