/* session - whole sessions of smtpd under libFuzzer, with oracles.
 *
 * smtpd.c is compiled in, its system calls replaced: input comes from the
 * fuzzer, output and files go to memory.  An input is played twice, once in
 * one packet and once cut up, and this must hold:
 *
 *   - the replies and the stored messages are the same, however it is cut
 *   - each reply line has a code, is ASCII, and is at most 512 octets long
 *   - each command gets one reply, and a 334 or 354 before it asks for more
 *   - after the replies that close the session nothing more is said
 *   - no path that is opened, made, moved or linked leaves the mail directory
 *   - what is stored is what a ten-line reference makes of the mail data
 *   - -x's command is run as the contract says, and its exit status is obeyed
 *   - "hunter2", the password, is not in the log where it was said at AUTH
 *
 * The first octet of the input is not the client's: its bits set options, tell
 * how to cut, how -x's command ends, and whether the session begins in DATA,
 * where the reference can follow it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

enum { MAIL_FILE = 1000, ROOM = 1 << 20 };

/* One playing of an input: what went in and what came out. */
struct run {
    const uint8_t *input;
    size_t size, at;
    unsigned cut;                       /* 0: in one piece */
    size_t out_length, mail_length, log_length;
    char out[ROOM], mail[ROOM], log[ROOM];
};

static struct run runs[2], *run;
static jmp_buf over, forked;
static int hook_status;                 /* what -x's command exits with */

static void check(int holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "oracle: %s\n", what);
    abort();
}

static void check_path(const char *path)
{
    check(path[0] != '/', path);
    check(path[0] != '.' || path[1] == '\0', path);
    check(strstr(path, "/.") == NULL, path);    /* no ".." but within a name */
}

static ssize_t fake_read(int fd, void *to, size_t room)
{
    size_t left = run->size - run->at, part = left < room ? left : room;

    check(fd == STDIN_FILENO && room > 0, "read from elsewhere");
    if (run->cut != 0) {
        run->cut = run->cut * 1103515245u + 12345u;
        if (part > 1 + (run->cut >> 16) % 7 && (run->cut >> 24) % 4)
            part = 1 + (run->cut >> 16) % 7;
    }
    memcpy(to, run->input + run->at, part);
    run->at += part;
    return (ssize_t)part;
}

static ssize_t fake_write(int fd, const void *from, size_t length)
{
    if (fd == STDOUT_FILENO) {
        check(run->out_length + length < ROOM, "too much output");
        memcpy(run->out + run->out_length, from, length);
        run->out_length += length;
    } else if (fd == MAIL_FILE) {
        check(run->mail_length + length < ROOM, "too much mail");
        memcpy(run->mail + run->mail_length, from, length);
        run->mail_length += length;
    } else {
        check(fd == STDERR_FILENO, "written elsewhere");
        check(run->log_length + length < ROOM, "too much log");
        memcpy(run->log + run->log_length, from, length);
        run->log_length += length;
        check(((const char *)from)[length - 1] == '\n', "half a line of the log");
        for (size_t i = 0; i < length - 1; i++)
            check(((const char *)from)[i] >= ' ' && ((const char *)from)[i] < 127,
                  "the log is not ASCII");
    }
    return (ssize_t)length;
}

static int fake_open(const char *path, int flags, ...)
{
    check_path(path);
    return flags & O_CREAT ? MAIL_FILE : MAIL_FILE + 1;
}

static int fake_path(const char *path) { check_path(path); return 0; }
static int fake_paths(const char *a, const char *b)
{
    check_path(a);
    check_path(b);
    return 0;
}

static int fake_stat(const char *path, struct stat *st)
{
    check_path(path);
    st->st_mode = S_IFDIR;
    return 0;
}

/* What becomes of the child that is to run -x's command: it comes to this, and
 * then run_hook() goes on as the parent. */
static int fake_exec(const char *path, char *const *argv)
{
    check(strcmp(path, "/bin/sh") == 0 && strcmp(argv[0], "sh") == 0 &&
          strcmp(argv[1], "-c") == 0 && strcmp(argv[2], "cat >/dev/null") == 0 &&
          strcmp(argv[3], "smtpd") == 0 && argv[4] != NULL, "the hook's command");
    for (int i = 4; argv[i] != NULL; i++) {
        check(i < 4 + 100, "the hook's recipients");
        for (int j = 4; j < i; j++)
            check(strcmp(argv[i], argv[j]) != 0, "one path, twice for the hook");
    }
    check(getenv("SENDER") && getenv("HELO") && getenv("MESSAGE") &&
          getenv("SESSION") && !getenv("TCPREMOTEIP"), "the hook's environment");
    longjmp(forked, 1);
}

