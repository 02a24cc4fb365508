/*
 * smtpd - an SMTP server to learn from, in one file.
 *
 * It receives mail, as RFC 5321 says a server must, and keeps it in Maildirs:
 * a directory for each user, a file for each message.  It sends no mail on.
 *
 * Each rule of the RFC is cited at the line that obeys it, always in this
 * form: RFC 5321 4.1.4.  The same words stand in the refusals that a client is
 * sent and in the names of the tests, so that
 *
 *     grep -rn 'RFC 5321 4.1.4' .
 *
 * shows a rule, its code, its reply, its test and its explanation.  Where we
 * do not do what the RFC describes, the comment begins with "Not here:".
 *
 * To run it:     cc -o smtpd smtpd.c && ./smtpd -v
 * To talk to it: nc 127.0.0.1 2525, and type HELP
 *
 * The parts, in the order in which to read them:
 *
 *      1. Limits                        every number, and who asks for it
 *      2. What the server remembers     the transaction, the session
 *      3. The command table             the whole protocol on one page
 *      4. One session                   greet, obey, obey, obey, goodbye
 *      5. The commands                  one function a verb
 *      6. The message                   from 354 to the dot alone on its line
 *      7. Reading an argument           one function a rule of the grammar
 *      8. Keeping the mail              what the 250 after the dot promises
 *      9. The wire                      replies out, lines in, and all waiting
 *     10. The log                       what the operator gets to see
 *     11. Listening and forking         one process a client
 *     12. Options and main
 *
 * Three kinds of trouble can come up, and each has one form everywhere:
 *
 *   - This command or message can't be taken, but the session goes on.  The
 *     function returns the refusal, which is the reply line, and NULL if all
 *     is well.
 *   - This session can't go on.  The function calls end_session(), which says
 *     goodbye, cleans up and ends the process.  It does not return.
 *   - The server can't start.  The function calls die(): what, why, and the
 *     way out, on one line.
 *
 * Words of the RFCs, the documents that define the Internet's protocols:
 *
 *   octet          a byte
 *   CRLF           the octets 13 and 10, SMTP's end of a line
 *   mailbox        local-part@domain, or where its mail is put
 *   path           a mailbox in < >: the reverse-path is the sender's, a
 *                  forward-path a recipient's
 *   literal        an IP address in [ ], in place of a domain
 *   transaction    MAIL, RCPT once or more, DATA: one message
 *   reply code     the three digits that a reply begins with; the second
 *                  code, as in 250 2.1.0, says more (RFC 3463)
 *
 * C99 and POSIX.1-2008, and no library but the C library.
 */

/* chroot(), initgroups() and sysexits.h are not in POSIX.1-2008, but every
 * Unix has them.  glibc and musl show them, and POSIX itself, under this name.
 * The BSDs and macOS show all they have unless they are told not to. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE
#endif

/* For 32-bit glibc: large files and dates after 2038. */
#define _FILE_OFFSET_BITS 64
#define _TIME_BITS 64

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

/* For flush() and log_octets(): so many octets a pipe takes at one time.
 * POSIX: left out where it is not the same everywhere. */
#ifndef PIPE_BUF
#define PIPE_BUF _POSIX_PIPE_BUF
#endif

/* macOS's initgroups() takes the group as an int. */
#ifdef __APPLE__
#define initgroups(user, group) initgroups(user, (int)(group))
#endif

#define VERSION "1.0"

/* ------------------------------------------------------------------------
 * 1. Limits                            RFC 5321 4.5.3.1, 4.5.3.2, 6.3, 7.8
 *
 * The numbers that bound what a client may do.  Nothing that a client sends
 * ever sizes an allocation.
 * --------------------------------------------------------------------- */

enum {
    /* RFC 5321 4.5.3.1.4 asks for 512 octets, and lets extensions ask for
     * more.  SMTPUTF8 and SIZE need more.  The CRLF is counted in. */
    MAX_COMMAND_LINE = 1024,

    MAX_REPLY_LINE = 512,       /* RFC 5321 4.5.3.1.5: with its CRLF */
    MAX_TEXT_LINE = 1000,       /* RFC 5321 4.5.3.1.6: so much at least; we
                                   take any length, piece by piece */
    MAX_DOMAIN = 255,           /* RFC 5321 4.5.3.1.2 */
    MAX_PATH = 256,             /* RFC 5321 4.5.3.1.3: an address, with its
                                   < and >; not the path of a file */
    MAX_RECIPIENTS = 100,       /* RFC 5321 4.5.3.1.8: at least so many */
    MIN_MAX_MESSAGE = 65536,    /* RFC 5321 4.5.3.1.7: at least so large */
    MAX_RECEIVED = 100,         /* RFC 5321 6.3: more, and mail is looping */
    TIMEOUT = 300,              /* RFC 5321 4.5.3.2.7: seconds, at least */

    /* Not here: a limit of 64 octets on a local-part.  RFC 5321 4.5.3.1 asks
     * implementations not to impose limits where they can help it, and real
     * senders, mailing lists above all, use longer ones.  But a mailbox is a
     * directory, and file systems end names here. */
    MAX_MAILBOX_NAME = 255,

    /* RFC 5321 7.8 lets a server defend itself against attacks. */
    MAX_BLUNDERS = 20,          /* in one session: see is_blunder() */
    MIN_RATE = 500,             /* octets a second that mail data arrives at */
    MIN_DISK = 65536,           /* octets free, for a MAIL without SIZE= */
    STOP_SECONDS = 30,          /* to finish a message when the server stops */
    LINGER_SECONDS = 2,         /* to let the last reply reach the client */

    OLD_TMP_HOURS = 36,         /* after this a file in tmp has no writer */
    MAX_SESSIONS = 10000,       /* the most that -c and -k can be set to */
    MAX_REFUSALS = 32,          /* processes that only say 421, on top of -c */
    MAX_DOMAINS = 64,           /* -d options */
    MAX_LISTENERS = 16,         /* -l options */

    BUFFER = 65536,             /* octets read or written at one time */
    MAX_REPLIES = 8192,         /* octets of replies held before a flush */
    MAX_LOG_PREFIX = 128,       /* octets that a line of the log begins with */
    MAX_LOG_TEXT = 1600,        /* octets of one event, unescaped */
    MAX_LOG_LINE = 1280,        /* octets of one line of the log, escaped */
    LOG_SECONDS = 1             /* to wait for who reads the log */
};

/* ------------------------------------------------------------------------
 * 2. What the server remembers         RFC 5321 2.3.6, 3.3, 4.1.1
 *
 * RFC 5321 2.3.6 speaks of a "buffer" and a "state table"; RFC 5321 4.1.1 says
 * what goes into which.  Here they are: struct transaction holds the buffers
 * of one mail transaction, and struct session is the state table of one
 * connection.
 * --------------------------------------------------------------------- */

/* One forward-path, and the mailbox that it stands for. */
struct recipient {
    char path[MAX_PATH + 1];                /* Bob@example.com */
    char mailbox[MAX_MAILBOX_NAME + 1];     /* bob, a directory's name */
};

/* RFC 5321 4.1.1: the reverse-path buffer and the forward-path buffer.  What
 * MAIL starts, RCPT adds to, and DATA, RSET, EHLO or HELO clears. */
struct transaction {
    struct recipient forward_path[MAX_RECIPIENTS];
    size_t recipients;
    bool open;                              /* a MAIL has been accepted */
    bool utf8;                              /* it had SMTPUTF8: RFC 6531 3.4 */
    bool rcpt_refused;                      /* some RCPT has been refused */
    char reverse_path[MAX_PATH + 1];        /* "" is the null one, <> */
};

/* The message that is arriving.  Its mail data is collected in the session's
 * text[]; when that is full, and at the end, it is written to a file in the
 * tmp of the first recipient. */
struct message {
    char id[64];                /* in the 250, the log, Received: and the file
                                   name, so that one finds the others */
    char file[256];             /* its name in tmp and in new */
    int fd;                     /* the file in tmp, or -1 */
    int error;                  /* errno of what went wrong with it, or 0 */
    long long size;             /* octets as RFC 1870 5 counts them */
    unsigned received;          /* how many Received: fields it had */
    bool in_header;             /* its header section has not ended yet */
    bool has_field;             /* a field of it has come */
    bool in_return_path;        /* in a Return-Path: field, left out */
    bool foul;                  /* a bare CR, a bare LF or a NUL was seen */
    size_t length;              /* octets in text[] */
};

/* An IP address, as RFC 5321 4.1.3 writes it: [192.0.2.1], or
 * [IPv6:2001:db8::1].  Two addresses are the same if their texts are, for only
 * ip_from() writes them.  "" where there is none. */
struct ip {
    char literal[INET6_ADDRSTRLEN + 8];
};

/* How the client ends its lines: fixed by its first line, for good.  LF is for
 * people who type into nc: see settle_line_ending(). */
enum line_ending { NOT_SEEN, CRLF, LF };

/* One connection, from the greeting to the goodbye.  Times are in seconds, on
 * the clock of now(). */
struct session {
    char id[48];                /* names the session in the log */
    struct ip client;           /* whom we talk to */
    enum line_ending line_ending;
    char client_name[MAX_DOMAIN + 1];       /* from EHLO or HELO; "" before */
    bool extended;              /* it was EHLO */
    bool mail_refused;          /* and nothing else was obeyed since */
    int blunders;               /* see MAX_BLUNDERS */
    unsigned messages;          /* DATA commands so far: numbers the IDs */

    bool skip_rest;             /* drop what comes before the next CRLF */
    bool in_data;               /* between the 354 and the final dot */
    bool ended;                 /* end_session() is at work */
    double deadline;            /* when this command must have come */
    double data_began;          /* when the 354 was said */
    long long data_octets;      /* received since, to judge the rate */
    double stop_by;             /* after SIGTERM: when to end all the same */

    struct message message;
    size_t line_length;
    char line[MAX_COMMAND_LINE + 1];        /* the command, NUL-terminated */
    char refusal[MAX_REPLY_LINE];           /* the 501 of bad_argument() */

    /* The large buffers come last.  A process is given a page of memory when
     * it first writes to it, and of these few are ever filled. */
    size_t in_start, in_end, out_sent, out_length;
    char in[BUFFER];                        /* octets read, not yet used */
    struct transaction transaction;
    char out[MAX_REPLIES];                  /* replies not yet sent */
    char text[BUFFER];                      /* mail data not yet written */
};

/* What the command line says.  Set in part 12, before the first session; after
 * that it is only read. */
static struct {
    const char *name;                       /* -n */
    const char *domains[MAX_DOMAINS];       /* -d */
    int domain_count;
    const char *listen[MAX_LISTENERS];      /* -l */
    int listen_count;
    int port;                               /* -p */
    const char *mail_dir;                   /* -m */
    const char *user;                       /* -u */
    long long max_message;                  /* -z */
    int max_sessions;                       /* -c */
    int max_per_client;                     /* -k */
    int timeout;                            /* -t, in seconds */
    bool strict, inetd, verbose;            /* -s, -i, -v */
    bool to_syslog;                         /* standard error is the client */
    bool to_file;                           /* standard error is a file */
} options = {
    .port = 2525, .mail_dir = "mail", .max_message = 26214400,
    .max_sessions = 256, .max_per_client = 128, .timeout = TIMEOUT,
};

/* Set by SIGTERM and SIGINT, of the one type that a signal handler may safely
 * set.  These signals are blocked, that is held back, all the time but in
 * pselect().  It sleeps until there is input, or a time is over, and blocks,
 * while it sleeps, only those in blocked_in_sleep: ours are not among them.
 * So they come where we wait, and can disturb nothing else. */
static volatile sig_atomic_t stopping;
static sigset_t blocked_in_sleep;

/* ------------------------------------------------------------------------
 * 3. The command table                 RFC 5321 4.1.1, 4.1.4, 4.2.4, 4.5.1
 *
 * The protocol, on one page: what can be said, when, with what argument.
 * Dispatch, the 503 and 501 replies, HELP and -h are all made from it.
 * --------------------------------------------------------------------- */

/* The type of a function that does what one verb asks: "handler" is a name for
 * it, as "int" is for another.  arg is what follows the verb and, for MAIL and
 * RCPT, the colon; "" if nothing does.  That the verb may be said now has been
 * checked.  Returns NULL, having replied, or the refusal. */
typedef const char *handler(struct session *s, const char *arg);

/* The functions of this type, to be defined in part 5. */
static handler cmd_ehlo, cmd_helo, cmd_mail, cmd_rcpt, cmd_data, cmd_rset,
    cmd_noop, cmd_quit, cmd_vrfy, cmd_help;

/* Where a session stands: see state_of().  IN() makes a bit of a state, so
 * that a number can hold a set of them. */
enum state { START, GREETED, MAIL_GIVEN, ALL_REFUSED, RCPT_GIVEN };

#define IN(state) (1u << (state))
#define IN_TRANSACTION (IN(MAIL_GIVEN) | IN(ALL_REFUSED) | IN(RCPT_GIVEN))
#define ANY_TIME (IN(START) | IN(GREETED) | IN_TRANSACTION)

struct command {
    const char *verb;
    handler *run;               /* NULL: known, but not offered */
    unsigned states;            /* when it may be said: RFC 5321 4.1.4 */
    const char *argument;       /* "" none; "[...]" may; else must have one.
                                   What ends in : is typed as it is; < begins
                                   a path.  obey() looks for these three */
    const char *bad_argument;   /* enhanced code of a 501: RFC 3463 */
    const char *section;
    const char *meaning;
};

