# smtpd is one C file; this builds and tests it with any POSIX make.
# `make help` lists what can be made. CC, CFLAGS, LDFLAGS, PREFIX, DESTDIR and
# TESTS can be set on the command line: make CC=clang CFLAGS='-O2 -Werror'

CC = cc
CFLAGS = -O2
LDFLAGS =
PREFIX = /usr/local

C99 = -std=c99 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes

# These make an attack on a fault of ours harder. Each is used where the
# compiler, with the CFLAGS given, takes it without a warning.
HARDENING = -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE -pie \
	-fstack-clash-protection -fcf-protection -Wl,-z,relro -Wl,-z,now

# all: build ./smtpd
all: smtpd

smtpd: smtpd.c
	@printf '#include <stdio.h>\nint main(void) { return 0; }\n' >smtpd-probe.c; \
	set --; \
	for flag in $(HARDENING); do \
		if $(CC) $(CFLAGS) -Werror $$* $$flag -o smtpd-probe smtpd-probe.c \
			$(LDFLAGS) >smtpd-probe.log 2>&1; then set -- $$* $$flag; fi; \
	done; \
	rm -f smtpd-probe smtpd-probe.c smtpd-probe.log; \
	set -- $(CC) $(C99) $(CFLAGS) $$* -o smtpd smtpd.c $(LDFLAGS); \
	echo "$$*"; "$$@"

# run: serve on port 2525, show the dialogue, keep the mail under ./mail
run: smtpd
	@echo 'Now, in a second terminal: nc 127.0.0.1 2525, then HELP. The mail: ./mail'
	@./smtpd -v

# test: install what the tests need, where it may, then run them all
test: smtpd
	@SMTPD=smtpd TESTS="$(TESTS)" tests/run

# check: run the tests under ASan and UBSan, then cppcheck and clang-tidy
check: smtpd-check
	@SMTPD=smtpd-check TESTS="$(TESTS)" tests/run
	@if ! command -v cppcheck >/dev/null; then echo 'cppcheck is not installed'; \
	else set -x; cppcheck --enable=warning,style,performance,portability \
		--std=c99 --inline-suppr --quiet --error-exitcode=1 smtpd.c; fi
	@if ! command -v clang-tidy >/dev/null; then echo 'clang-tidy is not installed'; \
	else set -x; clang-tidy --quiet smtpd.c -- $(C99); fi

# With PATTERN, what is read before it was written is no lucky zero.
PATTERN = -ftrivial-auto-var-init=pattern
smtpd-check: smtpd.c
	@set -- -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all; \
	if $(CC) -Werror $(PATTERN) -fsyntax-only smtpd.c 2>/dev/null; then \
		set -- "$$@" $(PATTERN); fi; \
	set -- $(CC) $(C99) $(CFLAGS) "$$@" -o smtpd-check smtpd.c $(LDFLAGS); \
	echo "$$*"; "$$@"

# What follows runs tests/TARGET/run, whatever the target:
#
# exercises: list the exercises; with NAME=... test how far one has come
# mutants: break a copy of the server in many ways; does a test notice each?
# fuzz: throw at the server what no client would send, SECONDS (60) long
# faults: fail each system call in its turn, and die at each (needs strace)
# stress: a thousand sessions, floods, slow clients, 25 MB messages
# prove: have Frama-C look for possible run-time errors in what reads input
# portable: build with each compiler there is, for other machines too
# coverage: say which lines of smtpd.c the tests run (needs clang)
# bench: measure speed and memory beside a bare server's
NAME =
SECONDS =
exercises mutants fuzz faults stress prove portable coverage bench: smtpd
	@tests/$@/run $(NAME) $(SECONDS)

MAN = $(DESTDIR)$(PREFIX)/share/man/man8

# install: put smtpd into $(DESTDIR)$(PREFIX)/bin, and its manual page
install: smtpd
	mkdir -p '$(DESTDIR)$(PREFIX)/bin' '$(MAN)'
	install -m 755 smtpd '$(DESTDIR)$(PREFIX)/bin/smtpd'
	tests/book/manpage >'$(MAN)/smtpd.8'
	chmod 644 '$(MAN)/smtpd.8'

# clean: remove what was built; the mail stays
clean:
	rm -f smtpd smtpd-check smtpd-probe*

# help: this list
help:
	@sed -n 's/^# \([a-z]*\): /make \1:  /p' Makefile

.PHONY: all run test check exercises mutants fuzz faults stress prove portable \
	coverage bench install clean help