static pid_t fake_wait(int *status)
{
    *status = hook_status << 8;         /* as wait() has it */
    return 4711;
}

static int fake_clock(clockid_t id, struct timespec *t)
{
    (void)id;
    t->tv_sec = 1000000;
    t->tv_nsec = 0;
    return 0;
}

static __attribute__((noreturn)) void fake_exit(int status)
{
    (void)status;
    longjmp(over, 1);
}

#define main smtpd_main
#define read fake_read
#define write fake_write
#define open fake_open
#define close(fd) ((void)(fd), 0)
#define fsync(fd) ((void)(fd), 0)
#define mkdir(path, mode) fake_path(path)
#define unlink fake_path
#define link fake_paths
#define rename fake_paths
#define stat(path, st) fake_stat(path, st)
#define clock_gettime fake_clock
#define getpid() 42
#define time(p) ((time_t)1000000)
#define alarm(seconds) ((void)(seconds), 0u)
#define shutdown(fd, how) (-1)
#define fork() (setjmp(forked) == 0 ? 0 : 4711)
#define waitpid(pid, status, how) ((void)(pid), (void)(how), fake_wait(status))
#define setpgid(pid, group) ((void)(pid), 0)
#define kill(pid, signal) ((void)(pid), 0)
#define dup2(from, to) ((void)(from), (to))
#define sigaction(number, new, old) ((void)(new), 0)
#define execv fake_exec
#define _exit fake_exit
/* setjmp() in fork(): clang keeps a variable that does not change after it. */
#undef _DEFAULT_SOURCE
#include "../../smtpd.c"
#undef main
#undef read
#undef write
#undef _exit
#undef sigaction

static int final_replies(const char *text, size_t length)
{
    int count = 0;

    for (size_t start = 0, i = 0; i < length; i++) {
        if (text[i] != '\n')
            continue;
        check(i > start + 4 && text[i - 1] == '\r', "a reply without CRLF");
        check(i - start + 1 <= 512, "a reply over 512 octets");
        check(text[start] >= '2' && text[start] <= '5' &&
              is_digit(text[start + 1]) && is_digit(text[start + 2]), "no code");
        check(text[start + 3] == ' ' || text[start + 3] == '-', "no separator");
        for (size_t j = start; j < i - 1; j++)
            check(text[j] >= ' ' && text[j] < 127, "a reply is not ASCII");
        count += text[start + 3] == ' ' && text[start] != '3';
        start = i + 1;
    }
    check(length == 0 || text[length - 1] == '\n', "half a reply");
    return count;
}

/* What DATA means, octet by octet: RFC 5321 4.5.2, and nothing else.  Returns
 * the length of what is to be stored, or -1 if it must be refused. */
static long reference(const uint8_t *p, size_t n, bool lf, char *to)
{
    long length = 0;
    bool start = true, bad = false;

    for (size_t i = 0; i < n; i++) {
        bool crlf = p[i] == '\r' && i + 1 < n && p[i + 1] == '\n';

        if (start && p[i] == '.') {
            if (i + 2 < n && p[i + 1] == '\r' && p[i + 2] == '\n')
                return bad ? -1 : length;
            if (lf && i + 1 < n && p[i + 1] == '\n')
                return bad ? -1 : length;
            start = false;
            continue;
        }
        start = crlf || (lf && p[i] == '\n');
        i += crlf;
        bad = bad || (!start && (p[i] == '\r' || p[i] == '\n' || !p[i]));
        to[length++] = start ? '\n' : (char)p[i];
    }
    return -2;                          /* the end has not come */
}

/* After these the session is over. */
static void check_last_words(void)
{
    static const char *const last[] = {
        "\n221 ", "\n421 ", "\n500 5.5.2 A bare LF", "\n502 5.5.1 This is SMTP",
    };

    for (size_t i = 0; i < sizeof last / sizeof *last; i++) {
        const char *line = strstr(run->out, last[i]);

        check(line == NULL || strchr(line + 1, '\n')[1] == '\0', "no last words");
    }
}

/* A password was said between these two places of the input, if the first line
 * there is AUTH, or would be but for what stands before it in its first word.
 * Then what was logged meanwhile, from this place on, does not have it. */
static void check_secret(size_t from, size_t to, size_t logged)
{
    const char *p = (const char *)run->input + from, *end = p + (to - from);

    run->log[run->log_length] = '\0';
    if (strstr(run->log + logged, "hunter2") == NULL)
        return;
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    if (end - p > 1000)         /* a line so long is not shown to its end */
        end = p + 1000;
    for (; end - p >= 4 && *p != ' ' && *p != '\n'; p++)
        check(strncasecmp(p, "AUTH", 4) != 0, "a password is in the log");
}