static const struct command commands[] = {
    { "EHLO", cmd_ehlo, ANY_TIME, "domain-or-literal", "5.5.4",
      "RFC 5321 4.1.1.1", "say who you are, and learn what we can do" },
    { "HELO", cmd_helo, ANY_TIME, "domain", "5.5.4",
      "RFC 5321 4.1.1.1", "the same, as it was before extensions" },
    { "MAIL", cmd_mail, IN(GREETED), "FROM:<path> [parameters]", "5.1.7",
      "RFC 5321 4.1.1.2", "start a message: its bounces go to this path" },
    { "RCPT", cmd_rcpt, IN_TRANSACTION, "TO:<path>", "5.1.3",
      "RFC 5321 4.1.1.3", "name one recipient; say it once for each" },
    { "DATA", cmd_data, IN(RCPT_GIVEN), "", "5.5.4",
      "RFC 5321 4.1.1.4", "send the message, then a line with only a dot" },
    { "RSET", cmd_rset, ANY_TIME, "", "5.5.4",
      "RFC 5321 4.1.1.5", "forget the message begun" },
    { "VRFY", cmd_vrfy, ANY_TIME, "string", "5.5.4",
      "RFC 5321 4.1.1.6", "ask whether a mailbox exists; we do not tell" },
    { "HELP", cmd_help, ANY_TIME, "[verb]", "5.5.4",
      "RFC 5321 4.1.1.8", "list what can be said now, or explain one verb" },
    { "NOOP", cmd_noop, ANY_TIME, "[string]", "5.5.4",
      "RFC 5321 4.1.1.9", "do nothing, and say so" },
    { "QUIT", cmd_quit, ANY_TIME, "", "5.5.4",
      "RFC 5321 4.1.1.10", "end the session" },

    /* RFC 5321 4.2.4: a verb that is known but not implemented gets 502, not
     * the 500 of an unknown one. */
    { "EXPN", NULL, 0, "string", "5.5.4",
      "RFC 5321 4.1.1.7", "list a mailing list's members; not offered" },
    { "TURN", NULL, 0, "", "5.5.4",
      "RFC 5321 appendix F.1", "swap roles; not offered" },
    { "SEND", NULL, 0, "FROM:<path>", "5.5.4",
      "RFC 5321 appendix F.6", "mail to a terminal; not offered" },
    { "SOML", NULL, 0, "FROM:<path>", "5.5.4",
      "RFC 5321 appendix F.6", "to a terminal or a mailbox; not offered" },
    { "SAML", NULL, 0, "FROM:<path>", "5.5.4",
      "RFC 5321 appendix F.6", "to a terminal and a mailbox; not offered" },
    { "ETRN", NULL, 0, "domain", "5.5.4",
      "RFC 1985 5", "send the mail that waits for us; not offered" },
    { "STARTTLS", NULL, 0, "", "5.5.4",
      "RFC 3207 4", "encrypt the session; not offered" },
    { "AUTH", NULL, 0, "mechanism [response]", "5.5.4",
      "RFC 4954 4", "log in; not offered" },
    { "BDAT", NULL, 0, "size [LAST]", "5.5.4",
      "RFC 3030 2", "send the message in counted chunks; not offered" },
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

/* For "%s%s%s": a verb with its argument, as it is said. */
#define SYNTAX(row) \
    (row)->verb, *(row)->argument != '\0' ? " " : "", (row)->argument

/* The functions that are used above the place where they are defined, by
 * part. */

/* 6: the message */
static const char *receive_message(struct session *s);

/* 7: reading an argument.  Each returns where it stopped, or NULL. */
static const char *parse_reverse_path(const char *p, const char **mailbox);
static const char *parse_forward_path(const char *p, const char **mailbox);
static const char *parse_domain(const char *p);
static const char *parse_address_literal(const char *p);
static const char *find_domain(const char *mailbox);
static bool is_utf8(const char *p, size_t length);
static bool is_8bit(const char *p, size_t length);
static bool is_let_dig(char c);

/* 8: keeping the mail */
static bool disk_has(long long octets);
static bool is_directory(const char *path);
static int make_mailbox_name(char *name, size_t size, const char *path);
static void begin_message(struct session *s);
static void append(struct session *s, const char *octets, size_t length);
static const char *keep_message(struct session *s);
static void drop_message(struct session *s);

/* 9: the wire */
#ifdef __GNUC__                 /* lets the compiler check format strings */
#define FORMAT_AT(n) __attribute__((format(printf, n, (n) + 1)))
#define NO_RETURN __attribute__((noreturn))
#else
#define FORMAT_AT(n)
#define NO_RETURN
#endif
static void reply(struct session *s, const char *format, ...) FORMAT_AT(2);
static const char *read_line(struct session *s);
static void fill(struct session *s);
static NO_RETURN void take_leave(struct session *s, const char *last_words);
static NO_RETURN void end_session(struct session *s, const char *last_words);
static double now(void);

/* 10: the log */
static void log_line(const struct session *s, const char *format, ...)
    FORMAT_AT(2);
static void log_dialogue(const struct session *s, const char *who,
                         const char *octets, size_t length);

/* 11: addresses of sockets */
static const char *shown_ip(const struct ip *ip);
static bool is_loopback(const struct ip *ip);
static bool is_our_literal(const char *literal);

/* ------------------------------------------------------------------------
 * 4. One session                       RFC 5321 3.1, 3.8, 4.1.4, 4.3
 *
 * Greet, then take a line, obey it and answer it, until QUIT.  This runs in
 * a process of its own: when the session ends, the process ends.
 * --------------------------------------------------------------------- */

/* Where the session stands, read off its buffers.  It is not kept beside
 * them, so it can never disagree with them. */
static enum state state_of(const struct session *s)
{
    const struct transaction *t = &s->transaction;

    if (s->client_name[0] == '\0')
        return START;
    if (!t->open)
        return GREETED;
    if (t->recipients > 0)
        return RCPT_GIVEN;
    return t->rcpt_refused ? ALL_REFUSED : MAIL_GIVEN;
}

/* Clear the buffers, as RSET does (RFC 5321 4.1.1.5), and EHLO and HELO
 * (RFC 5321 4.1.1.1), and the end of mail data (RFC 5321 4.1.1.4).  A count of
 * 0 empties an array. */
static void forget_transaction(struct session *s)
{
    s->transaction.open = false;
    s->transaction.utf8 = false;
    s->transaction.rcpt_refused = false;
    s->transaction.reverse_path[0] = '\0';
    s->transaction.recipients = 0;
}

/* Is the word of this length the one wanted, in any case?  RFC 5321 2.4 */
static bool is_word(const char *word, size_t length, const char *wanted)
{
    return strlen(wanted) == length && strncasecmp(word, wanted, length) == 0;
}

/* Returns the row of the table for the verb that line begins with, or NULL. */
static const struct command *find_command(const char *line)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (is_word(line, strcspn(line, " "), commands[i].verb))
            return &commands[i];
    return NULL;
}

/* The refusal of a verb that does not fit the state: RFC 5321 4.1.4, which
 * asks for 503.  It says what to do first. */
static const char *out_of_order(const struct session *s,
                                const struct command *command)
{
    enum state state = state_of(s);

    if (state == START)
        return "503 5.5.1 Send EHLO or HELO first (RFC 5321 4.1.4)";
    if (state == GREETED)
        return "503 5.5.1 Send MAIL first (RFC 5321 4.1.4)";
    if (command->run == cmd_mail)
        return "503 5.5.1 A message is begun already: "
               "go on, or send RSET (RFC 5321 4.1.4)";
    if (state == ALL_REFUSED)           /* RFC 5321 3.3: "no valid..." */
        return "554 5.5.1 No valid recipients: send RCPT (RFC 5321 3.3)";
    return "503 5.5.1 Send RCPT first (RFC 5321 4.1.4)";
}

/* RFC 5321 4.3.2: a missing argument, or one too many, gets 501.  Ours shows
 * how it ought to be. */
static const char *bad_argument(struct session *s,
                                const struct command *command)
{
    snprintf(s->refusal, sizeof s->refusal, "501 %s Say it so: %s%s%s (%s)",
             command->bad_argument, SYNTAX(command), command->section);
    return s->refusal;
}

/* Is there an octet in the line that no command may hold?  Commands are ASCII
 * (RFC 5321 2.4) without control characters (RFC 5321 4.1.2).  8-bit octets
 * may stand where a mailbox can: in the path of MAIL and RCPT (RFC 6531 3.2),
 * and after VRFY (RFC 6531 3.7.4.2): that part of the line is from..to.  What
 * begins like a path and is none is let pass whole: it gets its own 501.
 *
 * Not here: a 501 for control characters, which RFC 5321 4.1.2 asks for.  They
 * get the 500 that RFC 5321 2.4 has for octets above 127. */
static bool has_stray_octet(const struct session *s,
                            const struct command *command)
{
    const char *end = s->line + s->line_length, *from = end, *to = end;
    const char *mailbox;

    if (command != NULL && command->run == cmd_vrfy)
        from = s->line;
    else if (command != NULL && strchr(command->argument, '<') != NULL &&
             strchr(s->line, '<') != NULL) {
        from = strchr(s->line, '<');
        to = command->run == cmd_mail ? parse_reverse_path(from, &mailbox)
                                      : parse_forward_path(from, &mailbox);
        if (to == NULL)
            to = end;
    }

    for (const char *p = s->line; p < end; p++)
        if ((unsigned char)*p < ' ' || *p == 127 ||
            (is_8bit(p, 1) && !(from < p && p < to)))
            return true;
    return false;
}

/* Do what the line says.  Returns NULL, having replied, or the refusal. */
static const char *obey(struct session *s)
{
    const struct command *command = find_command(s->line);
    const char *arg = s->line + strcspn(s->line, " ");
    const char *colon, *refusal;
    bool needs_none, may_have_none;
    size_t keyword_length;              /* 0 where there is no keyword */

    arg += strspn(arg, " ");
    if (has_stray_octet(s, command))
        return "500 5.5.2 Only printable ASCII here: "
               "type it again (RFC 5321 2.4)";
    if (command == NULL)
        return "500 5.5.1 No such command: try HELP (RFC 5321 4.2.4)";
    if (command->run == NULL)
        return "502 5.5.1 Not offered here: try HELP (RFC 5321 4.2.4)";
    if ((command->states & IN(state_of(s))) == 0)
        return out_of_order(s, command);

    /* RFC 5321 4.1.1: RSET, DATA and QUIT take no argument.  MAIL's begins
     * with FROM: and RCPT's with TO:, as the table says. */
    needs_none = *command->argument == '\0';
    may_have_none = needs_none || *command->argument == '[';
    colon = strchr(command->argument, ':');
    keyword_length = colon != NULL ? (size_t)(colon + 1 - command->argument)
                                   : 0;
    if ((*arg != '\0' && needs_none) || (*arg == '\0' && !may_have_none) ||
        strncasecmp(arg, command->argument, keyword_length) != 0)
        refusal = bad_argument(s, command);
    else
        refusal = command->run(s, arg + keyword_length);

    /* Here, since these refuse in so many places. */
    s->mail_refused = refusal != NULL && command->run == cmd_mail;
    if (refusal != NULL && command->run == cmd_rcpt)
        s->transaction.rcpt_refused = true;
    return refusal;
}

/* A browser can be made to post a form to any port, ours too: its request is
 * a line that we do not know, but the form's text could hold commands.
 *
 * Not here: bearing with HTTP, as with other unknown commands (RFC 5321 3.8).
 * A session that says such a thing before EHLO ends there. */
static bool is_http(const struct session *s)
{
    static const char *const methods[] = {
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT"
    };
    size_t length = strcspn(s->line, " \t\r\n");

    /* HTTPS: TLS begins so.  Its first record can hold octets that a web page
     * has chosen, line ends too. */
    if (s->line[0] == 0x16 && s->line[1] == 0x03)
        return true;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (is_word(s->line, length, methods[i]))
            return true;
    return false;
}

/* RFC 5321 4.2: "Every command MUST generate exactly one reply." */
static void one_command(struct session *s)
{
    const char *refusal = read_line(s);

    if (state_of(s) == START && is_http(s))
        take_leave(s, "502 5.5.1 This is SMTP, not HTTP (RFC 5321 7.8)");
    if (refusal == NULL)
        refusal = obey(s);
    if (refusal != NULL)
        reply(s, "%s", refusal);

    /* Not here: bearing with any number of commands that are not understood,
     * as RFC 5321 3.8 has it.  RFC 5321 7.8 lets us hang up on an attack, and
     * twenty of them are no slip. */
    if (s->blunders >= MAX_BLUNDERS)            /* %s: our name goes there */
        take_leave(s, "421 4.7.0 %s Too many errors (RFC 5321 7.8)");
}

/* The ID that names this session in the log: no other process of this host
 * has had this process ID in this microsecond. */
static void name_session(struct session *s)
{
    struct timespec t = { 0, 0 };

    clock_gettime(CLOCK_REALTIME, &t);
    snprintf(s->id, sizeof s->id, "%llx-%05lx-%lx",
             (unsigned long long)t.tv_sec, (unsigned long)t.tv_nsec / 1000,
             (unsigned long)getpid());
}

/* Serve the client on standard input and output, where become_session(), or
 * inetd, has put the connection.  refusal is what to tell a client that can't
 * be served now, or NULL. */
static NO_RETURN void serve(const struct ip *client, const char *refusal)
{
    static struct session s;            /* static: it starts as zeros */

    s.client = *client;
    s.message.fd = -1;
    name_session(&s);
    log_line(&s, "start client=%s", shown_ip(client));
    if (refusal != NULL)
        end_session(&s, refusal);

    /* Our name comes first (RFC 5321 4.3.1), then what we are, which helps to
     * find faults (RFC 5321 7.5). */
    reply(&s, "220 %s ESMTP smtpd " VERSION " ready: say EHLO, or HELP",
          options.name);
    for (;;)
        one_command(&s);
}

/* ------------------------------------------------------------------------
 * 5. The commands                      RFC 5321 3.2, 3.3, 3.5, 4.1.1
 *
 * One function a row of the command table, in the table's order.  Order, and
 * whether there is an argument, have been checked by obey(): here is only
 * what each verb does.
 *
 * Replies begin with two codes.  RFC 5321 4.2.1 explains the three digits;
 * RFC 3463 the second code, which says more.
 * --------------------------------------------------------------------- */

/* What EHLO and HELO share.  Returns the refusal, or NULL. */
static const char *take_client_name(struct session *s, const char *arg,
                                    bool extended)
{
    bool literal = *arg == '[';
    const char *end = literal ? parse_address_literal(arg)
                              : parse_domain(arg);

    /* RFC 5321 4.1.1.1: it is "wise for servers to be prepared" for further
     * text after a literal.  It is passed over.
     *
     * Not here: refusing a literal after HELO, which takes only a domain. */
    if (end == NULL || (*end != '\0' && !(literal && *end == ' ')))
        return "501 5.5.4 Name your host, or its [address] "
               "(RFC 5321 4.1.1.1)";
    if (end - arg > MAX_DOMAIN)
        return "501 5.5.4 Domain too long (RFC 5321 4.5.3.1.2)";

    /* Not here: checking that the name fits the client's address.  Mail must
     * not be refused if it does not (RFC 5321 4.1.4), so why look. */
    snprintf(s->client_name, sizeof s->client_name, "%.*s",
             (int)(end - arg), arg);            /* so many octets of arg */

    s->extended = extended;

    /* RFC 5321 4.1.4: "exactly as if a RSET command had been issued". */
    forget_transaction(s);
    return NULL;
}

