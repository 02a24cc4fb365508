/* prove - gives smtpd's functions every input there is, up to a length, for
 * Frama-C's Eva, which finds whether any of it can lead to a run-time error.
 *
 * Each prove_ function is one run of Eva, which tests/prove/run starts; this is
 * never compiled to be run.  smtpd-part.c is smtpd.c, as tests/prove/run copies
 * it, with buffers of some octets, not of thousands.
 */
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "__fc_builtin.h"

#ifndef LENGTH
#define LENGTH 40               /* octets of the strings */
#endif

int Frama_C_interval_split(int least, int most);

/* A string of any octets, NUL too: so of any length up to LENGTH. */
static char text[LENGTH + 1];

static const char *any_string(void)
{
    Frama_C_make_unknown(text, LENGTH);
    text[LENGTH] = '\0';
    return text;
}

/* What kind of octet is it?  To the parsers these say: no for NUL, yes or no
 * for the rest.  The string may be another one afterwards: so Eva need not
 * remember what it has read.  prove_octets shows that they do say so. */
/*@ assigns \result \from c; assigns text[0 .. LENGTH - 1] \from \nothing;
    ensures \result == 0 || \result == 1; ensures c == 0 ==> \result == 0; */
static _Bool is_let_dig(char c);
/*@ assigns \result \from c; assigns text[0 .. LENGTH - 1] \from \nothing;
    ensures \result == 0 || \result == 1; ensures c == 0 ==> \result == 0; */
static _Bool is_atext(char c);
/*@ assigns \result \from c; assigns text[0 .. LENGTH - 1] \from \nothing;
    ensures \result == 0 || \result == 1; ensures c == 0 ==> \result == 0; */
static _Bool is_digit(char c);
/*@ requires \valid_read(p + (0 .. length - 1));
    assigns \result \from *p; assigns text[0 .. LENGTH - 1] \from \nothing;
    ensures \result == 0 || \result == 1;
    ensures length == 1 && \old(*p) == 0 ==> \result == 0; */
static _Bool is_printable(const char *p, size_t length, _Bool or_8bit);

#ifdef PARSED
/* name_maildir() is called only for what parse_path() has taken: so here this
 * finds the end of a local-part, wherever, and never says NULL. */
/*@ assigns \result \from p; ensures \subset(\result, p + (1 .. LENGTH)); */
static const char *parse_local_part(const char *p);
#endif

/* A session neither waits, nor replies, nor logs, nor goes on after its end. */
struct session;
/*@ assigns \nothing; */
static void flush(struct session *s);
/*@ assigns \nothing; */
static void wake_at(double deadline);
/*@ assigns \result \from \nothing; ensures 0 <= \result <= 1e9; */
static double now(void);
/*@ assigns \nothing; */
static void heed_stop(struct session *s);
/*@ assigns \nothing; */
static void reply(struct session *s, const char *format, ...);
/*@ assigns \nothing; */
static void log_line(const char *format, ...);
/*@ assigns \nothing; ensures \false; exits \true; */
static void end_session(struct session *s);

/* An alarm if p is not valid. */
static void touch(const char *p)
{
    volatile char octet = *p;
}

/* Some functions of the C library, so that Eva knows one result at a time. */

static void *exact_memchr(const void *octets, int c, size_t length)
{
    const char *p = octets;

    for (size_t i = 0; i < length; i++) {
        touch(p + i);
        if (c != '\r' && c != '\0' && p[i] == (char)c)
            return (char *)p + i;
    }
    /* Where a CR or NUL stands, nobody asks; only whether. */
    if ((c == '\r' || c == '\0') && Frama_C_interval(0, 1))
        return (char *)p;
    return NULL;
}

static int exact_strncasecmp(const char *a, const char *b, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (a[i] != b[i] && !(b[i] >= 'a' && b[i] <= 'z' &&
                              a[i] == b[i] - 'a' + 'A') &&
            !(b[i] >= 'A' && b[i] <= 'Z' && a[i] == b[i] - 'A' + 'a'))
            return 1;
        if (a[i] == '\0')
            break;
    }
    return 0;
}

static int exact_strncmp(const char *a, const char *b, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (a[i] != b[i])
            return 1;
        if (a[i] == '\0')
            break;
    }
    return 0;
}

static char *exact_strchr(const char *s, int c)
{
    /* Where an octet stands among those of a Maildir's name, nobody asks. */
    if (*s == 'a')
        return Frama_C_interval(0, 1) ? (char *)s : NULL;
    for (; *s != (char)c; s++)
        if (*s == '\0')
            return NULL;
    return (char *)s;
}

static bool among(char c, const char *accept)
{
    return c != '\0' && strchr(accept, c) != NULL;
}

static size_t exact_strspn(const char *s, const char *accept)
{
    size_t n = 0;

    while (among(s[n], accept))
        n++;
    return n;
}

static size_t exact_strcspn(const char *s, const char *reject)
{
    size_t n = 0;

    while (s[n] != '\0' && !among(s[n], reject))
        n++;
    return n;
}

/* As name_maildir() and parse_ipv6() use it: "%%%02X" gives three octets. */
static int exact_snprintf(char *to, size_t size, const char *format, ...)
{
    Frama_C_make_unknown(to, size);
    to[size - 1] = '\0';
    if (format[1] == 'c')
        return 1;
    return format[1] == '%' ? 3 : Frama_C_interval(0, LENGTH);
}