/* How much of the input has been used: the rest is still in the buffer. */
static size_t used(const struct session *s)
{
    return run->at - (s->in_end - s->in_start);
}

/* The session, as serve() has it.  In DATA mode the commands before it have
 * been said, and the header section is over. */
static void play(struct session *s, bool data, bool lf)
{
    static size_t from, logged;         /* what longjmp() must not change */

    memset(s, 0, sizeof *s);
    s->client = ip_from("");
    s->on_this_host = lf;
    s->message.fd = -1;
    run->at = run->out_length = run->mail_length = run->log_length = 0;
    from = data ? run->size : 0;        /* mail data are no secret */
    logged = 0;
    if (setjmp(over) != 0) {
        run->out[run->out_length] = '\0';
        check_secret(from, run->size, logged);
        check_last_words();
        return;
    }
    if (data) {
        s->line_ending = lf ? LF : CRLF;
        strcpy(s->client_name, "fuzz");
        strcpy(s->line, "DATA");
        s->transaction.open = true;
        s->transaction.recipients = 1;
        strcpy(s->transaction.forward_path[0].path, "bob@example.com");
        strcpy(s->transaction.forward_path[0].maildir, "bob");
        s->extended = true;
        const char *refusal = cmd_data(s, "");
        if (refusal != NULL)
            reply(s, "%s", refusal);
        flush(s);
        return;
    }
    reply(s, "220 %s ESMTP", options.name);
    refuse_tls(s);
    for (;;) {
        size_t said = run->out_length;

        from = used(s);
        logged = run->log_length;
        one_command(s);
        flush(s);
        check(final_replies(run->out + said, run->out_length - said) == 1,
              "not one reply a command");
        check_secret(from, used(s), logged);
    }
}

/* What the client hears of a message that was whole, by what -x's command
 * exits with. */
static const char *verdict(void)
{
    if (options.hook == NULL || hook_status == 0)
        return "250 2.0.0 Message kept";
    if (hook_status == 99)
        return "250 2.0.0 Message taken";
    return hook_status == 77 ? "550 5.7.1" : "451 4.3.0";
}

static void check_data(const struct run *r, const uint8_t *p, size_t n, bool lf)
{
    static char want[ROOM + 1];
    long length = reference(p, n, lf, want);
    const char *body = r->mail;

    if (length == -2) {
        check(strstr(r->out, "250 2.0.0") == NULL, "kept half a message");
        return;
    }
    if (length == -1) {
        check(strstr(r->out, "554 5.6.0") != NULL, "a foul message was kept");
        return;
    }
    if (strstr(r->out, "554 5.4.6") != NULL)
        return;                         /* too many Received: fields */
    check(strstr(r->out, verdict()) != NULL, "not the verdict of -x's command");
    for (int lines = 0; lines < 5; body++)      /* past our own fields */
        lines += *body == '\n';
    want[length] = '\0';
    if (*want == ' ' || *want == '\t')           /* or ours would go on there */
        check(*body++ == '\n', "our Received is not ended");
    if (strcasestr(want, "Return-Path") != NULL)
        return;                         /* a field may have been left out */
    check(r->mail + r->mail_length - body == length &&
          memcmp(body, want, (size_t)length) == 0, "stored is not as sent");
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static struct session s;
    bool data, lf;

    if (size < 2 || size > 200000)
        return 0;
    if (options.name == NULL) {
        options.name = "mail.example.com";
        options.domains.items[options.domains.count++] = "example.com";
        options.domains.items[options.domains.count++] = "*";
    }
    data = input[0] & 1;
    lf = input[0] & 2;
    options.strict = input[0] & 4;
    options.verbose = input[0] & 8;
    options.auth = input[0] & 16;
    options.hook = input[0] & 32 ? "cat >/dev/null" : NULL;
    hook_status = (const int[]){ 0, 99, 77, 75 }[input[0] >> 6];
    for (int i = 0; i < 2; i++) {
        run = &runs[i];
        run->input = input + 1;
        run->size = size - 1;
        run->cut = i == 0 ? 0 : 1 + input[0] + (unsigned)size;
        play(&s, data, lf);
        run->out[run->out_length] = run->mail[run->mail_length] = '\0';
        final_replies(run->out, run->out_length);
    }
    check(runs[0].out_length == runs[1].out_length &&
          memcmp(runs[0].out, runs[1].out, runs[0].out_length) == 0,
          "cut up, it got other replies");
    check(runs[0].mail_length == runs[1].mail_length &&
          memcmp(runs[0].mail, runs[1].mail, runs[0].mail_length) == 0,
          "cut up, other mail was stored");
    if (data)
        check_data(&runs[0], input + 1, size - 1, lf);
    return 0;
}