static const char *cmd_ehlo(struct session *s, const char *arg)
{
    const char *refusal = take_client_name(s, arg, true);

    if (refusal != NULL)
        return refusal;
    reply(s, "250-%s greets you", options.name);

    /* RFC 1870: MAIL may tell the message's size, and this is the largest.
     * RFC 6152: mail data may have octets above 127.  RFC 2920: commands need
     * not wait for replies.  RFC 2034: replies have a second code.  RFC 6531:
     * addresses may be in any script, as UTF-8. */
    reply(s, "250-SIZE %lld", options.max_message);
    reply(s, "250-8BITMIME");
    reply(s, "250-PIPELINING");
    reply(s, "250-ENHANCEDSTATUSCODES");
    reply(s, "250-SMTPUTF8");
    reply(s, "250 HELP");
    return NULL;
}

static const char *cmd_helo(struct session *s, const char *arg)
{
    const char *refusal = take_client_name(s, arg, false);

    /* RFC 5321 3.2: HELO never gets the reply of several lines. */
    if (refusal == NULL)
        reply(s, "250 %s greets you", options.name);
    return refusal;
}

/* What the parameters of MAIL can say.  RFC 5321 4.1.1.2 */
struct mail_parameters {
    long long size;             /* SIZE=, or -1: RFC 1870 */
    bool body;                  /* BODY= was given: RFC 6152 */
    bool utf8;                  /* SMTPUTF8 was given: RFC 6531 */
};

/* SIZE=digits.  RFC 1870 3: at most 20 of them.  Returns -1 when malformed;
 * what a long long can't hold is over any limit. */
static long long parse_size(const char *value)
{
    size_t length = strlen(value);

    if (length == 0 || length > 20 || strspn(value, "0123456789") < length)
        return -1;
    return strtoll(value, NULL, 10);
}

/* esmtp-param   = esmtp-keyword ["=" esmtp-value]
 * esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
 * esmtp-value   = 1*(%d33-60 / %d62-126) */
static bool is_parameter(const char *keyword, const char *value)
{
    for (const char *p = keyword; *p != '\0'; p++)
        if (!is_let_dig(*p) && (*p != '-' || p == keyword))
            return false;
    return *keyword != '\0' &&
           (value == NULL || (*value != '\0' && strchr(value, '=') == NULL));
}

/* One parameter, which is cut at its =.  Returns the refusal, or NULL. */
static const char *take_parameter(char *keyword, struct mail_parameters *found)
{
    static const char malformed[] =
        "501 5.5.4 Parameter malformed or repeated (RFC 5321 4.1.1.11)";
    char *value = strchr(keyword, '=');         /* NULL where it has none */
    bool good;

    if (value != NULL)
        *value++ = '\0';
    if (!is_parameter(keyword, value))
        return malformed;

    if (strcasecmp(keyword, "SIZE") == 0) {
        good = found->size < 0 && value != NULL &&
               (found->size = parse_size(value)) >= 0;
    } else if (strcasecmp(keyword, "BODY") == 0) {
        /* Both get the same: 8-bit mail is kept as it comes. */
        good = !found->body && value != NULL &&
               (strcasecmp(value, "7BIT") == 0 ||
                strcasecmp(value, "8BITMIME") == 0);
        found->body = true;
    } else if (strcasecmp(keyword, "SMTPUTF8") == 0) {
        good = !found->utf8 && value == NULL;           /* RFC 6531 3.4 */
        found->utf8 = true;
    } else
        return "555 5.5.4 Parameter not known (RFC 5321 4.1.1.11)";
    return good ? NULL : malformed;
}

/* Mail-parameters = esmtp-param *(SP esmtp-param).  p is what follows the
 * path.  Returns the refusal, or NULL. */
static const char *take_parameters(const struct session *s, const char *p,
                                   struct mail_parameters *found)
{
    char copy[MAX_COMMAND_LINE + 1], *word, *rest;
    const char *refusal = NULL;

    if (*p == '\0')
        return NULL;
    if (*p != ' ')
        return "501 5.5.4 After the path comes a space (RFC 5321 4.1.1.2)";

    /* RFC 5321 4.1.1.2: parameters belong to extensions, and HELO has none. */
    if (!s->extended)
        return "555 5.5.4 Parameters need EHLO (RFC 5321 4.1.1.11)";
    snprintf(copy, sizeof copy, "%s", p);
    for (word = strtok_r(copy, " ", &rest); word != NULL && refusal == NULL;
         word = strtok_r(NULL, " ", &rest))
        refusal = take_parameter(word, found);
    return refusal;
}

/* May this address be said here?  Old servers do not know octets above 127 in
 * addresses, so a client asks for them first, with SMTPUTF8 (RFC 6531 3.4).
 * Who did not gets 553, at MAIL and at RCPT.  RFC 6531 3.5 has 550 at MAIL,
 * but RFC 6531 4.2 lets us say 553 at both.  Octets that are not UTF-8 are no
 * address at all; that refusal depends on the command, so the caller gives
 * it. */
static const char *check_8bit(const char *path, size_t length, bool utf8,
                              const char *not_utf8)
{
    if (!is_8bit(path, length))
        return NULL;
    if (!utf8)
        return "553 5.6.7 For such an address, add SMTPUTF8 to MAIL "
               "(RFC 6531 3.4)";
    return is_utf8(path, length) ? NULL : not_utf8;
}

static const char *cmd_mail(struct session *s, const char *arg)
{
    struct mail_parameters parameters = { .size = -1 };
    const char *path = arg + strspn(arg, " "), *end, *mailbox, *refusal;

    /* Not here: refusing a space after the colon, which RFC 5321 3.3 does not
     * permit.  So many people and programs put one there. */
    if ((end = parse_reverse_path(path, &mailbox)) == NULL)
        return "501 5.1.7 A path is <local-part@domain>, or <> "
               "(RFC 5321 4.1.2)";
    if (end - path > MAX_PATH)
        return "501 5.1.7 Path too long (RFC 5321 4.5.3.1.3)";
    if ((refusal = take_parameters(s, end, &parameters)) != NULL)
        return refusal;
    refusal = check_8bit(path, (size_t)(end - path), parameters.utf8,
                         "501 5.1.7 Not UTF-8 (RFC 6531 3.3)");
    if (refusal != NULL)
        return refusal;

    /* RFC 1870 6.1: refuse now what would be refused after all was sent. */
    if (parameters.size > options.max_message)
        return "552 5.3.4 Message too large (RFC 1870 6.1)";
    if (!disk_has(parameters.size >= 0 ? parameters.size : MIN_DISK))
        return "452 4.3.1 Disk full: try again later (RFC 5321 4.2.3)";

    /* All has been checked, so that a refused command changes no buffer:
     * RFC 5321 4.1.4.  Now clear the buffers and store the reverse-path:
     * RFC 5321 4.1.1.2. */
    forget_transaction(s);
    s->transaction.open = true;
    s->transaction.utf8 = parameters.utf8;
    snprintf(s->transaction.reverse_path, sizeof s->transaction.reverse_path,
             "%.*s", (int)(end - 1 - mailbox), mailbox);
    reply(s, "250 2.1.0 Sender ok");
    return NULL;
}

/* Is mail for this domain, or address literal (RFC 5321 4.1.3), kept here?
 * Domains are the same in any case (RFC 5321 2.4). */
static bool is_served(const char *domain)
{
    bool literal = *domain == '[';

    for (int i = 0; i < options.domain_count; i++)
        if (strcasecmp(options.domains[i], domain) == 0 ||
            (!literal && strcmp(options.domains[i], "*") == 0))
            return true;
    return literal && is_our_literal(domain);
}

/* Put path into the forward-path buffer, or say why not.  RFC 5321 4.1.1.3:
 * the other buffers are left alone. */
static const char *add_recipient(struct session *s, const char *path)
{
    static const char unknown[] = "550 5.1.1 No such mailbox (RFC 5321 3.3)";
    struct transaction *t = &s->transaction;
    struct recipient found;
    const char *domain = find_domain(path);

    /* RFC 5321 3.6.2: we relay for nobody, and 550 says so. */
    if (domain != NULL && !is_served(domain))
        return "550 5.7.1 Not our domain, and we do not relay "
               "(RFC 5321 3.6.2)";
    if (make_mailbox_name(found.mailbox, sizeof found.mailbox, path) == -1)
        return "501 5.1.3 Local-part too long (RFC 5321 4.5.3.1)";

    if (found.mailbox[0] == '\0')       /* from ""@example.com */
        return unknown;

    /* RFC 5321 4.5.1: postmaster is there even where nobody else is. */
    if (options.strict && strcmp(found.mailbox, "postmaster") != 0 &&
        !is_directory(found.mailbox))
        return errno == ENOENT || errno == ENOTDIR
                   ? unknown
                   : "451 4.3.0 Error on our side: try again later "
                     "(RFC 5321 4.2.3)";

    for (size_t i = 0; i < t->recipients; i++)
        if (strcmp(t->forward_path[i].mailbox, found.mailbox) == 0)
            return NULL;                /* named twice, delivered once */
    if (t->recipients == MAX_RECIPIENTS)
        return "452 4.5.3 Too many recipients: send them the message again "
               "(RFC 5321 4.5.3.1.10)";
    snprintf(found.path, sizeof found.path, "%s", path);
    t->forward_path[t->recipients++] = found;
    return NULL;
}

static const char *cmd_rcpt(struct session *s, const char *arg)
{
    const char *path = arg + strspn(arg, " "), *end, *mailbox, *refusal;
    char copy[MAX_PATH + 1];

    if ((end = parse_forward_path(path, &mailbox)) == NULL)
        return "501 5.1.3 A path is <local-part@domain> (RFC 5321 4.1.2)";
    if (end - path > MAX_PATH)
        return "501 5.1.3 Path too long (RFC 5321 4.5.3.1.3)";
    if (*end == ' ')
        return "555 5.5.4 RCPT has no parameters here (RFC 5321 4.1.1.11)";
    if (*end != '\0')
        return "501 5.1.3 After the path comes nothing (RFC 5321 4.1.1.3)";
    refusal = check_8bit(path, (size_t)(end - path), s->transaction.utf8,
                         "501 5.1.3 Not UTF-8 (RFC 6531 3.3)");
    if (refusal != NULL)
        return refusal;

    snprintf(copy, sizeof copy, "%.*s", (int)(end - 1 - mailbox), mailbox);
    if ((refusal = add_recipient(s, copy)) != NULL)
        return refusal;
    reply(s, "250 2.1.5 Recipient ok");
    return NULL;
}

static const char *cmd_data(struct session *s, const char *arg)
{
    const char *refusal;

    (void)arg;
    reply(s, "354 Start mail input; end with <CRLF>.<CRLF>, "
             "a line with only a dot");
    refusal = receive_message(s);
    if (refusal == NULL)
        reply(s, "250 2.0.0 Message kept as %s", s->message.id);

    /* RFC 5321 4.1.1.4: done or failed, "these buffers are cleared". */
    forget_transaction(s);
    return refusal;
}

static const char *cmd_rset(struct session *s, const char *arg)
{
    (void)arg;
    forget_transaction(s);
    reply(s, "250 2.0.0 Forgotten");
    return NULL;
}

/* RFC 5321 7.3: a site that does not want to tell who has a mailbox "MUST
 * return a 252 response", which is no yes and no no. */
static const char *cmd_vrfy(struct session *s, const char *arg)
{
    (void)arg;
    reply(s, "252 2.0.0 We do not say who has a mailbox: "
             "send the mail and see (RFC 5321 7.3)");
    return NULL;
}

/* RFC 5321 4.1.1.8: with an argument, more about it. */
static const char *cmd_help(struct session *s, const char *arg)
{
    const struct command *command = find_command(arg);

    if (*arg != '\0' && (command == NULL || strchr(arg, ' ') != NULL))
        return "504 5.5.4 No such command: try HELP alone "
               "(RFC 5321 4.1.1.8)";
    if (*arg != '\0') {
        reply(s, "214-2.0.0 %s%s%s", SYNTAX(command));
        reply(s, "214-2.0.0 %s", command->meaning);
        reply(s, "214 2.0.0 It is described in %s", command->section);
        return NULL;
    }
    reply(s, "214-2.0.0 This is smtpd " VERSION ". You can say now:");
    for (size_t i = 0; i < COMMANDS; i++)
        if ((commands[i].states & IN(state_of(s))) != 0)
            reply(s, "214-2.0.0 %s%s%s", SYNTAX(&commands[i]));
    reply(s, "214 2.0.0 HELP and a verb tells more");
    return NULL;
}

/* RFC 5321 4.1.1.9: an argument of NOOP is ignored. */
static const char *cmd_noop(struct session *s, const char *arg)
{
    (void)arg;
    reply(s, "250 2.0.0 Nothing done");
    return NULL;
}

/* RFC 5321 4.1.1.10: say 221, then close.  A message begun is aborted. */
static const char *cmd_quit(struct session *s, const char *arg)
{
    (void)arg;
    take_leave(s, "221 2.0.0 %s Service closing transmission channel");
    return NULL;                        /* never: the process has ended */
}

/* ------------------------------------------------------------------------
 * 6. The message                       RFC 5321 4.1.1.4, 4.5.2, 2.3.8, 6.3
 *
 * After the 354, lines are no commands but mail data, up to a line that holds
 * only a dot.  This is where the most dangerous mistake in SMTP is made: to
 * take anything but CRLF . CRLF for that end.  If two servers disagree on
 * where a message ends, what follows is text to one and commands to the
 * other, and a sender can smuggle in a second message under any name: its
 * text only needs to have LF . LF and then MAIL FROM:<the victim's boss>.
 *
 * So only a whole line end makes the next octet the first of a line, and a
 * message with a stray CR, LF or NUL is read to its true end, then refused.
 * --------------------------------------------------------------------- */