static ssize_t any_read(int fd, void *octets, size_t size)
{
    int n = Frama_C_interval_split(-1, (int)size);

    if (n > 0)
        Frama_C_make_unknown(octets, (size_t)n);
    return n;
}

#define memchr exact_memchr
#define strncmp exact_strncmp
#define strncasecmp exact_strncasecmp
#define strchr exact_strchr
#define strspn exact_strspn
#define strcspn exact_strcspn
#define snprintf exact_snprintf
#define read any_read
#define main smtpd_main
#undef _DEFAULT_SOURCE
#include "smtpd-part.c"

void prove_octets(void)
{
    char c = (char)Frama_C_interval_split(CHAR_MIN, CHAR_MAX);

    is_let_dig(c);
    is_atext(c);
    is_digit(c);
    is_printable(&c, 1, Frama_C_interval_split(0, 1));
}

static void touch_path(struct path path)
{
    const char *domain;

    if (path.end == NULL)
        return;
    touch(path.end);
    touch(path.mailbox);
    domain = find_domain(path.mailbox);
    if (domain != NULL)
        touch(domain);
}

void prove_reverse_path(void)
{
    touch_path(parse_reverse_path(any_string()));
}

void prove_forward_path(void)
{
    touch_path(parse_forward_path(any_string()));
}

void prove_domain(void)
{
    const char *end = parse_domain(any_string());

    if (end != NULL)
        touch(end);
}

void prove_local_part(void)
{
    const char *end = parse_local_part(any_string());

    if (end != NULL)
        touch(end);
}

void prove_ipv4(void)
{
    const char *end = parse_ipv4(any_string());

    if (end != NULL)
        touch(end);
}

void prove_address_literal(void)
{
    const char *end = parse_address_literal(any_string());

    if (end != NULL)
        touch(end);
}

void prove_parameter(void)
{
    bool utf8 = Frama_C_interval(0, 1);
    long long size = Frama_C_long_long_interval(0, LLONG_MAX);

    any_string();
    options.auth = Frama_C_interval(0, 1);
    take_parameter(text, &utf8, &size);
}

/* The first word of a line, and what follows it. */
void prove_word(void)
{
    same_word(any_string(), "MAIL FROM:<path> [parameters]");
    same_word("STARTTLS", any_string());
    touch(after_word(any_string()));
}

void prove_argument(void)
{
    const char *arg = fit_argument("FROM:<path> [parameters]", any_string());

    if (arg != NULL)
        touch(arg);
    arg = fit_argument("", any_string());
    if (arg != NULL)
        touch(arg);
}

void prove_base64(void)
{
    const char *end = any_string();

    while (*end != '\0')
        end++;
    is_base64(text, end);
}

/* At the end of the array, and no NUL after it. */
void prove_utf8(void)
{
    const size_t length = (size_t)Frama_C_interval_split(0, LENGTH);

    Frama_C_make_unknown(text, sizeof text);
    is_utf8(text + sizeof text - length, text + sizeof text);
}

/* Into a buffer that may be too small for it. */
void prove_maildir(void)
{
    static struct recipient r;

    Frama_C_make_unknown(r.path, MAX_PATH);
    name_maildir(&r);
}

/* Take a piece from the input, with what of it is there already anywhere in
 * the buffer; and put it into text[], however full that is.  As if a write had
 * failed before, for then write_out() only empties text[]. */
void prove_next_piece(void)
{
    static struct session s;
    struct piece piece;

    s.in_end = (size_t)Frama_C_interval_split(0, BUFFER);
    s.in_start = (size_t)Frama_C_interval_split(0, BUFFER);
    if (s.in_start > s.in_end)
        return;
    Frama_C_make_unknown(s.in, BUFFER);
    s.in_data = true;
    s.deadline = 1;
    options.timeout = TIMEOUT;
    s.line_ending = Frama_C_interval_split(0, 1) ? CRLF : LF;
    piece.ends_line = Frama_C_interval(0, 1);
    s.message.length = (size_t)Frama_C_interval_split(0, BUFFER);
    s.message.error = EIO;

    next_piece(&s, &piece);
    for (size_t i = 0; i < piece.length; i++)
        touch(piece.text + i);
    //@ assert s.in_start <= s.in_end <= BUFFER;
    append(&s, piece.text, piece.length);
    //@ assert s.message.length <= BUFFER;
}

/* Look at a piece, in whatever state those before it have left: as a line of
 * mail data, and as a command. */
void prove_piece(void)
{
    static struct session s;
    struct message *m = &s.message;
    struct piece piece;

    Frama_C_make_unknown(text, LENGTH);
    piece.text = text;
    piece.length = (size_t)Frama_C_interval_split(0, LENGTH);
    piece.starts_line = Frama_C_interval(0, 1);
    piece.ends_line = Frama_C_interval(0, 1);
    m->in_header = Frama_C_interval(0, 1);
    m->in_return_path = Frama_C_interval(0, 1);
    m->received = Frama_C_interval(0, INT_MAX);
    store_line(&s, &piece);
    touch(s.line + s.line_length);
    may_be_secret(&s, &piece);
    is_last(&piece);
    undo_dot(&piece);
    is_folded(&piece);
    follow_header(m, &piece);
    for (size_t i = 0; i < piece.length; i++)
        touch(piece.text + i);
}