/* A line of mail data, or, where it is long, a piece of one. */
struct piece {
    const char *text;           /* in the input buffer, without line end */
    size_t length;
    bool starts_line, ends_line;
    bool foul;                  /* holds a bare CR, a bare LF or a NUL */
};

/* Take the next piece from the input; piece still holds the one before.
 * Reading on, we wait for the LF, or for as much as a line may have
 * (RFC 5321 4.5.3.1.6), so that we see the whole of a short line before we
 * judge its dot or its field name.  Where there is no LF, a CR at the end of
 * what has come may be the first half of a line end: it stays in the input,
 * and is seen again with what comes next. */
static void next_piece(struct session *s, struct piece *piece)
{
    const char *lf, *text;
    size_t length;
    bool cr;

    for (;;) {
        text = s->in + s->in_start;
        length = s->in_end - s->in_start;
        lf = length > 0 ? memchr(text, '\n', length) : NULL;
        if (lf != NULL || length >= MAX_TEXT_LINE)
            break;
        fill(s);
    }
    piece->starts_line = piece->ends_line;      /* that of the one before */
    if (lf != NULL)
        length = (size_t)(lf - text);
    cr = length > 0 && text[length - 1] == '\r';
    piece->ends_line = lf != NULL && (cr || s->line_ending == LF);
    length -= cr;               /* part of the line end, or not taken yet */
    piece->foul = (lf != NULL && !piece->ends_line) ||
                  memchr(text, '\r', length) != NULL ||
                  memchr(text, '\0', length) != NULL;
    piece->text = text;
    piece->length = length;
    s->in_start += lf != NULL ? (size_t)(lf + 1 - text) : length;
}

/* RFC 5321 4.5.2: a lone dot is the end of mail data; of another line that
 * starts with a dot, the dot is dropped, for the client has doubled it.
 * Returns whether this was the end. */
static bool undo_dot(struct piece *piece)
{
    if (!piece->starts_line || piece->length == 0 || piece->text[0] != '.')
        return false;
    if (piece->ends_line && piece->length == 1)
        return true;
    piece->text++;
    piece->length--;
    return false;
}

/* The length of the field name that a header line begins with, or 0.  It is
 * printable octets, then a colon (RFC 5322 2.2).  Old software put spaces
 * before the colon (RFC 5322 4.5). */
static size_t field_name(const struct piece *line)
{
    size_t name = 0, colon;

    while (name < line->length && line->text[name] > ' ' &&
           line->text[name] < 127 && line->text[name] != ':')
        name++;
    for (colon = name; colon < line->length; colon++)
        if (line->text[colon] != ' ' && line->text[colon] != '\t')
            break;
    return colon < line->length && line->text[colon] == ':' ? name : 0;
}

/* Look at a piece of the header section; returns whether it is kept.  A field
 * is a line that begins with its name, and goes on in the lines after it that
 * begin with a space or a tab: it is folded (RFC 5322 2.2.3).  Any other line
 * ends the section.
 *
 * One Return-Path: should stand in a delivered message, and others may be
 * removed (RFC 5321 4.4): we put ours there, so they go, folded lines too.
 * Received: fields are counted, to find a loop (RFC 5321 6.3). */
static bool keep_header(struct session *s, const struct piece *piece)
{
    struct message *m = &s->message;
    bool folded = piece->length > 0 &&
                  (*piece->text == ' ' || *piece->text == '\t');

    if (!m->in_header)
        return true;
    if (piece->starts_line && folded && !m->has_field) {
        /* The first line of all.  It would go on with our own Received:, which
         * stands before it; so an empty line goes between. */
        append(s, "\n", 1);
        m->in_header = false;
    } else if (piece->starts_line && !folded) {
        size_t name = field_name(piece);

        m->has_field = m->in_header = name > 0;
        m->in_return_path = is_word(piece->text, name, "Return-Path");
        if (is_word(piece->text, name, "Received"))
            m->received++;
    }
    return !m->in_return_path;
}

/* Read the mail data to its end and keep the message.  Returns NULL when it
 * is on disk in every mailbox, or the refusal; then it is in none. */
static const char *receive_message(struct session *s)
{
    struct message *m = &s->message;
    struct piece piece = { .ends_line = true };     /* as if one came before */
    const char *refusal;

    s->in_data = true;
    s->data_began = now();
    s->data_octets = 0;
    begin_message(s);
    for (;;) {
        next_piece(s, &piece);
        log_dialogue(s, piece.starts_line ? "C: " : "C: ... ", piece.text,
                     piece.length);
        if (undo_dot(&piece))
            break;

        /* RFC 1870 5: line ends count two octets, doubled dots one. */
        m->size += (long long)piece.length + (piece.ends_line ? 2 : 0);
        m->foul = m->foul || piece.foul;
        if (!keep_header(s, &piece) || m->foul ||
            m->size > options.max_message)
            continue;
        append(s, piece.text, piece.length);
        if (piece.ends_line)
            append(s, "\n", 1);
    }
    s->in_data = false;
    refusal = keep_message(s);
    if (refusal != NULL)
        drop_message(s);
    return refusal;
}

/* ------------------------------------------------------------------------
 * 7. Reading an argument               RFC 5321 4.1.2, 4.1.3
 *
 * One function a rule of the grammar, and the rule above it.  In the rules,
 * a / b is one of the two, [ a ] may be left out, *a is any number of a, 1*a
 * at least one, 1*3a one to three, 3a three, and %d32-126 is any octet from 32
 * to 126.  ALPHA is a letter, DIGIT a digit, DQUOTE the octet 34.
 *
 * Each function is given where to begin, in a string that ends with NUL, and
 * returns where what it describes ends, or NULL where it is not there.
 *
 * 8-bit octets are taken for letters here.  Whether they may be said at all,
 * and whether they are UTF-8, is asked in check_8bit().
 * --------------------------------------------------------------------- */

/* Not ctype.h's functions: they must not be given a negative char. */
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_let_dig(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           is_8bit(&c, 1);                              /* RFC 6531 3.3 */
}

/* sub-domain = Let-dig [Ldh-str]
 * Ldh-str    = *( ALPHA / DIGIT / "-" ) Let-dig
 *
 * Not here: refusing the underscore, which RFC 5321 4.1.2 does not permit.  It
 * is met in the names of real hosts, does no harm, and counts as a letter.
 *
 * Not here: asking which 8-bit names can be registered, which RFC 6531 3.3
 * wants.  Mail for a domain that is not ours is refused anyway. */
static const char *parse_sub_domain(const char *p)
{
    const char *start = p;

    while (is_let_dig(*p) || *p == '_' || *p == '-')
        p++;
    return p > start && *start != '-' && p[-1] != '-' ? p : NULL;
}

/* Domain = sub-domain *("." sub-domain) */
static const char *parse_domain(const char *p)
{
    p = parse_sub_domain(p);
    while (p != NULL && *p == '.')
        p = parse_sub_domain(p + 1);
    return p;
}

/* IPv4-address-literal = Snum 3("."  Snum)
 * Snum                 = 1*3DIGIT, 0 through 255 */
static const char *parse_ipv4(const char *p)
{
    for (int part = 0; part < 4; part++) {
        int digits = 0, value = 0;

        if (part > 0 && *p++ != '.')
            return NULL;
        for (; is_digit(*p) && digits < 3; p++, digits++)
            value = value * 10 + (*p - '0');
        if (digits == 0 || value > 255)
            return NULL;
    }
    return p;
}

/* IPv6-addr = IPv6-full / IPv6-comp / IPv6v4-full / IPv6v4-comp
 * IPv6-hex  = 1*4HEXDIG
 *
 * Eight groups, or at most six and one "::", which stands for two or more.
 * An IPv4 address at the end counts as two groups. */
static const char *parse_ipv6(const char *p)
{
    static const char hex[] = "0123456789ABCDEFabcdef";
    bool compressed = strncmp(p, "::", 2) == 0;
    size_t digits;
    int groups = 0;

    if (compressed)
        p += 2;
    while ((digits = strspn(p, hex)) > 0) {
        const char *ipv4 = parse_ipv4(p);   /* begins like a group */

        if (ipv4 != NULL) {
            groups += 2;
            p = ipv4;
            break;
        }
        if (digits > 4)
            return NULL;
        groups++;
        p += digits;
        if (strncmp(p, "::", 2) == 0 && !compressed) {
            compressed = true;
            p += 2;
        } else if (*p == ':' && strspn(p + 1, hex) > 0)
            p++;
        else
            break;
    }
    return (compressed ? groups <= 6 : groups == 8) ? p : NULL;
}

/* address-literal = "[" ( IPv4-address-literal / IPv6-address-literal /
 *                         General-address-literal ) "]"
 *
 * Not here: General-address-literal.  It begins with a tag that must be
 * registered (RFC 5321 4.1.3), and none is but IPv6. */
static const char *parse_address_literal(const char *p)
{
    if (*p++ != '[')
        return NULL;
    p = strncasecmp(p, "IPv6:", 5) == 0 ? parse_ipv6(p + 5) : parse_ipv4(p);
    return p != NULL && *p == ']' ? p + 1 : NULL;
}

/* atext: RFC 5322 3.2.3, with RFC 6531 3.3's octets */
static bool is_atext(char c)
{
    return is_let_dig(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

/* Dot-string = Atom *("."  Atom)
 * Atom       = 1*atext */
static const char *parse_dot_string(const char *p)
{
    if (!is_atext(*p))
        return NULL;
    while (is_atext(*p) || (*p == '.' && is_atext(p[1])))
        p++;
    return p;
}

/* Quoted-string   = DQUOTE *QcontentSMTP DQUOTE
 * QcontentSMTP    = qtextSMTP / quoted-pairSMTP
 * quoted-pairSMTP = %d92 %d32-126
 * qtextSMTP       = %d32-33 / %d35-91 / %d93-126, with RFC 6531 3.3's octets */
static const char *parse_quoted_string(const char *p)
{
    if (*p++ != '"')
        return NULL;
    for (; *p != '"'; p++) {            /* the NUL at the end is < ' ' */
        bool pair = *p == '\\';

        p += pair;
        if ((unsigned char)*p < ' ' || *p == 127 || (pair && is_8bit(p, 1)))
            return NULL;
    }
    return p + 1;
}

/* Local-part = Dot-string / Quoted-string */
static const char *parse_local_part(const char *p)
{
    return *p == '"' ? parse_quoted_string(p) : parse_dot_string(p);
}

/* Mailbox = Local-part "@" ( Domain / address-literal ) */
static const char *parse_mailbox(const char *p)
{
    p = parse_local_part(p);
    if (p == NULL || *p++ != '@')
        return NULL;
    return *p == '[' ? parse_address_literal(p) : parse_domain(p);
}

/* A-d-l     = At-domain *( "," At-domain )
 * At-domain = "@" Domain */
static const char *parse_source_route(const char *p)
{
    do {
        if (*p++ != '@' || (p = parse_domain(p)) == NULL)
            return NULL;
    } while (*p++ == ',');
    return p - 1;                       /* back to what was no comma */
}

/* Path = "<" [ A-d-l ":" ] Mailbox ">"
 *
 * RFC 5321 4.1.1.3, appendix C: a source route must be accepted, and should
 * be ignored: *mailbox is set to what follows it. */
static const char *parse_path(const char *p, const char **mailbox)
{
    if (*p++ != '<')
        return NULL;
    if (*p == '@' && ((p = parse_source_route(p)) == NULL || *p++ != ':'))
        return NULL;
    *mailbox = p;
    p = parse_mailbox(p);
    return p != NULL && *p == '>' ? p + 1 : NULL;
}

/* Reverse-path = Path / "<>" */
static const char *parse_reverse_path(const char *p, const char **mailbox)
{
    if (strncmp(p, "<>", 2) == 0) {
        *mailbox = p + 1;
        return p + 2;
    }
    return parse_path(p, mailbox);
}

/* "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path
 *
 * RFC 5321 4.1.1.3: the one name that needs no domain, in any case. */
static const char *parse_forward_path(const char *p, const char **mailbox)
{
    static const char postmaster[] = "<postmaster>";
    size_t length = strlen(postmaster);

    if (strncasecmp(p, postmaster, length) == 0) {
        *mailbox = p + 1;
        return p + length;
    }
    return parse_path(p, mailbox);
}

/* Where the domain of a mailbox begins; NULL where it has none. */
static const char *find_domain(const char *mailbox)
{
    const char *at = parse_local_part(mailbox);

    return at != NULL && *at == '@' ? at + 1 : NULL;
}

static bool is_8bit(const char *p, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)p[i] > 127)
            return true;
    return false;
}

/* Is it UTF-8 as RFC 3629 4 has it?  The first octet of a character tells how
 * many more it has, each 80 to BF.  After four of them the second octet has
 * narrower bounds: after E0 and F0 a low one would make a longer form of what
 * has a shorter one, after ED a high one half of a pair of UTF-16, and after
 * F4 a character above the last, U+10FFFF. */
static bool is_utf8(const char *p, size_t length)
{
    const unsigned char *u = (const unsigned char *)p, *end = u + length;

    while (u < end) {
        unsigned char first = *u++, low = 0x80, high = 0xBF;
        int more = first < 0x80 ? 0 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;

        if (first > 0xF4 || (first >= 0x80 && first < 0xC2))
            return false;
        if (first == 0xE0)
            low = 0xA0;
        if (first == 0xED)
            high = 0x9F;
        if (first == 0xF0)
            low = 0x90;
        if (first == 0xF4)
            high = 0x8F;
        for (; more > 0; more--, u++) {
            if (u == end || *u < low || *u > high)
                return false;
            low = 0x80;
            high = 0xBF;
        }
    }
    return true;
}

/* ------------------------------------------------------------------------
 * 8. Keeping the mail                  RFC 5321 6.1, 4.4, 7.2
 *
 * "It MUST NOT lose the message for frivolous reasons, such as because the
 * host later crashes": that is what the 250 after the dot promises.
 *
 * A mailbox is a Maildir: a directory with tmp, new and cur in it.  A message
 * is written to a file in tmp and forced to disk, moved to new, and the
 * directory new is forced to disk.  So a message is in new whole or not at
 * all, also when the power fails, and no lock is needed.  With several
 * recipients the one file is linked into each one's tmp; when all have it, it
 * is moved in each.  We are in the mail directory: all paths start there.
 *
 * For one message: begin_message(), then append() for each piece, which calls
 * write_out() when the buffer is full; at the end keep_message(), which calls
 * deliver().  drop_message() undoes it all, at any time.
 * --------------------------------------------------------------------- */

enum { MAX_FILE_PATH = 2 * MAX_MAILBOX_NAME + 8 };

/* Write the path of a mailbox's file in one of its directories.  There must be
 * room for MAX_FILE_PATH octets. */
static void file_path(char *path, const char *mailbox, const char *directory,
                      const char *file)
{
    snprintf(path, MAX_FILE_PATH, "%s/%s/%s", mailbox, directory, file);
}

/* Write name so that it can be a file's name: octets other than a-z, 0-9,
 * and a few more become %XX, a dot at the start too, so that no address can
 * lead out of the mail directory.  Returns -1 where it did not fit; then its
 * end is missing. */
static int escape_name(char *to, size_t size, const char *name, size_t length)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789_+=-";
    size_t used = 0, i;

    for (i = 0; i < length; i++) {
        char c = name[i];
        bool safe = c != '\0' &&
                    (strchr(plain, c) != NULL || (c == '.' && used > 0));
        size_t room = safe ? 1 : 3;

        if (used + room >= size)
            break;
        if (safe)
            to[used] = c;
        else
            snprintf(to + used, 4, "%%%02X", (unsigned char)c);
        used += room;
    }
    to[used] = '\0';
    return i < length ? -1 : 0;
}

/* The mailbox that a path names.  All quoted forms of a local-part are the
 * same (RFC 5321 4.1.2), so quoting is undone.  The domain is no part of the
 * name.  Returns -1 where it is too long for a file's name.
 *
 * Not here: the case of local-parts, which must be kept (RFC 5321 2.4).  That
 * binds who passes mail on, and our log and trace fields keep it; but a host
 * is advised not to make use of it, so to us Bob and bob are one. */
static int make_mailbox_name(char *name, size_t size, const char *path)
{
    char plain[MAX_PATH + 1];
    const char *end = parse_local_part(path);
    bool quoted = *path == '"';
    size_t length = 0;

    for (const char *p = path + quoted; p < end - quoted; p++) {
        if (quoted && *p == '\\')
            p++;
        plain[length++] = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
    }
    return escape_name(name, size, plain, length);
}

/* Is there room for so many octets?  Where the file system can't tell, writing
 * will show. */
static bool disk_has(long long octets)
{
    struct statvfs fs;

    return statvfs(".", &fs) == -1 || fs.f_blocks == 0 ||
           (double)fs.f_bavail * (double)fs.f_frsize >= (double)octets;
}

/* Force a file to disk: write() has only handed its octets to the kernel, and
 * they would be gone with the power.  Returns -1 and sets errno when that
 * failed. */
static int make_durable(int fd)
{
#ifdef F_FULLFSYNC              /* macOS: its fsync() stops at the drive */
    if (fcntl(fd, F_FULLFSYNC) != -1)
        return 0;
    if (errno != ENOTSUP && errno != EINVAL && errno != ENOTTY)
        return -1;              /* else: this file system has it not */
#endif
    return fsync(fd);
}

/* Force the names in a directory to disk; as make_durable().  A file's name is
 * not in the file but in the directory, which is written by itself. */
static int make_names_durable(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY), error = 0;

    if (fd == -1)
        return -1;
    if (make_durable(fd) == -1 && errno != EINVAL)
        error = errno;          /* EINVAL: it does that by itself */
    close(fd);
    errno = error;
    return error == 0 ? 0 : -1;
}

static int make_directory(const char *path)
{
    return mkdir(path, 0700) == -1 && errno != EEXIST ? -1 : 0;
}

/* If not, errno tells why. */
static bool is_directory(const char *path)
{
    struct stat st;

    if (stat(path, &st) == -1)
        return false;
    errno = ENOTDIR;
    return S_ISDIR(st.st_mode);
}

/* Make a mailbox, or what is missing of it.  tmp is made last, when the names
 * of the rest are on disk: if it came first, another process could find it,
 * deliver, and say 250 while they are not.  Returns -1 and sets errno when
 * that failed. */
static int make_mailbox(const char *mailbox)
{
    char new[MAX_FILE_PATH], cur[MAX_FILE_PATH], tmp[MAX_FILE_PATH];

    file_path(new, mailbox, "new", "");
    file_path(cur, mailbox, "cur", "");
    file_path(tmp, mailbox, "tmp", "");
    if (is_directory(new) && is_directory(cur) && is_directory(tmp))
        return 0;
    if (make_directory(mailbox) == -1 || make_directory(new) == -1 ||
        make_directory(cur) == -1 || make_names_durable(mailbox) == -1 ||
        make_names_durable(".") == -1)
        return -1;
    return make_directory(tmp);
}

/* O_EXCL: another's file is never written to.  A mailbox that is made for a
 * message which is then refused stays, empty: somebody else may use it. */
static void create_file(struct session *s)
{
    struct message *m = &s->message;
    const char *mailbox = s->transaction.forward_path[0].mailbox;
    char tmp[MAX_FILE_PATH];

    file_path(tmp, mailbox, "tmp", m->file);
    if (make_mailbox(mailbox) == 0)
        m->fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (m->fd == -1)
        m->error = errno;
}

/* Write what text[] holds to the file; m->error tells whether that worked. */
static void write_out(struct session *s)
{
    struct message *m = &s->message;
    size_t done = 0;

    if (m->fd == -1 && m->error == 0)
        create_file(s);
    while (done < m->length && m->error == 0) {
        ssize_t n = write(m->fd, s->text + done, m->length - done);

        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            m->error = n == 0 ? ENOSPC : errno;     /* 0 has no errno */
    }
    m->length = 0;
}

/* Collect octets for the file.  They always fit into the empty text[], for it
 * is as large as in[], where they come from. */
static void append(struct session *s, const char *octets, size_t length)
{
    struct message *m = &s->message;

    if (length > sizeof s->text - m->length)
        write_out(s);
    memcpy(s->text + m->length, octets, length);
    m->length += length;
}

/* date-time: RFC 5322 3.3.  RFC 5321 4.4: local time with its offset, which
 * is local time minus UT.  strftime() would look for the time zone again, and
 * after a chroot() not find it. */
static void format_date(char *text, size_t size, time_t t)
{
    static const char days[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri",
                                    "Sat" };
    static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                      "Jul", "Aug", "Sep", "Oct", "Nov",
                                      "Dec" };
    struct tm local, ut;
    int offset;                         /* in minutes */

    if (localtime_r(&t, &local) == NULL || gmtime_r(&t, &ut) == NULL) {
        memset(&local, 0, sizeof local);
        ut = local;
    }
    offset = (local.tm_hour - ut.tm_hour) * 60 + local.tm_min - ut.tm_min;
    if (local.tm_year != ut.tm_year)
        offset += local.tm_year > ut.tm_year ? 1440 : -1440;
    else
        offset += (local.tm_yday - ut.tm_yday) * 1440;
    snprintf(text, size, "%.3s, %d %.3s %d %02d:%02d:%02d %c%02d%02d",
             days[local.tm_wday], local.tm_mday, months[local.tm_mon],
             local.tm_year + 1900, local.tm_hour, local.tm_min, local.tm_sec,
             offset < 0 ? '-' : '+', abs(offset) / 60, abs(offset) % 60);
}

/* The trace fields.  RFC 5321 4.4: Return-Path: with the reverse-path, then
 * Received: with who sent it (what EHLO said, and the address that we see),
 * who received it, how, under which ID, for whom, and when. */
static void write_trace(struct session *s, time_t t)
{
    const struct transaction *tr = &s->transaction;
    const char *path = tr->forward_path[0].path;
    const char *client = s->client.literal;
    bool literal = *options.name == '[';
    char text[2 * MAX_PATH + 3 * MAX_DOMAIN + 512];     /* so all fits */
    char date[64];

    /* RFC 5321 7.2: only one recipient may be named, or blind copies would
     * not be blind.  And <postmaster> without a domain is no Path, as "for"
     * wants it (RFC 5321 4.4). */
    bool alone = tr->recipients == 1 && find_domain(path) != NULL;

    /* RFC 5321 4.4: after a literal, its address is said once more.
     * RFC 6531 4.3: UTF8SMTP is ESMTP with SMTPUTF8. */
    format_date(date, sizeof date, t);
    snprintf(text, sizeof text,
             "Return-Path: <%s>\n"
             "Received: from %s%s%s%s\n"
             "\tby %s%s%s%s with %s id %s%s%s%s;\n"
             "\t%s\n",
             tr->reverse_path, s->client_name,
             *client != '\0' ? " (" : "", client, *client != '\0' ? ")" : "",
             options.name, literal ? " (" : "", literal ? options.name : "",
             literal ? ")" : "",
             tr->utf8 ? "UTF8SMTP" : s->extended ? "ESMTP" : "SMTP",
             s->message.id, alone ? "\n\tfor <" : "", alone ? path : "",
             alone ? ">" : "", date);
    append(s, text, strlen(text));
}

/* Make ready for a message: its names, and the fields that we add to it.
 * The file's name is as Maildir asks: time, a name that no other delivery of
 * this host has, host. */
static void begin_message(struct session *s)
{
    struct message *m = &s->message;
    char host[100];
    time_t t = time(NULL);

    *m = (struct message){ .fd = -1, .in_header = true };   /* the rest: 0 */

    /* A long name is cut: that is no fault here. */
    (void)escape_name(host, sizeof host, options.name, strlen(options.name));
    snprintf(m->id, sizeof m->id, "%s-%u", s->id, ++s->messages);
    snprintf(m->file, sizeof m->file, "%lld.%s.%s", (long long)t, m->id, host);
    write_trace(s, t);
}

/* Is the i-th recipient's "new" also that of an earlier one, by a symbolic
 * link?  The device and the inode are what the system knows a directory by.
 * To look for the file there won't do: a reader may have moved it on. */
static bool is_alias(const struct recipient *to, size_t i)
{
    char new[MAX_FILE_PATH];
    struct stat own, other;

    file_path(new, to[i].mailbox, "new", "");
    if (stat(new, &own) == -1)
        return false;
    for (size_t j = 0; j < i; j++) {
        file_path(new, to[j].mailbox, "new", "");
        if (stat(new, &other) == 0 && other.st_dev == own.st_dev &&
            other.st_ino == own.st_ino)
            return true;
    }
    return false;
}

/* Move the whole, durable file from tmp into new, for every recipient.
 * Returns 0, or the errno of what failed; then drop_message() undoes the rest.
 *
 * Two mailboxes may be one directory, by a symbolic link: then the file is in
 * the second tmp already, and is moved only once.
 *
 * Not here: mailboxes on several file systems.  link() can't join those, and a
 * message for two of them gets 451. */
static int deliver(const struct session *s)
{
    const struct recipient *to = s->transaction.forward_path;
    size_t recipients = s->transaction.recipients;
    const char *file = s->message.file;
    char first[MAX_FILE_PATH], tmp[MAX_FILE_PATH], new[MAX_FILE_PATH];
    bool alias[MAX_RECIPIENTS] = { false };

    file_path(first, to[0].mailbox, "tmp", file);
    for (size_t i = 1; i < recipients; i++) {
        file_path(tmp, to[i].mailbox, "tmp", file);
        if (make_mailbox(to[i].mailbox) == -1)
            return errno;
        if (link(first, tmp) == 0)
            continue;
        if (errno != EEXIST)
            return errno;
        if (!is_alias(to, i))
            return EEXIST;
        alias[i] = true;
    }
    for (size_t i = 0; i < recipients; i++) {
        file_path(tmp, to[i].mailbox, "tmp", file);
        file_path(new, to[i].mailbox, "new", file);
        if (!alias[i] && rename(tmp, new) == -1)
            return errno;
    }
    for (size_t i = 0; i < recipients; i++) {
        file_path(new, to[i].mailbox, "new", "");
        if (make_names_durable(new) == -1)
            return errno;
    }
    return 0;
}

/* Throw away a message that is not to be kept, from wherever it is: there is
 * no partial failure (RFC 5321 4.1.1.4).  To unlink what is not there does no
 * harm. */
static void drop_message(struct session *s)
{
    const struct transaction *t = &s->transaction;
    char path[MAX_FILE_PATH];

    if (s->message.fd == -1)
        return;
    close(s->message.fd);
    s->message.fd = -1;
    for (size_t i = 0; i < t->recipients; i++) {
        file_path(path, t->forward_path[i].mailbox, "tmp", s->message.file);
        unlink(path);
        file_path(path, t->forward_path[i].mailbox, "new", s->message.file);
        unlink(path);
    }
}

/* Judge the message whose end has come, and keep it.  Returns NULL when it is
 * safe on disk for every recipient, or the refusal. */
static const char *keep_message(struct session *s)
{
    struct message *m = &s->message;

    /* Not here: delivering a NUL, as RFC 5321 4.5.2 asks.  Programs that read
     * mail often take it for the end. */
    if (m->foul)
        return "554 5.6.0 Bare CR, bare LF or NUL in the message: send "
               "CRLF, as curl --crlf does (RFC 5321 2.3.8)";
    if (m->received > MAX_RECEIVED)
        return "554 5.4.6 Too many Received fields: a loop (RFC 5321 6.3)";
    if (m->size > options.max_message)
        return "552 5.3.4 Message too large (RFC 5321 4.5.3.1.9)";

    write_out(s);
    if (m->error == 0 && make_durable(m->fd) == -1)
        m->error = errno;
    if (m->error == 0)
        m->error = deliver(s);
    if (m->error == ENOSPC || m->error == EDQUOT || m->error == EFBIG)
        return "452 4.3.1 Disk full: try again later (RFC 5321 4.2.3)";
    if (m->error != 0) {
        log_line(s, "error: can't keep %s in %s and %zu more: %s", m->file,
                 s->transaction.forward_path[0].mailbox,
                 s->transaction.recipients - 1, strerror(m->error));
        return "451 4.3.0 Error on our side: try again later "
               "(RFC 5321 4.2.3)";
    }
    close(m->fd);               /* if it fails, the message is still on disk */
    m->fd = -1;
    for (size_t i = 0; i < s->transaction.recipients; i++)
        log_line(s, "kept %s from=<%s> to=<%s> size=%lld file=%s/new/%s",
                 m->id, s->transaction.reverse_path,
                 s->transaction.forward_path[i].path, m->size,
                 s->transaction.forward_path[i].mailbox, m->file);
    return NULL;
}

/* ------------------------------------------------------------------------
 * 9. The wire                          RFC 5321 2.3.7, 2.3.8, 4.2, 4.5.3.2
 *
 * The session is on standard input and output, whether a connection was put
 * there by become_session() or by inetd.  TCP delivers octets in what pieces
 * it likes: a line may come in ten packets, or ten lines in one.  So input
 * goes into a buffer, and lines are taken from there; replies go into another,
 * and are sent when we are about to wait for more input.  That answers a group
 * of pipelined commands in one packet (RFC 2920).
 *
 * Not here: RFC 2920's list of replies that must not be held back.  Its last
 * word is kept: all are sent as soon as the input is empty.  Who keeps to
 * RFC 2920 waits at the end of a group, and there all have been sent.
 * --------------------------------------------------------------------- */

/* Seconds on a clock that nobody sets. */
static double now(void)
{
    struct timespec t = { 0, 0 };

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Let SIGTERM in even if there is always input: pselect() on some systems,
 * Linux too, looks at signals only when it has to wait. */
static void note_signals(void)
{
    sigset_t pending;

    if (sigpending(&pending) == 0 && (sigismember(&pending, SIGTERM) == 1 ||
                                      sigismember(&pending, SIGINT) == 1))
        stopping = 1;
}

/* RFC 5321 3.8: a server that is shut down says 421 before it goes.  A client
 * in the middle of its message gets some time to finish it, and one that is
 * being sent replies, to read them. */
static void heed_stop(struct session *s, bool writing)
{
    note_signals();
    if (!stopping || s->ended)
        return;
    if (s->stop_by == 0)
        s->stop_by = now() + STOP_SECONDS;
    if ((!s->in_data && !writing) || now() >= s->stop_by)
        end_session(s, "421 4.3.2 %s Service shutting down (RFC 5321 3.8)");
}

/* Wait until standard input can be read or, if writing, standard output can
 * be written.  All waiting for the client is done here, and only here are
 * signals let in.  Returns false when the deadline has passed. */
static bool wait_for(struct session *s, bool writing, double deadline)
{
    int fd = writing ? STDOUT_FILENO : STDIN_FILENO;

    for (;;) {
        struct timespec timeout;
        double left;
        fd_set set;
        int ready;

        heed_stop(s, writing);
        if ((left = deadline - now()) <= 0)
            return false;
        if (s->stop_by != 0 && left > 1)
            left = 1;                   /* and heed_stop() looks again */
        timeout.tv_sec = (time_t)left;
        timeout.tv_nsec = (long)((left - (double)timeout.tv_sec) * 1e9);
        FD_ZERO(&set);
        FD_SET(fd, &set);
        ready = pselect(FD_SETSIZE, writing ? NULL : &set,
                        writing ? &set : NULL, NULL, &timeout,
                        &blocked_in_sleep);
        if (ready > 0)
            return true;
        if (ready == -1 && errno != EINTR)
            return false;
    }
}

/* Send the replies held.  A connection does not block (see accept_one()), so
 * we write, and wait only if it can take no more.  With -i there may be a pipe
 * or a terminal, which others use too, and its mode is not ours to change:
 * there we ask each time before we write, and write at most PIPE_BUF octets: a
 * pipe that can be written at all takes so many without blocking.
 * RFC 5321 7.8: a client that does not read its replies loses its session. */
static void flush(struct session *s)
{
    int timeout = s->ended ? LINGER_SECONDS : options.timeout;
    size_t most = options.inetd ? PIPE_BUF : sizeof s->out;
    bool ask_first = options.inetd;

    while (s->out_sent < s->out_length) {
        size_t part = s->out_length - s->out_sent;
        ssize_t n;

        if (ask_first && !wait_for(s, true, now() + timeout))
            break;
        n = write(STDOUT_FILENO, s->out + s->out_sent,
                  part < most ? part : most);
        if (n > 0)
            s->out_sent += (size_t)n;
        else if (n == 0 || (errno != EINTR && errno != EAGAIN))
            break;
        else
            ask_first = true;
    }
    if (s->out_sent < s->out_length && !s->ended) {
        s->out_sent = s->out_length;
        log_line(s, "lost: the client takes no replies");
        end_session(s, NULL);
    }
    s->out_sent = s->out_length = 0;
}

/* RFC 5321 4.2.1: x0z is for syntax, unknown and superfluous commands; and
 * 555 is for parameters that we did not offer.  Sent often, they show that
 * this is no mail client.  But one that pipelines (RFC 2920) sends RCPT and
 * DATA before it knows that its MAIL was refused: those 503 don't count.
 *
 * Not here: counting refused recipients, as RFC 5321 7.8 suggests.  Some look
 * for addresses so, but an old mailing list does it too. */
static bool is_blunder(const struct session *s, const char *line)
{
    if (strncmp(line, "503", 3) == 0)
        return !s->mail_refused;
    return strncmp(line, "50", 2) == 0 || strncmp(line, "555", 3) == 0;
}

/* Put one reply line into the output.  It gets its CRLF here: two octets are
 * left for that.  Replies are made of our own words only: nothing that a
 * client sent is sent back. */
static void reply(struct session *s, const char *format, ...)
{
    const char *said;
    char *line;
    va_list args;
    size_t length;

    /* Room for one line more is always kept: for the last words. */
    if (!s->ended && s->out_length >= MAX_REPLIES - 2 * MAX_REPLY_LINE)
        flush(s);
    line = s->out + s->out_length;
    va_start(args, format);
    vsnprintf(line, MAX_REPLY_LINE - 1, format, args);
    va_end(args);
    length = strlen(line);

    log_dialogue(s, "S: ", line, length);
    said = s->line + strspn(s->line, " \t");
    if (*line == '4' || *line == '5')       /* AUTH's line holds a password */
        log_line(s, "refused: %s [after: %.*s]", line,
                 strncasecmp(said, "AUTH", 4) == 0 ? 4 : INT_MAX, said);
    s->blunders += is_blunder(s, line);

    memcpy(line + length, "\r\n", 2);
    s->out_length += length + 2;
}

/* When must more input have come?  RFC 5321 4.5.3.2.7: a command has its time.
 * So has each block of mail data (RFC 5321 3.8); and since an octet now and
 * then would stretch that for ever, a message must keep up MIN_RATE on the
 * whole, too (RFC 5321 7.8). */
static double input_deadline(const struct session *s)
{
    double stall = now() + options.timeout, slow;

    if (!s->in_data)
        return s->deadline;
    slow = s->data_began + options.timeout + (double)s->data_octets / MIN_RATE;
    return slow < stall ? slow : stall;
}

/* Send what is held, wait, and add what comes to the input buffer.  What is
 * left there is first moved to its start; it is less than a line. */
static void fill(struct session *s)
{
    size_t left = s->in_end - s->in_start;
    double began = now(), spent;
    ssize_t n;

    /* While we send, the client can't be late: its clocks stand still. */
    flush(s);
    spent = now() - began;
    s->deadline += spent;
    s->data_began += spent;
    memmove(s->in, s->in + s->in_start, left);
    s->in_start = 0;
    s->in_end = left;
    do {
        if (!wait_for(s, false, input_deadline(s)))
            end_session(s, "421 4.4.2 %s Too slow: timeout "
                           "(RFC 5321 4.5.3.2.7)");
        n = read(STDIN_FILENO, s->in + left, sizeof s->in - left);
    } while (n == -1 && (errno == EINTR || errno == EAGAIN));

    /* RFC 5321 4.1.1.5: a lost connection is taken for a QUIT. */
    if (n <= 0) {
        log_line(s, "lost: the client is gone");
        end_session(s, NULL);
    }
    s->in_end += (size_t)n;
    s->data_octets += n;
}

static char next_octet(struct session *s)
{
    if (s->in_start == s->in_end)
        fill(s);
    return s->in[s->in_start++];
}

/* RFC 5321 2.3.8: only CRLF ends a line.
 *
 * Not here: holding people who type by hand to that, as RFC 5321 4.1.1.4 has
 * it: servers "MUST NOT do this, even in the name of improved robustness".  nc
 * sends a bare LF for each line.  So a session from this very host whose first
 * line ends so is taken for a person's, and LF ends its lines from there on,
 * a CR before it or not.  Nothing can be smuggled in: the first line is EHLO,
 * the sending program's own, and whose text comes later can't change it. */
static void settle_line_ending(struct session *s, bool after_cr)
{
    bool may_be_by_hand = *s->client.literal == '\0' ||
                          is_loopback(&s->client);

    if (s->line_ending == NOT_SEEN)
        s->line_ending = after_cr || !may_be_by_hand ? CRLF : LF;
}

/* Drop the rest of a command that held a bare LF, to its CRLF.  It has been
 * refused at the LF already, for its rest may never come. */
static void skip_line(struct session *s)
{
    char last = '\0', c = '\0';

    while (last != '\r' || c != '\n') {
        last = c;
        c = next_octet(s);
    }
    s->skip_rest = false;
}

/* Read a command line into s->line, without its end, and settle how lines end
 * if it is the first.  Returns NULL, or the refusal of what is no good line.
 * Of one that is too long the start is kept, and the rest read. */
static const char *read_line(struct session *s)
{
    size_t length = 0;
    char c = '\0', last;
    bool too_long;

    s->deadline = now() + options.timeout;
    if (s->skip_rest)
        skip_line(s);
    for (;;) {
        last = c;
        c = next_octet(s);
        if (c == '\n')
            break;
        if (length < MAX_COMMAND_LINE) {
            s->line[length++] = c;
            s->line[length] = '\0';         /* fill() may log it, and end */
        }
    }
    settle_line_ending(s, last == '\r');
    s->skip_rest = s->line_ending == CRLF && last != '\r';

    length -= last == '\r';
    too_long = length + 2 > MAX_COMMAND_LINE;       /* 2: its CRLF */
    log_dialogue(s, "C: ", s->line, length);

    /* RFC 5321 4.1.1: white space at the end of a command is let pass. */
    while (length > 0 &&
           (s->line[length - 1] == ' ' || s->line[length - 1] == '\t'))
        length--;
    s->line[length] = '\0';
    s->line_length = length;

    if (s->skip_rest)
        return "500 5.5.2 A bare LF ends no line: send CRLF, as telnet and "
               "nc -C do (RFC 5321 2.3.8)";
    if (too_long)
        return "500 5.5.2 Line too long: 1024 octets is the most "
               "(RFC 5321 4.5.3.1.4)";
    return NULL;
}

/* Let the last reply arrive.  If we closed a connection on which octets still
 * come in, TCP would answer them with a reset, and that can destroy what the
 * client has not read yet.  A pipe has no reset, and shutdown() fails. */
static void linger(struct session *s)
{
    double deadline = now() + LINGER_SECONDS;

    if (shutdown(STDOUT_FILENO, SHUT_WR) == -1)
        return;
    while (wait_for(s, false, deadline))
        if (read(STDIN_FILENO, s->in, sizeof s->in) <= 0)
            return;
}

/* End a session that has begun, and its process.  last_words is the reply
 * to say first, with %s for our name, which RFC 5321 4.2.2 wants at the head
 * of 221 and 421; or NULL where nobody is there to hear it.  The client has
 * LINGER_SECONDS to take what is held, and then to close. */
static void end_session(struct session *s, const char *last_words)
{
    s->ended = true;
    drop_message(s);
    if (last_words != NULL)
        reply(s, last_words, options.name);
    flush(s);
    log_line(s, "end client=%s", shown_ip(&s->client));
    linger(s);
    _exit(EX_OK);               /* stdio has nothing of ours to flush */
}

/* End the session in peace.  The client has its usual time to take the replies
 * that it is still owed: if one was the 250 for a message and got lost, it
 * would send the message again. */
static void take_leave(struct session *s, const char *last_words)
{
    reply(s, last_words, options.name);
    flush(s);
    end_session(s, NULL);
}

/* ------------------------------------------------------------------------
 * 10. The log
 *
 * One line an event, on standard error or, where that is the client's own
 * connection, to syslog.  A line is written at once, so that lines of several
 * sessions don't mix.  What a client sent is never written raw: control
 * characters could forge lines, or command the operator's terminal.  What is
 * too long for a line goes on in the next, after "...", so that it can't forge
 * one there either.
 * --------------------------------------------------------------------- */

/* Can a line be written to the log?  Who reads it through a pipe may have
 * stopped reading.  Then we wait for him, once; until there is room again what
 * is to be logged is lost, for mail must not wait. */
static bool log_has_room(void)
{
    static bool had_room = true;
    struct timespec patience = { had_room ? LOG_SECONDS : 0, 0 };
    fd_set set;

    FD_ZERO(&set);
    FD_SET(STDERR_FILENO, &set);
    had_room = pselect(FD_SETSIZE, NULL, &set, NULL, &patience, NULL) > 0;
    return had_room;
}

/* Write one line to the log; there must be room for an LF behind it.  What has
 * room can be full a moment later, and a terminal can have too little; so an
 * alarm ends a write that waits: see set_up_signals().  Returns false when the
 * line, or its end, is lost.  There is nobody to tell. */
static bool put_line(char *line)
{
    size_t length = strlen(line);
    bool written = true;

    if (!options.to_syslog && !options.to_file && !log_has_room())
        return false;
    if (!options.to_file)               /* a file never makes us wait */
        alarm(LOG_SECONDS);
    if (options.to_syslog)
        syslog(LOG_INFO, "%s", strchr(line, ' ') + 1);  /* it adds smtpd */
    else {
        line[length] = '\n';
        written = write(STDERR_FILENO, line, length + 1) != -1;
    }
    if (!options.to_file)
        alarm(0);
    return written;
}

/* Log octets, escaped, in a line that begins with prefix.  Of more than
 * PIPE_BUF octets a pipe might take a part, and have us wait. */
static void log_octets(const char *prefix, const char *octets, size_t length)
{
    char line[PIPE_BUF < MAX_LOG_LINE ? PIPE_BUF : MAX_LOG_LINE];
    size_t start = strlen(prefix);

    memcpy(line, prefix, start);
    do {
        size_t used = start;

        /* Each octet can take four, and at the end stands a NUL. */
        for (; length > 0 && used < sizeof line - 5; octets++, length--) {
            if (*octets >= ' ' && *octets < 127 && *octets != '\\')
                line[used++] = *octets;
            else
                used += (size_t)snprintf(line + used, 5, "\\x%02X",
                                         (unsigned char)*octets);
        }
        line[used] = '\0';
        if (!put_line(line))
            return;
        start = strlen(prefix) + 4;             /* the next line goes on */
        memcpy(line + start - 4, "... ", 4);
    } while (length > 0);
}

/* Write what a line of the log begins with: the process, the session's ID (s
 * is NULL where there is none), and who says it. */
static void make_prefix(char *prefix, const struct session *s, const char *who)
{
    snprintf(prefix, MAX_LOG_PREFIX, "smtpd[%ld]: %s%s%s", (long)getpid(),
             s != NULL ? s->id : "", s != NULL ? " " : "", who);
}

/* Log an event; s is NULL where it belongs to no session. */
static void log_line(const struct session *s, const char *format, ...)
{
    char prefix[MAX_LOG_PREFIX], text[MAX_LOG_TEXT + 1];
    va_list args;

    make_prefix(prefix, s, "");
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_octets(prefix, text, strlen(text));
}

/* -v: log what the client ("C: ") or the server ("S: ") says, in the notation
 * of RFC 5321 appendix D. */
static void log_dialogue(const struct session *s, const char *who,
                         const char *octets, size_t length)
{
    char prefix[MAX_LOG_PREFIX];

    if (!options.verbose)
        return;
    make_prefix(prefix, s, who);
    log_octets(prefix, octets, length);
}

/* ------------------------------------------------------------------------
 * 11. Listening and forking            RFC 5321 4.5.4.2, appendix A
 *
 * The parent waits for connections and forks a child for each, which serves
 * it and exits.  The two share nothing but what was there at the fork, so
 * whatever a client does to its child, no other session can feel it.  The
 * parent itself never looks at what a client says.
 * --------------------------------------------------------------------- */

struct child {
    pid_t pid;
    struct ip client;
    bool refusing;              /* it only says 421: see fork_for() */
};

struct server {
    int listeners[MAX_LISTENERS];
    const char *names[MAX_LISTENERS];       /* their addresses */
    int listener_count;
    double pause_until;         /* no accept() before: see accept_one() */
    int child_count;
    struct child *children;     /* has room for all: see main() */
};

/* From the octets of an IPv4 or IPv6 address.  A socket for IPv6 may take IPv4
 * too, and shows 192.0.2.1 as ::ffff:192.0.2.1: the same client to us. */
static struct ip ip_from(int family, const unsigned char *octets)
{
    static const unsigned char mapped[12] = { [10] = 0xFF, [11] = 0xFF };
    struct ip ip = { "" };
    char text[INET6_ADDRSTRLEN];

    if (family == AF_INET6 && memcmp(octets, mapped, sizeof mapped) == 0) {
        family = AF_INET;
        octets += sizeof mapped;
    }
    if (inet_ntop(family, octets, text, sizeof text) != NULL)
        snprintf(ip.literal, sizeof ip.literal,
                 family == AF_INET ? "[%s]" : "[IPv6:%s]", text);
    return ip;
}

/* sockaddr_storage has room for an address of any kind, and ss_family tells
 * which it is. */
static struct ip ip_of(const struct sockaddr_storage *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

    if (address->ss_family == AF_INET)
        return ip_from(AF_INET, (const unsigned char *)&v4->sin_addr);
    if (address->ss_family == AF_INET6)
        return ip_from(AF_INET6, v6->sin6_addr.s6_addr);
    return (struct ip){ "" };
}

/* As ip_of(), from text such as 192.0.2.1 or 2001:db8::1. */
static struct ip ip_from_text(const char *text)
{
    unsigned char octets[16];

    if (inet_pton(AF_INET, text, octets) == 1)
        return ip_from(AF_INET, octets);
    if (inet_pton(AF_INET6, text, octets) == 1)
        return ip_from(AF_INET6, octets);
    return (struct ip){ "" };
}

static bool same_ip(struct ip a, struct ip b)
{
    return *a.literal != '\0' && strcmp(a.literal, b.literal) == 0;
}

/* For the log. */
static const char *shown_ip(const struct ip *ip)
{
    return *ip->literal != '\0' ? ip->literal : "unknown";
}

static bool is_loopback(const struct ip *ip)
{
    return strncmp(ip->literal, "[127.", 5) == 0 ||
           strcmp(ip->literal, "[IPv6:::1]") == 0;
}

/* RFC 5321 4.1.3: user@[192.0.2.1] is a mailbox of the host that has this
 * address: ours, if the client has reached us by it. */
static bool is_our_literal(const char *literal)
{
    bool v6 = strncasecmp(literal, "[IPv6:", 6) == 0;
    char text[INET6_ADDRSTRLEN + 1], *to = text;
    struct sockaddr_storage address = { .ss_family = AF_UNSPEC };
    socklen_t length = sizeof address;

    /* [127.0.0.001] is [127.0.0.1], but not to inet_pton(): so leave out each
     * 0 that begins a longer number. */
    for (const char *p = literal + (v6 ? 6 : 1); *p != ']' && *p != '\0' &&
         to < text + INET6_ADDRSTRLEN; p++)
        if (*p != '0' || !is_digit(p[1]) ||
            (to > text && to[-1] != '.' && to[-1] != ':'))
            *to++ = *p;
    *to = '\0';

    if (getsockname(STDIN_FILENO, (struct sockaddr *)&address, &length) == -1)
        return false;
    return same_ip(ip_from_text(text), ip_of(&address));
}

/* Bury the children that have ended.  The system keeps a process that has
 * ended, a zombie, until its parent has asked how. */
static void reap(struct server *server)
{
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (WIFSIGNALED(status))
            log_line(NULL, "process %ld was ended by signal %d", (long)pid,
                     WTERMSIG(status));
        for (int i = 0; i < server->child_count; i++)
            if (server->children[i].pid == pid) {
                /* The last one takes its place. */
                server->children[i] = server->children[--server->child_count];
                break;
            }
    }
}

/* Why this client can't be served now, or NULL.  RFC 5321 4.5.4.2: "some
 * limit MAY be imposed".  *refusing is set to how many only refuse.
 *
 * Not here: taking a network for one client, though who has IPv6 has 2^64
 * addresses at least.  -c is the limit for those. */
static const char *over_limit(const struct server *server,
                              const struct ip *client, int *refusing)
{
    int same = 0;

    *refusing = 0;
    for (int i = 0; i < server->child_count; i++) {
        const struct child *child = &server->children[i];

        *refusing += child->refusing;
        same += !child->refusing && same_ip(child->client, *client);
    }
    if (same >= options.max_per_client)
        return "421 4.7.0 %s Too many sessions from you: try again later "
               "(RFC 5321 4.5.4.2)";
    if (server->child_count - *refusing >= options.max_sessions)
        return "421 4.7.0 %s Too many sessions: try again later "
               "(RFC 5321 4.5.4.2)";
    return NULL;
}

/* Refuse a connection without a child.  It does not block: see accept_one().
 * What the client has said already is read, or closing would reset it.  That
 * is done once, for a flood would go on. */
static void turn_away(int connection, const struct ip *client,
                      const char *refusal)
{
    char line[MAX_REPLY_LINE];

    snprintf(line, sizeof line, refusal, options.name);
    log_line(NULL, "refused: %s client=%s", line, shown_ip(client));
    if (dprintf(connection, "%s\r\n", line) < 0)
        log_line(NULL, "lost: %s", strerror(errno));
    shutdown(connection, SHUT_WR);
    if (read(connection, line, sizeof line) == -1 && errno != EAGAIN)
        log_line(NULL, "lost: %s", strerror(errno));
}

/* In the child: put the connection where inetd would, on standard input and
 * output, and serve it. */
static NO_RETURN void become_session(const struct server *server,
                                     int connection, const struct ip *client,
                                     const char *refusal)
{
    for (int i = 0; i < server->listener_count; i++)
        close(server->listeners[i]);
    if (dup2(connection, STDIN_FILENO) == -1 ||
        dup2(connection, STDOUT_FILENO) == -1) {
        log_line(NULL, "can't serve: %s", strerror(errno));
        _exit(EX_OSERR);
    }
    close(connection);
    serve(client, refusal);
}

/* Fork a child for the connection.  A client over the limits gets one too, to
 * be told so in peace; but only MAX_REFUSALS at a time.  With those that -c
 * allows, that is as many as children[] has room for. */
static void fork_for(struct server *server, int connection,
                     const struct ip *client)
{
    int refusing;
    const char *refusal = over_limit(server, client, &refusing);
    pid_t pid;

    if (refusal != NULL && refusing >= MAX_REFUSALS) {
        turn_away(connection, client, refusal);
        return;
    }
    pid = fork();
    if (pid == 0)
        become_session(server, connection, client, refusal);
    if (pid == -1) {
        log_line(NULL, "can't fork: %s", strerror(errno));
        turn_away(connection, client, "421 4.3.2 %s No room: try again later "
                                      "(RFC 5321 3.8)");
        return;
    }
    server->children[server->child_count++] = (struct child){
        .pid = pid, .client = *client, .refusing = refusal != NULL
    };
}

/* Take one connection.  When there is no descriptor or memory for it, it stays
 * in the queue, and pselect() would return at once for ever: so we look away
 * for a second. */
static void accept_one(struct server *server, int listener)
{
    struct sockaddr_storage address = { .ss_family = AF_UNSPEC };
    socklen_t length = sizeof address;
    int connection;
    struct ip client;

    connection = accept(listener, (struct sockaddr *)&address, &length);
    if (connection == -1) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
            errno == ENOMEM) {
            log_line(NULL, "can't accept: %s", strerror(errno));
            server->pause_until = now() + 1;
        }
        return;                 /* else the client has gone already */
    }

    /* On some systems it blocks now, on others not.  It shall not, on any: see
     * flush(). */
    if (fcntl(connection, F_SETFL, O_NONBLOCK) == -1)
        log_line(NULL, "can't accept: %s", strerror(errno));
    else {
        client = ip_of(&address);
        fork_for(server, connection, &client);
    }
    close(connection);
}

/* Wait for a connection, a child's end, a signal, or in a pause for a second,
 * and take the connections that there are. */
static void wait_for_clients(struct server *server)
{
    bool paused = stopping || now() < server->pause_until;
    struct timespec second = { 1, 0 };
    fd_set set;
    int ready;

    FD_ZERO(&set);                      /* in a pause it stays empty */
    for (int i = 0; i < server->listener_count && !paused; i++)
        FD_SET(server->listeners[i], &set);
    ready = pselect(FD_SETSIZE, &set, NULL, NULL, paused ? &second : NULL,
                    &blocked_in_sleep);
    reap(server);
    for (int i = 0; ready > 0 && i < server->listener_count; i++)
        if (FD_ISSET(server->listeners[i], &set))
            accept_one(server, server->listeners[i]);
}

/* kill() sends any signal, not only those that kill. */
static void signal_children(const struct server *server, int signal_number)
{
    for (int i = 0; i < server->child_count; i++)
        kill(server->children[i].pid, signal_number);
}

/* Serve until SIGTERM or SIGINT, then tell the children, and wait for them:
 * each answers its client before it ends (RFC 5321 3.8).  One that hangs in a
 * system call, on a dead disk say, is not waited for for ever. */
static void run_server(struct server *server)
{
    double patience;

    while (!stopping) {
        wait_for_clients(server);
        note_signals();
    }
    while (server->listener_count > 0)
        close(server->listeners[--server->listener_count]);
    signal_children(server, SIGTERM);

    patience = now() + STOP_SECONDS + 4 * LINGER_SECONDS;   /* and to spare */
    while (server->child_count > 0 && now() < patience)
        wait_for_clients(server);       /* only for their ends, now */
    signal_children(server, SIGKILL);
}

/* ------------------------------------------------------------------------
 * 12. Options and main
 * --------------------------------------------------------------------- */

static const char usage[] =
    "usage: smtpd [-hisv] [-l ADDRESS]... [-p PORT] [-m DIR] [-d DOMAIN]...\n"
    "             [-n NAME] [-u USER] [-z BYTES] [-c N] [-k N] [-t SECONDS]\n"
    "\n"
    "  -l ADDRESS  listen on this address (127.0.0.1 and ::1)\n"
    "  -p PORT     listen on this port; 0: any free one (2525)\n"
    "  -m DIR      mailboxes live here (./mail)\n"
    "  -d DOMAIN   accept mail for this domain; '*': for every domain\n"
    "              (localhost, example.com and NAME)\n"
    "  -n NAME     our host name (this host's)\n"
    "  -s          strict: only mailboxes that exist already\n"
    "  -u USER     after binding: chroot to DIR, become USER\n"
    "  -z BYTES    largest message (26214400)\n"
    "  -c N        sessions at one time, in all (256)\n"
    "  -k N        sessions at one time from one client address (128)\n"
    "  -t SECONDS  how long a client may take over one command (300)\n"
    "  -i          serve one session on standard input and output\n"
    "  -v          show each line of the dialogue\n"
    "  -h          show this\n";

/* Say why the server can't start, on one line, and end.  A client that waits
 * on standard output is told no more than that (RFC 5321 3.8). */
static NO_RETURN FORMAT_AT(2) void die(int status, const char *format, ...)
{
    char text[MAX_LOG_TEXT + 1];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (options.to_syslog)
        syslog(LOG_ERR, "%s", text);
    else
        fprintf(stderr, "smtpd: %s\n%s", text,
                status == EX_USAGE ? usage : "");
    if (options.to_syslog || options.inetd)
        printf("421 4.3.0 %s Service not available (RFC 5321 3.8)\r\n",
               options.name != NULL ? options.name : "localhost");
    exit(status);
}

static NO_RETURN void help(void)
{
    fputs(usage, stdout);
    puts("\nWhat a client can say:\n");
    for (size_t i = 0; i < COMMANDS; i++)
        if (commands[i].run != NULL)
            printf("  %s %-25s %s (%s)\n", commands[i].verb,
                   commands[i].argument, commands[i].meaning,
                   commands[i].section);
    exit(fflush(stdout) == 0 ? EX_OK : EX_IOERR);
}

/* The value of an option that takes a number between least and most. */
static long long number(char option, const char *text, long long least,
                        long long most)
{
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (!is_digit(*text) || *end != '\0' || errno != 0 || value < least ||
        value > most)
        die(EX_USAGE, "-%c: '%s' is not a number from %lld to %lld", option,
            text, least, most);
    return value;
}

/* -d, and -n: a domain, or for -n an address literal (RFC 5321 4.3.1). */
static const char *domain_option(char option, const char *text)
{
    const char *end = option == 'n' && *text == '['
                          ? parse_address_literal(text) : parse_domain(text);
    bool good = end != NULL && *end == '\0' && end - text <= MAX_DOMAIN &&
                (option == 'd' || !is_8bit(text, strlen(text)));

    if (!good && !(option == 'd' && strcmp(text, "*") == 0))
        die(EX_USAGE, "-%c: '%s' is not a domain name", option, text);
    return text;
}

static void add_to(const char **list, int *count, int most, char option,
                   const char *text)
{
    if (*count == most)
        die(EX_USAGE, "-%c: can't be given more than %d times", option, most);
    list[(*count)++] = text;
}

static void take_option(int option, const char *arg)
{
    switch (option) {
    case 'l':
        add_to(options.listen, &options.listen_count, MAX_LISTENERS, 'l', arg);
        break;
    case 'p': options.port = (int)number('p', arg, 0, 65535); break;
    case 'm': options.mail_dir = arg; break;
    case 'd':
        add_to(options.domains, &options.domain_count, MAX_DOMAINS, 'd',
               domain_option('d', arg));
        break;
    case 'n': options.name = domain_option('n', arg); break;
    case 's': options.strict = true; break;
    case 'u': options.user = arg; break;
    case 'z':
        options.max_message = number('z', arg, MIN_MAX_MESSAGE, 1LL << 40);
        break;
    case 'c': options.max_sessions = (int)number('c', arg, 1, MAX_SESSIONS);
        break;
    case 'k': options.max_per_client = (int)number('k', arg, 1, MAX_SESSIONS);
        break;
    case 't': options.timeout = (int)number('t', arg, 1, 86400); break;
    case 'i': options.inetd = true; break;
    case 'v': options.verbose = true; break;
    case 'h': help();
    case ':': die(EX_USAGE, "-%c needs a value", optopt);
    default: die(EX_USAGE, "there is no option -%c", optopt);
    }
}

/* Read the command line into options, and fill in what it leaves open. */
static void take_options(int argc, char **argv)
{
    static char host[MAX_DOMAIN + 1];
    int option;

    /* Letters with a colon take a value; the first one leaves errors to us. */
    while ((option = getopt(argc, argv, ":l:p:m:d:n:su:z:c:k:t:ivh")) != -1)
        take_option(option, optarg);
    if (optind < argc)
        die(EX_USAGE, "'%s': no argument is expected here", argv[optind]);

    if (options.name == NULL) {
        const char *end;

        options.name = "localhost";
        if (gethostname(host, sizeof host - 1) == 0 &&
            (end = parse_domain(host)) != NULL && *end == '\0' &&
            !is_8bit(host, strlen(host)))
            options.name = host;
    }
    if (options.domain_count == 0) {
        options.domains[options.domain_count++] = "localhost";
        options.domains[options.domain_count++] = "example.com";
        options.domains[options.domain_count++] = options.name;
    }
}

/* The log must never go to the client.  inetd gives us the connection as
 * standard error too, which is so if device and inode are the same: then
 * syslog is left.  (The BSDs tell neither of a TCP socket, so there any will
 * do.)  But with a pipe or a terminal there it is a person who wants to see
 * the log. */
static void choose_log(int connection)
{
    struct stat error, client;

    if (fstat(STDERR_FILENO, &error) == -1)
        return;
    options.to_file = S_ISREG(error.st_mode);
    if (S_ISSOCK(error.st_mode) && fstat(connection, &client) == 0 &&
        error.st_dev == client.st_dev && error.st_ino == client.st_ino) {
        options.to_syslog = true;
        openlog("smtpd", LOG_PID | LOG_NDELAY, LOG_MAIL);
    }
}

static void on_signal(int signal_number)
{
    if (signal_number == SIGTERM || signal_number == SIGINT)
        stopping = 1;           /* the others only have to end a wait */
}

/* Block the signals that matter, but in pselect().  SIGALRM comes only when
 * put_line() has asked for it, and is let in.  SIGPIPE and SIGXFSZ are
 * ignored: write() then says EPIPE or EFBIG, and that is dealt with. */
static void set_up_signals(void)
{
    static const int handled[] = { SIGCHLD, SIGTERM, SIGINT };
    struct sigaction action = { .sa_handler = SIG_IGN };
    sigset_t blocked;

    sigemptyset(&action.sa_mask);
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL);

    action.sa_handler = on_signal;
    sigprocmask(SIG_BLOCK, NULL, &blocked);     /* what is blocked already? */
    blocked_in_sleep = blocked;
    for (size_t i = 0; i < sizeof handled / sizeof handled[0]; i++) {
        sigaction(handled[i], &action, NULL);
        sigaddset(&blocked, handled[i]);
        sigdelset(&blocked_in_sleep, handled[i]);
    }
    sigaction(SIGALRM, &action, NULL);
    sigdelset(&blocked, SIGALRM);
    sigprocmask(SIG_SETMASK, &blocked, NULL);
}

/* The user that -u names, or NULL without -u. */
static const struct passwd *find_user(void)
{
    const struct passwd *user;

    if (options.user == NULL)
        return NULL;
    if (geteuid() != 0)
        die(EX_NOPERM, "-u %s: start as root, or leave out -u", options.user);
    if ((user = getpwnam(options.user)) == NULL)
        die(EX_USAGE, "-u: there is no user '%s'", options.user);
    if (user->pw_uid == 0)
        die(EX_USAGE, "-u: %s is root: name another user", options.user);
    return user;
}

/* Make the mail directory if need be, and go there.  user, if not NULL, is
 * given what is made. */
static void enter_mail_dir(const struct passwd *user)
{
    bool made = mkdir(options.mail_dir, 0700) == 0;

    if ((!made && errno != EEXIST) || chdir(options.mail_dir) == -1 ||
        (made && user != NULL && chown(".", user->pw_uid, user->pw_gid) == -1))
        die(EX_CANTCREAT, "%.1000s: %s: make this directory, or name another "
            "with -m", options.mail_dir, strerror(errno));
    if (made && make_names_durable("..") == -1)
        sync();                 /* we may not open the directory above */
}

/* Lock ourselves into the mail directory for good, as a user that can do no
 * harm elsewhere. */
static void become_user(const struct passwd *user)
{
    if (initgroups(options.user, user->pw_gid) == -1 || chroot(".") == -1 ||
        setgid(user->pw_gid) == -1 || setuid(user->pw_uid) == -1 ||
        setuid(0) == 0)         /* there must be no way back */
        die(EX_NOPERM, "-u %s: can't become this user for good: %s",
            options.user, strerror(errno));
}

/* Remove from one mailbox's tmp what no writer can still be at work on.  A
 * directory without new and cur is no mailbox: if it has a tmp, that is not
 * ours to clean. */
static void clean_tmp(const char *mailbox)
{
    char path[MAX_FILE_PATH], new[MAX_FILE_PATH], cur[MAX_FILE_PATH];
    const struct dirent *entry;
    struct stat st;
    DIR *directory;

    file_path(path, mailbox, "tmp", "");
    file_path(new, mailbox, "new", "");
    file_path(cur, mailbox, "cur", "");
    if (!is_directory(new) || !is_directory(cur) ||
        (directory = opendir(path)) == NULL)
        return;
    while ((entry = readdir(directory)) != NULL) {
        file_path(path, mailbox, "tmp", entry->d_name);
        if (lstat(path, &st) == 0 && S_ISREG(st.st_mode) &&
            st.st_mtime < time(NULL) - OLD_TMP_HOURS * 3600L)
            unlink(path);
    }
    closedir(directory);
}

static void clean_mailboxes(void)
{
    const struct dirent *entry;
    DIR *directory = opendir(".");

    if (directory == NULL)
        return;                 /* old files harm nothing */
    while ((entry = readdir(directory)) != NULL)
        if (entry->d_name[0] != '.')
            clean_tmp(entry->d_name);
    closedir(directory);
}

/* A socket that listens on this address; or -1, with errno set. */
static int open_socket(const struct addrinfo *address, bool v6_only)
{
    int fd = socket(address->ai_family, SOCK_STREAM, 0);
    int on = 1, only = v6_only, error;

    if (fd == -1)
        return -1;
    if (address->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);

    /* Or the port of a server just ended would be refused for a while. */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);

    /* Not blocking: a client may be gone between pselect() and accept(), and
     * that must not wait for the next one. */
    errno = EMFILE;                     /* if it is too high for pselect() */
    if (fd < FD_SETSIZE && fcntl(fd, F_SETFL, O_NONBLOCK) != -1 &&
        bind(fd, address->ai_addr, address->ai_addrlen) == 0 &&
        listen(fd, SOMAXCONN) == 0)
        return fd;
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* Listen on one address.  Returns false, with errno set, where that fails.
 * With port 0 the kernel's choice is stored in *port. */
static bool listen_on(struct server *server, const char *name, int *port,
                      bool v6_only)
{
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                              .ai_socktype = SOCK_STREAM }, *address;
    struct sockaddr_storage bound;
    socklen_t length = sizeof bound;
    int fd, error;
    char text[16];

    snprintf(text, sizeof text, "%d", *port);
    if (getaddrinfo(name, text, &hints, &address) != 0)
        die(EX_USAGE, "-l: '%s' is not an IP address", name);
    fd = open_socket(address, v6_only);
    error = errno;
    freeaddrinfo(address);
    errno = error;
    if (fd == -1 || getsockname(fd, (struct sockaddr *)&bound, &length) == -1)
        return false;
    *port = ntohs(bound.ss_family == AF_INET6
                      ? ((struct sockaddr_in6 *)&bound)->sin6_port
                      : ((struct sockaddr_in *)&bound)->sin_port);
    server->names[server->listener_count] = name;
    server->listeners[server->listener_count++] = fd;
    return true;
}

/* Listen on every address, all on the same port: *port, or with 0 the kernel's
 * choice for the first.  Returns NULL; or the address where that failed, with
 * errno set.  usual: they are 127.0.0.1 and ::1, and the second can be left
 * out where there is no IPv6. */
static const char *listen_on_all(struct server *server, int *port, bool usual)
{
    bool v6_only = false;

    for (int i = 0; i < options.listen_count; i++)
        if (strchr(options.listen[i], ':') == NULL)
            v6_only = true;             /* :: would take IPv4's port too */
    for (int i = 0; i < options.listen_count; i++)
        if (!listen_on(server, options.listen[i], port, v6_only) &&
            !(usual && i == 1 &&
              (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)))
            return options.listen[i];
    return NULL;
}

/* The port that the kernel has chosen on the first address can be taken on the
 * next: then all is tried again. */
static void open_listeners(struct server *server)
{
    bool usual = options.listen_count == 0;
    int port = options.port, tries = 20;
    const char *failed;

    if (usual) {
        options.listen[options.listen_count++] = "127.0.0.1";
        options.listen[options.listen_count++] = "::1";
    }
    while ((failed = listen_on_all(server, &port, usual)) != NULL) {
        if (errno != EADDRINUSE || options.port != 0 || --tries == 0)
            die(errno == EACCES ? EX_NOPERM : EX_UNAVAILABLE, "%s port %d: "
                "%s: name another port with -p, or another address with -l",
                failed, port, strerror(errno));
        while (server->listener_count > 0)
            close(server->listeners[--server->listener_count]);
        port = 0;
    }
    options.port = port;
}

static void say_ready(const struct server *server)
{
    for (int i = 0; i < server->listener_count; i++)
        fprintf(stderr, strchr(server->names[i], ':') != NULL
                            ? "smtpd: listening on [%s] port %d\n"
                            : "smtpd: listening on %s port %d\n",
                server->names[i], options.port);
}

/* -i: the client is on standard input.  tcpserver and its kin, which may give
 * us pipes, tell its address in TCPREMOTEIP. */
static NO_RETURN void serve_stdin(void)
{
    struct sockaddr_storage address = { .ss_family = AF_UNSPEC };
    socklen_t length = sizeof address;
    const char *remote = getenv("TCPREMOTEIP");
    struct stat out;
    struct ip client = { "" };

    choose_log(STDOUT_FILENO);
    if (getpeername(STDIN_FILENO, (struct sockaddr *)&address, &length) == 0)
        client = ip_of(&address);
    if (*client.literal == '\0' && remote != NULL)
        client = ip_from_text(remote);

    /* A socket is given to us alone, so it can be as those that we accept. */
    if (fstat(STDOUT_FILENO, &out) == 0 && S_ISSOCK(out.st_mode) &&
        fcntl(STDOUT_FILENO, F_SETFL, O_NONBLOCK) == -1)
        log_line(NULL, "it may block: %s", strerror(errno));
    serve(&client, NULL);
}

int main(int argc, char **argv)
{
    /* Apart, since all pages that the parent writes to are copied for each
     * child: so the few things in server that change are not among zeros. */
    static struct child children[MAX_SESSIONS + MAX_REFUSALS];
    static struct server server = { .children = children };
    const struct passwd *user;
    int fd;

    /* If we were started with descriptor 0, 1 or 2 closed, the next file that
     * is opened would get it, and the log be written into someone's mail. */
    do
        fd = open("/dev/null", O_RDWR);
    while (fd != -1 && fd <= STDERR_FILENO);
    if (fd == -1)
        die(EX_OSERR, "/dev/null: %s", strerror(errno));
    close(fd);

    choose_log(STDIN_FILENO);
    take_options(argc, argv);
    umask(077);                 /* mail is nobody's but its owner's */
    tzset();                    /* once for all children, and before chroot */
    set_up_signals();
    user = find_user();
    if (!options.inetd)
        open_listeners(&server);
    enter_mail_dir(user);
    if (user != NULL)
        become_user(user);
    if (access(".", R_OK | W_OK | X_OK) == -1)
        die(EX_CANTCREAT, "%.1000s: %s: open it to us, or name another "
            "with -m", options.mail_dir, strerror(errno));
    if (options.inetd)
        serve_stdin();
    clean_mailboxes();          /* not with -i, where each client is a start */
    say_ready(&server);
    run_server(&server);
    return EX_OK;
}
