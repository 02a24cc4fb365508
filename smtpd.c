/*
 * smtpd - an SMTP server to learn from, in one file.
 *
 * It receives mail, as RFC 5321 says a server must, and keeps it in Maildirs:
 * a directory for each user, a file for each message.  It sends no mail on.
 *
 * To run it:     cc -o smtpd smtpd.c && ./smtpd -v
 * To talk to it: nc 127.0.0.1 2525, and type HELP
 *
 * One whole session; C: is what the client says, S: what the server says:
 *
 *     S: 220 mail.example.com ESMTP smtpd 2.0 ready: say EHLO, or HELP
 *     C: HELO me.example.org
 *     S: 250 mail.example.com greets you
 *     C: MAIL FROM:<alice@example.org>
 *     S: 250 2.1.0 Sender ok
 *     C: RCPT TO:<bob@example.com>
 *     S: 250 2.1.5 Recipient ok
 *     C: DATA
 *     S: 354 Start mail input; end with <CRLF>.<CRLF>, a line with only a dot
 *     C: Subject: lunch
 *     C:
 *     C: At one?
 *     C: .
 *     S: 250 2.0.0 Message kept as 65f0c1a2-0b3d1-1f4-1
 *     C: QUIT
 *     S: 221 2.0.0 mail.example.com Service closing transmission channel
 *
 * It leaves this file in the directory mail/bob/new:
 *
 *     Return-Path: <alice@example.org>
 *     Received: from me.example.org ([127.0.0.1])
 *             by mail.example.com with SMTP id 65f0c1a2-0b3d1-1f4-1
 *             for <bob@example.com>;
 *             Tue, 12 Mar 2024 21:57:06 +0100
 *     Subject: lunch
 *
 *     At one?
 *
 * The parts:
 *
 *      1. Limits                        every number, and who asks for it
 *      2. What the server remembers     the transaction, the session
 *      3. The command table             the whole protocol on one page
 *      4. One session                   greet, obey, obey, obey, goodbye
 *      5. The commands                  one function per verb
 *      6. The message                   from 354 to the dot alone on its line
 *      7. Reading an argument           one function per rule of the grammar
 *      8. Keeping the mail              what the 250 after the dot promises
 *      9. The wire                      replies out, lines in, and all waiting
 *     10. The log                       what the operator gets to see
 *     11. Listening and forking         one process per client
 *     12. Options and main
 *
 * For one evening, read parts 2 to 6: the protocol.  Parts 7 to 12 are how it
 * is done well; come back for them.  Part 3 lists the functions of 6 to 10 that
 * come before their turn.  Options such as -x are explained in usage[], part 12.
 *
 * Each rule of the RFC is cited where we obey it, in this form: RFC 5321 4.1.4.
 * The error replies and the names of the tests have it too, so
 * grep -rn 'RFC 5321 4.1.4' shows a rule's code, reply, test and explanation.
 * Where we do not do what the RFC says, a comment begins with "Departure:".
 *
 * There are three kinds of trouble, and each has one form everywhere:
 *
 *   - We can't take this command or message, but the session goes on.  The
 *     function returns the reply line that refuses it, or NULL if all is well.
 *   - This session can't go on.  The function calls end_session().
 *   - The server can't start.  The function calls die(): what, why, a way out.
 *
 * Words of the RFCs, the documents that define the Internet's protocols:
 *
 *   octet          a byte
 *   CRLF           CR and LF, octets 13 and 10; one without the other is bare
 *   mailbox        local-part@domain; its mail lies in a Maildir, a directory
 *   path           a mailbox in < >: the sender's is the reverse-path, a
 *                  recipient's is a forward-path
 *   literal        an IP address in [ ], in place of a domain
 *   transaction    MAIL, RCPT once or more, DATA: one message
 *   bounce         a message that tells a sender what could not be delivered
 *
 * C that may be new: strcspn(p, " ") counts the octets before the first space,
 * strspn(p, " ") the spaces that p begins with.  "%.*s" prints the first n
 * octets of a string.  { .open = true } sets one member, and the rest to zero.
 */

/* This is C99 and POSIX.1-2008, but for chroot(), initgroups() and sysexits.h,
 * which every Unix has.  glibc and musl declare them if _DEFAULT_SOURCE is
 * defined; the BSDs and macOS always do. */
#define _DEFAULT_SOURCE
/* For 32-bit glibc: large files and dates after 2038. */
#define _FILE_OFFSET_BITS 64
#define _TIME_BITS 64

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
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

#ifdef __APPLE__                /* there it takes an int */
#define initgroups(user, group) initgroups(user, (int)(group))
#endif

#define VERSION "2.0"

/* ------------------------------------------------------------------------
 * 1. Limits                            RFC 5321 4.5.3.1, 4.5.3.2, 6.3, 7.8
 *
 * These numbers bound what a client may do.  No memory is allocated in a size
 * that a client chooses.  Skip this part, and come back for a number.
 * --------------------------------------------------------------------- */

enum {
    MAX_COMMAND_LINE = 1024,    /* RFC 5321 4.5.3.1.4: 512 with its CRLF, and
                                   more if extensions need it, as ours do */
    MAX_REPLY_LINE = 512,       /* RFC 5321 4.5.3.1.5: with its CRLF */
    MAX_DOMAIN = 255,           /* RFC 5321 4.5.3.1.2 */
    MAX_PATH = 256,             /* RFC 5321 4.5.3.1.3: with its < and > */
    MAX_RECIPIENTS = 100,       /* RFC 5321 4.5.3.1.8: at least this many */
    MIN_MAX_MESSAGE = 65536,    /* RFC 5321 4.5.3.1.7: at least this large */
    MAX_RECEIVED = 100,         /* RFC 5321 6.3: more, and mail is looping */
    TIMEOUT = 300,              /* RFC 5321 4.5.3.2.7: seconds, at least */
    /* Departure: RFC 5321 4.5.3.1.1 limits a local-part to 64 octets.  Real
     * mailing lists use longer ones, and RFC 5321 4.5.3.1 wants no limits where
     * we can avoid them.  Most file systems limit a file's name to this. */
    MAX_MAILDIR_NAME = 255,
    /* RFC 5321 7.8 lets a server defend itself against attacks. */
    MAX_BLUNDERS = 20,          /* in a row, without a message kept */
    MAX_REFUSALS = 1000,        /* of any kind, in one session */
    MIN_RATE = 500,             /* octets a second: the slowest mail data */
    LINGER_SECONDS = 2,         /* to let the last reply reach the client */
    STOP_SECONDS = 4,           /* for all sessions to end, at the end */
    MAX_SESSIONS = 10000,       /* the most that -c and -k can be set to */
    MAX_LISTED = 64,            /* -d options, and -l options */
    BUFFER = 65536,             /* octets read or written at one time */
    MAX_REPLIES = 8192,         /* octets of replies held before a flush */
    MAX_LOG_TEXT = 1600,        /* octets of one event, unescaped */
    MAX_LOG_LINE = 1280,        /* octets of one line of the log, escaped */
    LOG_SECONDS = 1,            /* that writing a line of the log may take */
    LOG_SILENCE = 10,           /* seconds of no log after one took longer */
    MAX_SHOWN = 50              /* lines of a message that -v shows, or pieces */
};

/* ------------------------------------------------------------------------
 * 2. What the server remembers         RFC 5321 2.3.6, 3.3, 4.1.1
 *
 * The server remembers two things.  One is the message that the client is
 * about to send: from whom, and for whom.  RFC 5321 4.1.1 calls these the
 * buffers; here they are struct transaction.  The other is the conversation so
 * far.  RFC 5321 2.3.6 calls it the state table; here it is struct session.
 * --------------------------------------------------------------------- */

/* One forward-path, and the Maildir for its mail. */
struct recipient {
    char path[MAX_PATH + 1];                /* Bob@example.com */
    char maildir[MAX_MAILDIR_NAME + 1];     /* bob */
    size_t copy;                /* index of the first one with this Maildir */
};

/* RFC 5321 4.1.1: the reverse-path buffer and the forward-path buffer.  MAIL
 * starts a transaction, RCPT adds to it.  RSET, EHLO and DATA's end clear it. */
struct transaction {
    bool open;                              /* a MAIL has been accepted */
    bool utf8;                              /* it had SMTPUTF8: RFC 6531 3.4 */
    char reverse_path[MAX_PATH + 1];        /* "" for <>, as bounces have it */
    size_t recipients;
    struct recipient forward_path[MAX_RECIPIENTS];
};

/* The message that is arriving.  Its file is in a Maildir's tmp: see part 8. */
struct message {
    char id[64];                /* in 250, log, Received: and file name */
    time_t time;                /* when DATA was said */
    int fd;                     /* the file, or -1 */
    int error;                  /* errno of what went wrong with it, or 0 */
    size_t length;              /* octets in text[], not yet in the file */
    long long size;             /* octets as RFC 1870 5 counts them */
    unsigned received;          /* how many Received: fields it had */
    bool in_header;             /* its header section has not ended yet */
    bool in_return_path;        /* in a Return-Path: field, left out */
    bool foul;                  /* a bare CR, a bare LF or a NUL was seen */
    bool taken;                 /* the command of -x has it: not kept here */
    int shown;                  /* lines that -v has shown */
    long long unseen;           /* octets that came after them */
};

/* An IP address, as people write it, 2001:db8::1, and as RFC 5321 4.1.3 does,
 * [IPv6:2001:db8::1].  A pipe has none: its text is "", its literal "unknown".
 * ip_from() makes it, so that addresses with the same text are the same. */
struct ip {
    char text[INET6_ADDRSTRLEN];
    char literal[INET6_ADDRSTRLEN + 8];
};

/* How the client ends its lines.  Its first line fixes that: next_piece(). */
enum line_ending { NOT_SEEN, CRLF, LF };

/* One connection, from the greeting to the goodbye. */
struct session {
    char id[48];                /* names the session in the log */
    struct ip client;           /* whom we talk to */
    bool on_this_host;          /* so its lines may end in LF */
    enum line_ending line_ending;
    char client_name[MAX_DOMAIN + 1];       /* from EHLO or HELO; "" before */
    bool extended;              /* it was EHLO */
    bool authenticated;         /* AUTH was accepted: RFC 4954 */
    int blunders;               /* since the last message was kept */
    int refusals;               /* of any kind, since the session began */
    unsigned messages;          /* DATA commands so far: numbers the IDs */
    struct message message;
    bool in_data;               /* lines are mail data, not commands */
    bool secret;                /* line may hold a password: not for the log */
    bool ended;                 /* end_session() is at work */
    double deadline;            /* until when we wait for a line, or 0 */
    size_t line_length;
    char line[MAX_COMMAND_LINE + 1];        /* the command, NUL-terminated */
    /* in[in_start] to in[in_end - 1] has been read, but not yet used.  out[0]
     * to out[out_length - 1] are replies that have not been sent yet. */
    size_t in_start, in_end, out_length;
    char out[MAX_REPLIES];
    char in[BUFFER];
    struct transaction transaction;
    char text[BUFFER];                      /* for the file: see append() */
};

/* The values of an option that may be repeated. */
struct list { const char *items[MAX_LISTED]; int count; };

/* What the command line says.  After the start it is only read. */
static struct {
    const char *name;                       /* -n */
    struct list domains;                    /* -d */
    struct list listen;                     /* -l */
    int port;                               /* -p */
    const char *mail_dir;                   /* -m */
    const char *user;                       /* -u */
    long long max_message;                  /* -z */
    int max_sessions;                       /* -c */
    int max_per_client;                     /* -k */
    int timeout;                            /* -t, in seconds */
    const char *hook;                       /* -x */
    bool strict, auth, inetd, verbose;      /* -s, -a, -i, -v */
    bool to_syslog;                         /* the log goes to syslog */
    char log_name[80];                      /* each line of the log has it */
} options = {
    .port = 2525, .mail_dir = "mail", .max_message = 26214400,
    .max_sessions = 256, .max_per_client = 128, .timeout = TIMEOUT,
};

/* Set by SIGTERM, SIGINT and SIGHUP.  A signal handler may set this type. */
static volatile sig_atomic_t stopping;

/* ------------------------------------------------------------------------
 * 3. The command table                 RFC 5321 4.1.1, 4.1.4, 4.2.4, 4.5.1
 *
 * The protocol, on one page: what can be said, when, with what argument.  The
 * table tells which function to call, and HELP shows it.
 * --------------------------------------------------------------------- */

/* One function for each verb, in part 5.  arg is what follows the verb or, for
 * MAIL and RCPT, the colon.  Each replies and returns NULL, or a refusal. */
static const char *cmd_ehlo(struct session *s, const char *arg);
static const char *cmd_helo(struct session *s, const char *arg);
static const char *cmd_mail(struct session *s, const char *arg);
static const char *cmd_rcpt(struct session *s, const char *arg);
static const char *cmd_data(struct session *s, const char *arg);
static const char *cmd_rset(struct session *s, const char *arg);
static const char *cmd_vrfy(struct session *s, const char *arg);
static const char *cmd_help(struct session *s, const char *arg);
static const char *cmd_noop(struct session *s, const char *arg);
static const char *cmd_quit(struct session *s, const char *arg);
static const char *cmd_auth(struct session *s, const char *arg);

/* Where a session stands: see state_of().  IN() makes a bit of a state, so
 * that a number can hold a set of states: IN_TRANSACTION is 1100 in binary. */
enum state { START, GREETED, MAIL_GIVEN, RCPT_GIVEN };

#define IN(state) (1u << (state))
#define IN_TRANSACTION (IN(MAIL_GIVEN) | IN(RCPT_GIVEN))
#define ANY_TIME (IN(START) | IN(GREETED) | IN_TRANSACTION)

struct command {
    const char *syntax;         /* as it is typed; [...] may be left out */
    const char *(*run)(struct session *s, const char *arg);
    unsigned states;            /* when it may be said: RFC 5321 4.1.4 */
    const char *section;
    const char *meaning;
};

static const struct command commands[] = {
    { "EHLO name", cmd_ehlo, ANY_TIME,
      "RFC 5321 4.1.1.1", "say who you are, and learn what we can do" },
    { "HELO name", cmd_helo, ANY_TIME,
      "RFC 5321 4.1.1.1", "the same, as it was before extensions" },
    { "MAIL FROM:<path> [parameters]", cmd_mail, IN(GREETED),
      "RFC 5321 4.1.1.2", "start a message: its bounces go to this path" },
    { "RCPT TO:<path>", cmd_rcpt, IN_TRANSACTION,
      "RFC 5321 4.1.1.3", "name one recipient; say it once for each" },
    { "DATA", cmd_data, IN(RCPT_GIVEN),
      "RFC 5321 4.1.1.4", "send the message, then a line with only a dot" },
    { "RSET", cmd_rset, ANY_TIME,
      "RFC 5321 4.1.1.5", "forget the message begun" },
    { "VRFY string", cmd_vrfy, ANY_TIME,
      "RFC 5321 4.1.1.6", "ask whether a mailbox exists; we do not tell" },
    { "HELP [verb]", cmd_help, ANY_TIME,
      "RFC 5321 4.1.1.8", "list what can be said now, or explain one verb" },
    { "NOOP [string]", cmd_noop, ANY_TIME,
      "RFC 5321 4.1.1.9", "do nothing, and say so" },
    { "QUIT", cmd_quit, ANY_TIME,
      "RFC 5321 4.1.1.10", "end the session" },
    { "AUTH mechanism [response]", cmd_auth, IN(GREETED),
      "RFC 4954 4", "log in: any name and password will do" },
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

/* RFC 5321 4.2.4: a verb that is known but not implemented gets 502, not the
 * 500 of an unknown one.  These are from RFC 5321 4.1.1.7,
 * RFC 5321 appendix F, RFC 1985, RFC 3207, RFC 3030 and RFC 4954. */
static const char *const not_offered[] = {
    "EXPN", "TURN", "SEND", "SOML", "SAML", "ETRN", "STARTTLS", "BDAT", "AUTH",
    NULL                        /* -a offers AUTH */
};

/* The later functions that parts 4 to 6 call.  Part 6: */
static const char *receive_message(struct session *s);  /* to the dot */

/* Part 7 takes a path apart. */
struct path {
    const char *text;           /* where it begins, with its < */
    const char *mailbox;        /* where the mailbox in it begins */
    const char *end;            /* what follows its >; NULL if it is no path */
};
static struct path parse_reverse_path(const char *p);
static struct path parse_forward_path(const char *p);
static const char *parse_local_part(const char *p);     /* to its end */
static const char *find_domain(const char *mailbox);    /* or NULL */
static const char *check_8bit(const struct path *path, bool utf8);
static const char *take_parameters(const char *p, bool *utf8);  /* of MAIL */

/* Part 8 keeps the mail. */
static const char *find_maildir(struct recipient *r);   /* write its name */
static void begin_message(struct session *s);   /* make its file in tmp */
static void append(struct session *s, const char *octets, size_t length);
static const char *keep_message(struct session *s);     /* move it to new */
static void drop_message(struct session *s);    /* remove it, if not kept */

/* Part 9 is the wire.  reply() puts a line into out[], which is sent when we
 * next wait for the client, in fill().  It also logs and counts refusals. */
#ifndef __GNUC__                /* gcc and clang can check format strings */
#define __attribute__(list)
#endif
#define FORMAT_AT(n) __attribute__((format(printf, n, (n) + 1)))
static void reply(struct session *s, const char *format, ...) FORMAT_AT(2);
static const char *read_line(struct session *s, bool secret);   /* to s->line */
static void refuse_tls(struct session *s);      /* if the client speaks it */
static void fill(struct session *s);            /* wait for more input */
static void end_session(struct session *s);     /* it does not return */
static double now(void);                        /* seconds, to be compared */
static void wake_at(double deadline);           /* call it before a wait */

/* Part 10 is the log. */
static void log_line(const char *format, ...) FORMAT_AT(1);
static void log_dialogue(const char *who, const char *octets, size_t length);

/* ------------------------------------------------------------------------
 * 4. One session                       RFC 5321 3.1, 3.8, 4.1.4, 4.3
 *
 * Greet, then read a line, obey it and answer it, until QUIT.  A session has a
 * process of its own, which ends with it.  The way here is main > run_server >
 * wait_for_clients > accept_one > fork_for > become_session > serve.
 * --------------------------------------------------------------------- */

/* The state is computed from the buffers, not stored, so it can't be wrong. */
static enum state state_of(const struct session *s)
{
    const struct transaction *t = &s->transaction;

    if (s->client_name[0] == '\0')
        return START;
    if (!t->open)
        return GREETED;
    return t->recipients > 0 ? RCPT_GIVEN : MAIL_GIVEN;
}

/* RSET does this (RFC 5321 4.1.1.5), and EHLO, HELO, and the end of DATA. */
static void forget_transaction(struct session *s)
{
    s->transaction.open = false;
    s->transaction.recipients = 0;
}

/* Skip the first word of a line and the spaces after it. */
static const char *after_word(const char *line)
{
    line += strcspn(line, " ");
    return line + strspn(line, " ");
}

/* Do both begin with the same word?  Case does not matter: RFC 5321 2.4. */
static bool same_word(const char *a, const char *b)
{
    size_t length = strcspn(a, " ");

    return strcspn(b, " ") == length && strncasecmp(a, b, length) == 0;
}

/* Is the first word of line one of these words? */
static bool is_among(const char *line, const char *const *words)
{
    while (*words != NULL && !same_word(line, *words))
        words++;
    return *words != NULL;
}

/* Returns the row of the verb that line begins with, or NULL if there is none.
 * There is none for AUTH without -a. */
static const struct command *find_command(const char *line)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (same_word(line, commands[i].syntax) &&
            (commands[i].run != cmd_auth || options.auth))
            return &commands[i];
    return NULL;
}

/* RFC 5321 4.1.4: a verb that does not fit the state gets 503. */
static const char *out_of_order(enum state state, const struct command *c)
{
    if (state == START)
        return "503 5.5.1 Send EHLO or HELO first (RFC 5321 4.1.4)";
    if (state == GREETED)
        return "503 5.5.1 Send MAIL first (RFC 5321 4.1.4)";
    if (c->run == cmd_data)
        return "503 5.5.1 Send RCPT first (RFC 5321 4.1.4)";
    return "503 5.5.1 Finish your message, or send RSET (RFC 5321 4.1.4)";
}

/* Does the argument have the form that the table shows?  Returns it without
 * FROM: or TO:, or NULL.  RFC 5321 4.1.1: RSET, DATA and QUIT take none. */
static const char *fit_argument(const char *form, const char *arg)
{
    const char *colon = strchr(form, ':');
    size_t prefix = colon != NULL ? (size_t)(colon + 1 - form) : 0;

    if (*form == '[')                   /* it may be left out */
        return arg;
    if (*form == '\0')
        return *arg == '\0' ? arg : NULL;
    if (*arg == '\0' || strncasecmp(arg, form, prefix) != 0)
        return NULL;
    return arg + prefix;
}

/* Commands are ASCII (RFC 5321 2.4) without controls (RFC 5321 4.1.2). */
static bool is_printable(const char *p, size_t length, bool or_8bit)
{
    for (const char *end = p + length; p < end; p++)
        if ((unsigned char)*p < ' ' || *p == 127 ||
            ((unsigned char)*p > 127 && !or_8bit))
            return false;
    return true;
}

/* Do what the line says.  Returns NULL, having replied, or the refusal.
 *
 * Departure: RFC 5321 4.1.2 asks for 501 where a command holds a control
 * character.  We send 500, which RFC 5321 2.4 gives for octets above 127. */
static const char *obey(struct session *s)
{
    const struct command *c = find_command(s->line);
    const char *arg;

    /* Addresses may have octets above 127: RFC 6531 3.2, RFC 6531 3.7.4.2. */
    bool mailbox = c != NULL && (c->run == cmd_mail || c->run == cmd_rcpt ||
                                 c->run == cmd_vrfy);

    if (!is_printable(s->line, s->line_length, mailbox))
        return "500 5.5.2 Printable ASCII only: type it again (RFC 5321 2.4)";
    if (c == NULL && is_among(s->line, not_offered))
        return "502 5.5.1 Not offered here: try HELP (RFC 5321 4.2.4)";
    if (c == NULL)
        return "500 5.5.1 No such command: try HELP (RFC 5321 4.2.4)";
    if ((c->states & IN(state_of(s))) == 0)
        return out_of_order(state_of(s), c);
    arg = fit_argument(after_word(c->syntax), after_word(s->line));
    if (arg != NULL)
        return c->run(s, arg);
    /* RFC 5321 4.3.2: a missing argument, or one too many, gets 501. */
    reply(s, "501 5.5.4 The form is: %s (%s)", c->syntax, c->section);
    return NULL;
}

/* RFC 5321 3.8: a server that is shut down says 421 before it goes.  A client
 * in the middle of its message will send it again, elsewhere or later. */
static void heed_stop(struct session *s)
{
    if (!stopping)
        return;
    reply(s, "421 4.3.2 %s Shutting down (RFC 5321 3.8)", options.name);
    end_session(s);
}

/* RFC 5321 4.2: "Every command MUST generate exactly one reply." */
static void one_command(struct session *s)
{
    const char *refusal;

    heed_stop(s);
    refusal = read_line(s, false);
    if (refusal == NULL)
        refusal = obey(s);
    if (refusal != NULL)
        reply(s, "%s", refusal);
    /* Departure: RFC 5321 3.8 says that an unknown command must not end the
     * session.  After twenty we end it: nobody mistypes twenty times.
     * RFC 5321 7.8 lets us hang up on an attack. */
    if (s->blunders >= MAX_BLUNDERS || s->refusals >= MAX_REFUSALS) {
        reply(s, "421 4.7.0 %s Too many errors (RFC 5321 7.8)", options.name);
        end_session(s);
    }
}

/* Serve the client on standard input and output, where become_session(), or
 * with -i the program that started us, has put the connection. */
static void serve(const struct ip *client, bool on_this_host)
{
    static struct session s;            /* static: it starts as zeros */
    struct timespec t = { 0, 0 };
    long pid = (long)getpid();

    s.client = *client;
    s.on_this_host = on_this_host;
    s.message.fd = -1;
    /* No other process has our process ID in this microsecond. */
    clock_gettime(CLOCK_REALTIME, &t);
    snprintf(s.id, sizeof s.id, "%llx-%05lx-%lx", (unsigned long long)t.tv_sec,
             (unsigned long)t.tv_nsec / 1000, (unsigned long)pid);
    snprintf(options.log_name, sizeof options.log_name, "smtpd[%ld]: %s ", pid,
             s.id);
    log_line("start client=%s", client->literal);
    reply(&s, "220 %s ESMTP smtpd " VERSION " ready: say EHLO, or HELP",
          options.name);                /* RFC 5321 4.3.1, RFC 5321 7.5 */
    refuse_tls(&s);
    for (;;)
        one_command(&s);
}

/* ------------------------------------------------------------------------
 * 5. The commands                      RFC 5321 3.2, 3.3, 3.5, 4.1.1
 *
 * One function for each row of the command table, in the table's order.
 * obey() has checked the order of commands, and whether there is an argument.
 * Most replies begin with two codes, as in 250 2.1.0.  RFC 5321 4.2.1 explains
 * the first, and RFC 3463 the second, which says more.
 * --------------------------------------------------------------------- */

/* What EHLO and HELO share.  Returns the refusal, or NULL.
 *
 * Departure: RFC 5321 4.1.1.1 wants a domain or a literal.  Real clients say
 * fe80::1 or "my letter.txt", and RFC 5321 4.1.4 lets no server refuse mail for
 * that.  So we note the first word, if it can stand in Received:. */
static const char *greet(struct session *s, const char *arg, bool extended)
{
    size_t length = strcspn(arg, " ");

    if (length > 1 && arg[length - 1] == '.')
        length--;               /* "box." is the full form of box */
    if (length > MAX_DOMAIN || strcspn(arg, "()<>\"\\;") < length)
        return "501 5.5.4 Name your host, or its [address] (RFC 5321 4.1.1.1)";
    snprintf(s->client_name, sizeof s->client_name, "%.*s", (int)length, arg);
    s->extended = extended;
    /* RFC 5321 4.1.4: "exactly as if a RSET command had been issued". */
    forget_transaction(s);
    return NULL;
}

static const char *cmd_ehlo(struct session *s, const char *arg)
{
    const char *refusal = greet(s, arg, true);

    if (refusal != NULL)
        return refusal;
    reply(s, "250-%s greets you", options.name);
    /* RFC 1870: MAIL may tell the message's size, and this is the largest.
     * RFC 6152: mail data may have octets above 127.  RFC 2920: the client may
     * send commands before it has our replies.  RFC 2034: replies have a
     * second code.  RFC 6531: addresses may be in any script, as UTF-8. */
    reply(s, "250-SIZE %lld", options.max_message);
    reply(s, "250-8BITMIME");
    reply(s, "250-PIPELINING");
    reply(s, "250-ENHANCEDSTATUSCODES");
    reply(s, "250-SMTPUTF8");
    if (options.auth)
        reply(s, "250-AUTH PLAIN LOGIN");               /* RFC 4954 3 */
    reply(s, "250 HELP");
    return NULL;
}

static const char *cmd_helo(struct session *s, const char *arg)
{
    const char *refusal = greet(s, arg, false);

    /* RFC 5321 3.2: HELO never gets the reply of several lines. */
    if (refusal == NULL)
        reply(s, "250 %s greets you", options.name);
    return refusal;
}

/* Copy the mailbox out of a path, which is no longer than MAX_PATH. */
static void copy_mailbox(char to[MAX_PATH + 1], const struct path *path)
{
    snprintf(to, MAX_PATH + 1, "%.*s", (int)(path->end - 1 - path->mailbox),
             path->mailbox);
}

/* Departure: RFC 5321 3.3 permits no space after the colon.  Here and in RCPT
 * we ignore it, because many people and programs put one there. */
static const char *cmd_mail(struct session *s, const char *arg)
{
    struct path path = parse_reverse_path(arg + strspn(arg, " "));
    bool utf8 = false;                  /* SMTPUTF8 was given */
    const char *refusal;

    if (path.end == NULL)
        return "501 5.1.7 A path is <local-part@domain> or <> (RFC 5321 4.1.2)";
    if (path.end - path.text > MAX_PATH)
        return "501 5.1.7 Path too long (RFC 5321 4.5.3.1.3)";
    if (*path.end != '\0' && *path.end != ' ')
        return "501 5.5.4 After the path comes a space (RFC 5321 4.1.1.2)";
    /* RFC 5321 4.1.1.2: parameters belong to extensions, and HELO has none. */
    if (*path.end == ' ' && !s->extended)
        return "555 5.5.4 Parameters need EHLO (RFC 5321 4.1.1.11)";
    refusal = take_parameters(path.end, &utf8);
    if (refusal == NULL)
        refusal = check_8bit(&path, utf8);
    if (refusal != NULL)
        return refusal;
    /* RFC 5321 4.1.1.2: clear the buffers, and store the reverse-path.  This
     * comes last: a refused command changes no buffer (RFC 5321 4.1.4). */
    forget_transaction(s);
    s->transaction.open = true;
    s->transaction.utf8 = utf8;
    copy_mailbox(s->transaction.reverse_path, &path);
    reply(s, "250 2.1.0 Sender ok");
    return NULL;
}

/* Is mail for this domain kept here?  Case does not matter (RFC 5321 2.4).
 *
 * Departure: RFC 5321 4.1.3 lets mail reach a host by its address, as a
 * literal.  We take that only if -d names the literal. */
static bool is_served(const char *domain)
{
    for (int i = 0; i < options.domains.count; i++)
        if (strcasecmp(options.domains.items[i], domain) == 0 ||
            strcmp(options.domains.items[i], "*") == 0)
            return true;
    return false;
}

/* RFC 5321 2.4: case matters in local-parts, and not in domains. */
static bool same_path(const char *a, const char *b)
{
    size_t local_part = (size_t)(parse_local_part(a) - a);

    return strncmp(a, b, local_part) == 0 &&
           strcasecmp(a + local_part, b + local_part) == 0;
}

static const char try_later[] = "451 4.3.0 Error on our side: "
                                "try again later (RFC 5321 4.2.3)";

/* Put path into the forward-path buffer.  Returns NULL, or the refusal.
 * A Maildir that is named twice counts once and gets one copy.  With -x the paths
 * info@a.example and info@b.example count as two, and share one copy. */
static const char *add_recipient(struct session *s, const struct path *path)
{
    struct transaction *t = &s->transaction;
    struct recipient r = { .copy = t->recipients };     /* its own */
    const char *refusal;

    copy_mailbox(r.path, path);
    refusal = find_maildir(&r);
    if (refusal != NULL)
        return refusal;
    for (size_t i = 0; i < t->recipients; i++) {
        const struct recipient *other = &t->forward_path[i];

        if (strcmp(other->maildir, r.maildir) != 0)
            continue;
        if (options.hook == NULL || same_path(other->path, r.path))
            return NULL;
        r.copy = other->copy;           /* one recipient more, but no copy */
    }
    if (t->recipients == MAX_RECIPIENTS)
        return "452 4.5.3 Too many: send to the rest later (RFC 5321 4.5.3.1.10)";
    t->forward_path[t->recipients++] = r;
    return NULL;
}

static const char *cmd_rcpt(struct session *s, const char *arg)
{
    struct path path = parse_forward_path(arg + strspn(arg, " "));
    const char *refusal;

    if (path.end == NULL)
        return "501 5.1.3 A path is <local-part@domain> (RFC 5321 4.1.2)";
    if (path.end - path.text > MAX_PATH)
        return "501 5.1.3 Path too long (RFC 5321 4.5.3.1.3)";
    if (*path.end == ' ')
        return "555 5.5.4 RCPT has no parameters here (RFC 5321 4.1.1.11)";
    if (*path.end != '\0')
        return "501 5.1.3 After the path comes nothing (RFC 5321 4.1.1.3)";
    refusal = check_8bit(&path, s->transaction.utf8);
    if (refusal == NULL)
        refusal = add_recipient(s, &path);
    if (refusal == NULL)
        reply(s, "250 2.1.5 Recipient ok");
    return refusal;
}

static const char *cmd_data(struct session *s, const char *arg)
{
    const char *refusal;

    (void)arg;                          /* this tells the compiler: not used */
    reply(s, "354 Start mail input; end with <CRLF>.<CRLF>, a line with only a dot");
    refusal = receive_message(s);
    if (refusal == NULL) {
        s->blunders = 0;
        reply(s, "250 2.0.0 Message %s as %s",
              s->message.taken ? "taken" : "kept", s->message.id);
    }
    forget_transaction(s);              /* kept or refused: RFC 5321 4.1.1.4 */
    return refusal;
}

static const char *cmd_rset(struct session *s, const char *arg)
{
    (void)arg;
    forget_transaction(s);
    reply(s, "250 2.0.0 Forgotten");
    return NULL;
}

/* RFC 5321 7.3: a server that does not tell "MUST return a 252 response". */
static const char *cmd_vrfy(struct session *s, const char *arg)
{
    (void)arg;
    reply(s, "252 2.0.0 We do not tell: send the mail and see (RFC 5321 7.3)");
    return NULL;
}

/* RFC 5321 4.1.1.8: with an argument, more about it. */
static const char *cmd_help(struct session *s, const char *arg)
{
    const struct command *command = find_command(arg);

    if (*arg == '\0') {
        reply(s, "214-2.0.0 This is smtpd " VERSION ". You can say now:");
        for (size_t i = 0; i < COMMANDS; i++)
            if ((commands[i].states & IN(state_of(s))) != 0 &&
                find_command(commands[i].syntax) != NULL &&
                (commands[i].run != cmd_auth || (s->extended && !s->authenticated)))
                reply(s, "214-2.0.0 %s", commands[i].syntax);
        reply(s, "214 2.0.0 HELP and a verb tells more");
        return NULL;
    }
    if (command == NULL || strchr(arg, ' ') != NULL)
        return "504 5.5.4 No such command: try HELP alone (RFC 5321 4.1.1.8)";
    reply(s, "214-2.0.0 %s", command->syntax);
    reply(s, "214-2.0.0 %s", command->meaning);
    reply(s, "214 2.0.0 It is described in %s", command->section);
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
    reply(s, "221 2.0.0 %s Service closing transmission channel", options.name);
    end_session(s);
    return NULL;                        /* never: the process has ended */
}

/* RFC 4648 4: four characters for three octets; = fills up the last four. */
static bool is_base64(const char *p, const char *end)
{
    size_t digits = strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                              "abcdefghijklmnopqrstuvwxyz0123456789+/");
    size_t missing = strspn(p + digits, "="), length = digits + missing;

    return p + length == end && missing <= 2 && length % 4 == 0;
}

/* Take one of the client's answers to AUTH, which is in s->line.  If it did not
 * come with the command we ask for it.  Returns NULL, or the refusal. */
static const char *take_answer(struct session *s, const char *answer,
                               const char *question)
{
    if (strcmp(answer, "=") == 0)
        return NULL;            /* RFC 4954 4: the empty answer, said at once */
    if (*answer == '\0') {
        const char *refusal;

        reply(s, "%s", question);
        refusal = read_line(s, true);
        if (refusal != NULL)
            return refusal;
        answer = s->line;
    }
    if (strcmp(answer, "*") == 0)
        return "501 5.7.0 Cancelled, as you ask (RFC 4954 4)";
    if (!is_base64(answer, s->line + s->line_length))
        return "501 5.5.2 This is not base64 (RFC 4954 4)";
    return NULL;
}

/* -a: let in anyone, because some programs insist on logging in.  PLAIN has one
 * answer (RFC 4616).  LOGIN, which no RFC has, asks "Username:", and then
 * "Password:".  All of this is in base64, and the answers are never logged. */
static const char *cmd_auth(struct session *s, const char *arg)
{
    bool login = same_word(arg, "LOGIN");
    const char *refusal;

    if (!s->extended)
        return "503 5.5.1 Send EHLO first (RFC 4954 4)";
    if (s->authenticated)
        return "503 5.5.1 You are logged in already (RFC 4954 4)";
    if (!login && !same_word(arg, "PLAIN"))
        return "504 5.5.4 Only PLAIN and LOGIN here (RFC 4954 4)";
    refusal = take_answer(s, after_word(arg),
                          login ? "334 VXNlcm5hbWU6" : "334 ");
    if (refusal == NULL && login)
        refusal = take_answer(s, "", "334 UGFzc3dvcmQ6");
    if (refusal != NULL)
        return refusal;
    s->authenticated = true;
    reply(s, "235 2.7.0 Whoever you are: welcome");
    return NULL;
}

/* ------------------------------------------------------------------------
 * 6. The message                       RFC 5321 4.1.1.4, 4.5.2, 2.3.8, 6.3
 *
 * After the 354, lines are not commands but mail data, until a line holds only
 * a dot.  Here a server can make the most dangerous mistake in SMTP: it takes
 * something other than CRLF . CRLF for the end.  Say that the server before us
 * takes LF . LF for text, and we take it for the end.  Then we obey the text
 * after it as commands.  If a sender writes MAIL FROM:<your boss> there, a
 * second message is smuggled in, which the server before us never saw.
 *
 * So a line starts only after a whole line end, and a message with a stray CR,
 * LF or NUL is read to its true end, then refused.
 *
 * TCP delivers octets in groups of any size.  fill() puts them into in[], and
 * next_piece() takes one line from there, as it does for commands.
 * --------------------------------------------------------------------- */

/* A line of input, or a piece of a long one. */
struct piece {
    const char *text;           /* in the input buffer, without line end */
    size_t length;
    size_t taken;               /* octets used up: length, and the line end */
    bool starts_line, ends_line;
    bool bare_lf;               /* an LF follows, without a CR */
    bool foul;                  /* bare_lf, or a bare CR or a NUL in it */
};

/* Wait for an LF, or for as many octets as a line may have: a command
 * (RFC 5321 4.5.3.1.4) or text (RFC 5321 4.5.3.1.6).  So a short line is always
 * seen whole.  Returns where the LF is, or NULL. */
static const char *await_lf(struct session *s)
{
    for (;;) {
        size_t length = s->in_end - s->in_start;
        const char *lf = memchr(s->in + s->in_start, '\n', length);

        if (lf != NULL || length >= MAX_COMMAND_LINE + 2)
            return lf;
        fill(s);
    }
}

/* Take the next piece from the input.  *piece still holds the last one: its
 * ends_line says whether this one starts a line.  Only CRLF ends a line
 * (RFC 5321 2.3.8), so of these inputs we make:
 *
 *     abc CR LF           abc, which ends its line
 *     a CR b CR LF        a CR b, which ends its line and is foul
 *     abc LF              abc, which is foul; the LF is gone, but ends no line
 *     2,000 octets, CR    2,000 octets; the CR stays in in[], for an LF may come
 *
 * Departure: RFC 5321 4.1.1.4 forbids accepting a bare LF, "even in the name
 * of improved robustness".  We accept it from someone who types into nc on
 * this host: if the first line of such a session ends with a bare LF, then LF
 * ends each of its lines, with or without a CR before it.  The author of a mail
 * can't choose this, because the sending program writes the first line, EHLO.
 * The risk left is a program on this host that puts a stranger's text there. */
static void next_piece(struct session *s, struct piece *piece)
{
    const char *lf = await_lf(s);
    const char *text = s->in + s->in_start;
    const char *end = lf != NULL ? lf : s->in + s->in_end;
    bool cr = end > text && end[-1] == '\r';

    if (cr)
        end--;
    if (lf != NULL && s->line_ending == NOT_SEEN)
        s->line_ending = (cr || !s->on_this_host) ? CRLF : LF;
    piece->text = text;
    piece->length = (size_t)(end - text);
    piece->taken = (size_t)((lf != NULL ? lf + 1 : end) - text);
    piece->starts_line = piece->ends_line;      /* that of the one before */
    piece->ends_line = lf != NULL && (cr || s->line_ending == LF);
    piece->bare_lf = lf != NULL && !piece->ends_line;
    piece->foul = piece->bare_lf ||
                  memchr(text, '\r', piece->length) != NULL ||
                  memchr(text, '\0', piece->length) != NULL;
    s->in_start += piece->taken;
}

static bool begins_with(const struct piece *piece, const char *word)
{
    size_t length = strlen(word);

    return piece->starts_line && piece->length >= length &&
           strncasecmp(piece->text, word, length) == 0;
}

/* RFC 5321 4.1.1.4: a dot alone on its line is the end of mail data. */
static bool is_last(const struct piece *piece)
{
    return piece->length == 1 && piece->ends_line && begins_with(piece, ".");
}

/* RFC 5321 4.5.2: the client puts a dot before a line that begins with one. */
static void undo_dot(struct piece *piece)
{
    if (!piece->starts_line || piece->length == 0 || *piece->text != '.')
        return;
    piece->text++;
    piece->length--;
}

/* A field begins with its name and a colon.  It goes on in the lines after it
 * that begin with a space or a tab: it is folded (RFC 5322 2.2.3). */
static bool is_folded(const struct piece *piece)
{
    return begins_with(piece, " ") || begins_with(piece, "\t");
}

/* Follow the header section, which the first empty line, and nothing else,
 * ends (RFC 5322 2.1).
 * A delivered message should have one Return-Path:, and others may be removed
 * (RFC 5321 4.4).  We put ours there, so they go, with their folded lines.
 * Received: fields are counted, to find a loop (RFC 5321 6.3). */
static void follow_header(struct message *m, const struct piece *piece)
{
    if (!m->in_header || !piece->starts_line || is_folded(piece))
        return;
    m->in_header = piece->length > 0 || !piece->ends_line;  /* not empty */
    m->in_return_path = begins_with(piece, "Return-Path:");
    if (begins_with(piece, "Received:"))
        m->received++;
}

/* RFC 1870 5: in the size, line ends count two octets, doubled dots one. */
static void take_piece(struct session *s, const struct piece *piece)
{
    struct message *m = &s->message;

    if (m->size == 0 && is_folded(piece)) {
        append(s, "\n", 1);             /* or it would continue our Received: */
        m->in_header = false;
    }
    follow_header(m, piece);
    m->size += (long long)piece->length + (piece->ends_line ? 2 : 0);
    m->foul = m->foul || piece->foul;
    if (m->in_return_path || m->foul || m->size > options.max_message)
        return;
    append(s, piece->text, piece->length);
    if (piece->ends_line)
        append(s, "\n", 1);
}

/* -v: show the first lines of a message, and count the octets of the rest. */
static void show_data(struct session *s, const struct piece *piece)
{
    struct message *m = &s->message;

    if (options.verbose && m->shown == MAX_SHOWN) {
        m->unseen += (long long)piece->taken;
    } else if (options.verbose) {
        m->shown++;
        log_dialogue(piece->starts_line ? "C: " : "C: ... ", piece->text,
                     piece->length);
    }
}

/* Read the mail data to its end and keep the message.  Returns NULL when it is
 * on disk in every Maildir, or -x's command has it; otherwise the refusal. */
static const char *receive_message(struct session *s)
{
    struct piece piece = { .ends_line = true };     /* as if a line had just ended */
    const char *refusal;

    begin_message(s);
    s->in_data = true;
    for (;;) {
        next_piece(s, &piece);
        if (is_last(&piece))
            break;
        show_data(s, &piece);
        undo_dot(&piece);
        take_piece(s, &piece);
    }
    s->in_data = false;
    s->deadline = 0;                    /* the next command has all its time */
    if (s->message.unseen > 0)
        log_line("C: ... and %lld octets more", s->message.unseen);
    refusal = keep_message(s);
    drop_message(s);
    return refusal;
}

/* ------------------------------------------------------------------------
 * 7. Reading an argument               RFC 5321 4.1.2, 4.1.3, 4.1.1.11
 *
 * One function per rule of the grammar, and the rule above it.  In the rules,
 * a / b is one of the two, [ a ] may be left out, *a is any number of a, 1*a
 * at least one, 1*3a one to three, 3a three, and %d32-126 is any octet from 32
 * to 126.  ALPHA is a letter, DIGIT a digit, DQUOTE the octet 34.
 *
 * Most functions get a pointer into a string that ends with NUL.  They return
 * a pointer just past the rule's text, or NULL if the text does not match.
 * Octets above 127 count as letters: check_8bit() judges them.
 * --------------------------------------------------------------------- */

/* We don't use ctype.h, whose functions must not be given a negative char. */
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_let_dig(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (unsigned char)c > 127;                      /* RFC 6531 3.3 */
}

/* sub-domain = Let-dig [Ldh-str]
 * Ldh-str    = *( ALPHA / DIGIT / "-" ) Let-dig
 *
 * Departure: RFC 5321 4.1.2 permits no underscore.  Names of real hosts have it.
 *
 * Departure: RFC 6531 3.3 permits a name in another script only if it can be
 * registered.  We do not check: only the domains that -d names get mail. */
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
 *
 * Departure: in RFC 5321 4.1.3 "::" stands for two groups or more.  The C
 * library, which we ask, also lets it stand for one. */
static const char *parse_ipv6(const char *p)
{
    size_t length = strspn(p, "0123456789ABCDEFabcdef:.");
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;

    if (length >= sizeof text)
        return NULL;
    snprintf(text, sizeof text, "%.*s", (int)length, p);
    return inet_pton(AF_INET6, text, &address) == 1 ? p + length : NULL;
}

/* address-literal = "[" ( IPv4-address-literal / IPv6-address-literal /
 *                         General-address-literal ) "]"
 *
 * There is no General-address-literal: it begins with a tag that must be
 * registered (RFC 5321 4.1.3), and the only one is IPv6. */
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
 * qtextSMTP       = %d32-33 / %d35-91 / %d93-126 / those of RFC 6531 3.3 */
static const char *parse_quoted_string(const char *p)
{
    if (*p++ != '"')
        return NULL;
    for (; *p != '"'; p++) {
        bool pair = *p == '\\';

        if (pair)
            p++;
        if (!is_printable(p, 1, !pair))         /* this ends at the NUL, too */
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

/* A-d-l     = At-domain *( "," At-domain ), and here the colon after it
 * At-domain = "@" Domain */
static const char *parse_source_route(const char *p)
{
    do {
        p = *p == '@' ? parse_domain(p + 1) : NULL;
    } while (p != NULL && *p++ == ',');
    return p != NULL && p[-1] == ':' ? p : NULL;
}

/* Path = "<" [ A-d-l ":" ] Mailbox ">"
 *
 * A-d-l, a source route, once said by which hosts the mail should go.  We must
 * accept it and should ignore it (RFC 5321 4.1.1.3, appendix C). */
static struct path parse_path(const char *p)
{
    struct path path = { .text = p, .end = NULL };

    if (*p++ != '<')
        return path;
    path.mailbox = *p == '@' ? parse_source_route(p) : p;
    if (path.mailbox == NULL)
        return path;
    p = parse_mailbox(path.mailbox);
    if (p != NULL && *p == '>')
        path.end = p + 1;
    return path;
}

/* Reverse-path = Path / "<>" */
static struct path parse_reverse_path(const char *p)
{
    if (strncmp(p, "<>", 2) == 0)
        return (struct path){ .text = p, .mailbox = p + 1, .end = p + 2 };
    return parse_path(p);
}

/* "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path
 *
 * RFC 5321 4.1.1.3: the one name that needs no domain.  Case does not matter. */
static struct path parse_forward_path(const char *p)
{
    if (strncasecmp(p, "<postmaster>", 12) == 0)        /* 12: all of it */
        return (struct path){ .text = p, .mailbox = p + 1, .end = p + 12 };
    return parse_path(p);
}

static const char *find_domain(const char *mailbox)
{
    const char *at = parse_local_part(mailbox);

    return at != NULL && *at == '@' ? at + 1 : NULL;
}

/* RFC 3629 4: in UTF-8 the first octet of a character tells how many more it has.
 * They are 80 to BF in hexadecimal, and one after E0, ED, F0 or F4 even less. */
static bool is_utf8(const char *p, const char *end)
{
    while (p < end) {
        unsigned char c = (unsigned char)*p++;
        unsigned char next = p < end ? (unsigned char)*p : 0;
        int more = c < 0x80 ? 0 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;

        if ((c >= 0x80 && c < 0xC2) || c > 0xF4 ||
            (c == 0xE0 && next < 0xA0) || (c == 0xED && next > 0x9F) ||
            (c == 0xF0 && next < 0x90) || (c == 0xF4 && next > 0x8F))
            return false;
        for (; more > 0; more--)
            if (p == end || (*p++ & 0xC0) != 0x80)
                return false;
    }
    return true;
}

/* Old servers do not know octets above 127 in addresses, so a client must ask
 * for them with SMTPUTF8 (RFC 6531 3.4).  Otherwise RFC 6531 3.5 wants 550 at
 * MAIL, but RFC 6531 4.2 allows our 553.  Returns NULL, or the refusal. */
static const char *check_8bit(const struct path *path, bool utf8)
{
    if (is_printable(path->text, (size_t)(path->end - path->text), false))
        return NULL;
    if (!utf8)
        return "553 5.6.7 For this address add SMTPUTF8 to MAIL (RFC 6531 3.4)";
    if (!is_utf8(path->text, path->end))
        return "553 5.6.7 Not UTF-8 (RFC 6531 3.3)";
    return NULL;
}

/* esmtp-param = esmtp-keyword ["=" esmtp-value]
 *
 * Returns the refusal, or NULL.  If a parameter comes twice, the last counts. */
static const char *take_parameter(char *keyword, bool *utf8, long long *size)
{
    char *value = strchr(keyword, '=');         /* NULL where there is none */
    bool good;

    if (value != NULL)
        *value++ = '\0';                /* so keyword ends at the = */
    if (strcasecmp(keyword, "SIZE") == 0) {
        size_t digits = value != NULL ? strspn(value, "0123456789") : 0;

        good = digits > 0 && digits <= 20 && value[digits] == '\0';
        *size = good ? strtoll(value, NULL, 10) : 0;    /* RFC 1870 3 */
    } else if (strcasecmp(keyword, "BODY") == 0) {      /* no octet changes */
        good = value != NULL && (strcasecmp(value, "7BIT") == 0 ||
                                 strcasecmp(value, "8BITMIME") == 0);
    } else if (strcasecmp(keyword, "SMTPUTF8") == 0) {
        good = value == NULL;                           /* RFC 6531 3.4 */
        *utf8 = true;
    } else if (strcasecmp(keyword, "AUTH") == 0 && options.auth) {
        good = value != NULL;                           /* RFC 4954 5 */
    } else {
        return "555 5.5.4 Parameter not known (RFC 5321 4.1.1.11)";
    }
    return good ? NULL : "501 5.5.4 Parameter malformed (RFC 5321 4.1.1.11)";
}

/* Mail-parameters = esmtp-param *(SP esmtp-param) */
static const char *take_parameters(const char *p, bool *utf8)
{
    char copy[MAX_COMMAND_LINE + 1], *word, *rest;
    const char *refusal = NULL;
    long long size = 0;

    snprintf(copy, sizeof copy, "%s", p);
    for (word = strtok_r(copy, " ", &rest); word != NULL && refusal == NULL;
         word = strtok_r(NULL, " ", &rest))
        refusal = take_parameter(word, utf8, &size);
    if (refusal == NULL && size > options.max_message)
        return "552 5.3.4 Message too large (RFC 1870 6.1)";
    return refusal;
}

/* ------------------------------------------------------------------------
 * 8. Keeping the mail                  RFC 5321 6.1, 4.4, 7.2, 7.9
 *
 * RFC 5321 6.1: "It MUST NOT lose the message for frivolous reasons, such as
 * because the host later crashes".  The 250 after the dot promises that.
 *
 * A Maildir is a directory with tmp, new and cur in it.  A message is written
 * to a file in tmp and forced to disk, moved to new, and then the directory
 * new is forced to disk.  So a message is in new whole or not at all, even if
 * the power fails, and no lock is needed.  If there are several recipients,
 * the one file is linked into the tmp of each, and when all have it, it is
 * moved in each.  A server that is killed leaves its file in tmp: programs that
 * read mail remove it after 36 hours.  Paths start in the mail directory.
 *
 * begin_message() makes the file, append() adds to it, keep_message() moves it,
 * and drop_message() undoes all that, at any time.
 * --------------------------------------------------------------------- */

enum { MAX_PATH_NAME = 2 * MAX_MAILDIR_NAME + 8 };     /* of a file, with NUL */

/* Write the path of the message's i-th copy.  As Maildir asks, its name is
 * time, ID, host.  It holds i because two Maildirs may be one, by a symbolic
 * link: then two copies need two names. */
static void file_path(char *path, const struct session *s, size_t i,
                      const char *dir)
{
    snprintf(path, MAX_PATH_NAME, "%s/%s/%lld.%s.%zu.%.99s",
             s->transaction.forward_path[i].maildir, dir,
             (long long)s->message.time, s->message.id, i,
             *options.name == '[' ? "literal" : options.name);
}

/* Write the name of a recipient's Maildir.  Octets other than a-z, 0-9, and a
 * few more become %XX, and so does a first dot: no address can lead out of the
 * mail directory.  Quoting is undone, because all quoted forms of a local-part
 * are the same (RFC 5321 4.1.2).  Returns -1 if the name is too long.
 * Bob and bob share a Maildir.  RFC 5321 2.4 wants their case kept, as in our
 * trace fields, but advises a host not to tell them apart. */
static int name_maildir(struct recipient *r)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789_+=-";
    const char *end = parse_local_part(r->path);
    size_t used = 0, size = sizeof r->maildir;

    for (const char *p = r->path; p < end; p++) {
        char c;

        if (*p == '"')                  /* it begins or ends a Quoted-string */
            continue;
        if (*p == '\\')                  /* it quotes the octet behind it */
            p++;
        c = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
        if (strchr(plain, c) != NULL || (c == '.' && used > 0))
            used += (size_t)snprintf(r->maildir + used, size - used, "%c", c);
        else
            used += (size_t)snprintf(r->maildir + used, size - used, "%%%02X",
                                     (unsigned char)c);
        if (used >= size)
            return -1;
    }
    r->maildir[used] = '\0';
    return 0;
}

/* write() only hands octets to the kernel, where they are lost if the power
 * fails.  fsync() forces them to disk.  On macOS it stops at the drive's own
 * memory, and F_FULLFSYNC goes on.  Returns -1 and sets errno if it fails. */
static int make_durable(int fd)
{
    int result;

#ifdef F_FULLFSYNC
    if (fcntl(fd, F_FULLFSYNC) != -1)
        return 0;
#endif
    do
        result = fsync(fd);
    while (result == -1 && errno == EINTR);     /* a signal came */
    return result;
}

/* Force the names in a directory to disk.  A file's name is not in the file
 * but in the directory, which reaches the disk separately. */
static int make_names_durable(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY), result;

    if (fd == -1)
        return -1;
    result = make_durable(fd);
    if (result == -1 && errno == EINVAL)
        result = 0;             /* this file system needs no fsync() */
    close(fd);
    return result;
}

static int make_directory(const char *path)
{
    return mkdir(path, 0700) == -1 && errno != EEXIST ? -1 : 0;
}

/* If it is not a directory, errno tells why. */
static bool is_directory(const char *path)
{
    struct stat st;

    if (stat(path, &st) == -1)
        return false;
    if (S_ISDIR(st.st_mode))
        return true;
    errno = ENOTDIR;
    return false;
}

/* Make what is missing of a Maildir.  Returns -1 and sets errno if that fails.
 * tmp is made last, when the names of the rest are on disk.  Otherwise another
 * process could find it, deliver, and say 250 before new is on disk. */
static int make_maildir(const char *maildir)
{
    char new[MAX_PATH_NAME], cur[MAX_PATH_NAME], tmp[MAX_PATH_NAME];

    snprintf(new, sizeof new, "%s/new", maildir);
    snprintf(cur, sizeof cur, "%s/cur", maildir);
    snprintf(tmp, sizeof tmp, "%s/tmp", maildir);
    if (is_directory(new) && is_directory(cur) && is_directory(tmp))
        return 0;
    if (make_directory(maildir) == -1 || make_directory(new) == -1 ||
        make_directory(cur) == -1 || make_names_durable(maildir) == -1 ||
        make_names_durable(".") == -1)
        return -1;
    return make_directory(tmp);
}

/* Returns NULL, having named this recipient's Maildir, or the refusal. */
static const char *find_maildir(struct recipient *r)
{
    const char *domain = find_domain(r->path);

    /* RFC 5321 3.6.2: we relay for nobody, and 550 says so. */
    if (domain != NULL && !is_served(domain))
        return "550 5.7.1 Not our domain, and we do not relay (RFC 5321 3.6.2)";
    if (name_maildir(r) == -1)
        return "501 5.1.3 Local-part too long (RFC 5321 4.5.3.1)";
    /* RFC 5321 4.5.1: postmaster is there even where nobody else is.  The name
     * "" is never there: it comes from ""@example.com. */
    if (!options.strict && r->maildir[0] != '\0')
        return NULL;
    if (strcmp(r->maildir, "postmaster") == 0 || is_directory(r->maildir))
        return NULL;
    if (errno == ENOENT || errno == ENOTDIR)
        return "550 5.1.1 No such mailbox (RFC 5321 3.3)";
    return try_later;
}

/* Write what text[] holds to the file; m->error tells whether that worked. */
static void write_out(struct session *s)
{
    struct message *m = &s->message;
    size_t done = 0;

    while (done < m->length && m->error == 0) {
        ssize_t n = write(m->fd, s->text + done, m->length - done);

        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            m->error = n == 0 ? ENOSPC : errno;     /* 0 has no errno */
    }
    m->length = 0;
}

/* Collect octets for the file.  They are BUFFER at most, and so is text[]. */
static void append(struct session *s, const char *octets, size_t length)
{
    struct message *m = &s->message;

    if (length > sizeof s->text - m->length)
        write_out(s);
    memcpy(s->text + m->length, octets, length);
    m->length += length;
}

/* Append text that is made as printf() makes it, for the trace fields. */
FORMAT_AT(2)
static void append_text(struct session *s, const char *format, ...)
{
    char text[2 * MAX_PATH + MAX_DOMAIN];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    append(s, text, strlen(text));
}

/* RFC 5321 4.4: Return-Path: has the reverse-path.  Received: tells from whom,
 * as EHLO and address say, by whom, how, under which ID, for whom, and when. */
static void write_trace(struct session *s)
{
    const struct transaction *tr = &s->transaction;
    const char *path = tr->forward_path[0].path;
    char date[64];
    struct tm local;

    append_text(s, "Return-Path: <%s>\n", tr->reverse_path);
    append_text(s, "Received: from %s", s->client_name);
    if (*s->client.text != '\0')
        append_text(s, " (%s)", s->client.literal);
    append_text(s, "\n\tby %s", options.name);
    if (*options.name == '[')           /* said once more: RFC 5321 4.4 */
        append_text(s, " (%s)", options.name);
    /* RFC 6531 4.3: UTF8SMTP is ESMTP with SMTPUTF8.  RFC 3848: A is AUTH. */
    append_text(s, " with %s%s id %s", tr->utf8 ? "UTF8SMTP" :
                s->extended ? "ESMTP" : "SMTP",
                s->authenticated && s->extended ? "A" : "", s->message.id);
    /* RFC 5321 7.2: we name only a single recipient, or blind copies would not
     * be blind.  RFC 5321 4.4: "for" needs a Path, and <postmaster> is none. */
    if (tr->recipients == 1 && find_domain(path) != NULL)
        append_text(s, "\n\tfor <%s>", path);
    /* RFC 5322 3.3 and RFC 5321 4.4: local time with its offset.  Departure:
     * after chroot() some C libraries lose the time zone, and write UT. */
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S %z",
             localtime_r(&s->message.time, &local));
    append_text(s, ";\n\t%s\n", date);
}

/* Make the file, and write the fields that we add to the message.  O_EXCL: fail
 * if the file exists.  O_CLOEXEC: -x's command does not get the descriptor.
 * RFC 5321 3.3: an error is reported after the dot. */
static void begin_message(struct session *s)
{
    struct message *m = &s->message;
    char tmp[MAX_PATH_NAME];

    *m = (struct message){ .fd = -1, .time = time(NULL), .in_header = true };
    snprintf(m->id, sizeof m->id, "%s-%u", s->id, ++s->messages);
    file_path(tmp, s, 0, "tmp");
    if (make_maildir(s->transaction.forward_path[0].maildir) == 0)
        m->fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (m->fd == -1)
        m->error = errno;
    write_trace(s);
}

/* Move the whole, durable file from tmp into new, for every recipient who has
 * a copy.  Returns 0, or errno; then drop_message() undoes the rest.
 *
 * Departure: link() can't join two file systems, so Maildirs on two get 451. */
static int deliver(const struct session *s)
{
    const struct recipient *to = s->transaction.forward_path;
    size_t recipients = s->transaction.recipients;
    char first[MAX_PATH_NAME], tmp[MAX_PATH_NAME], new[MAX_PATH_NAME];

    file_path(first, s, 0, "tmp");
    for (size_t i = 1; i < recipients; i++) {
        if (to[i].copy != i)
            continue;
        file_path(tmp, s, i, "tmp");
        if (make_maildir(to[i].maildir) == -1 || link(first, tmp) == -1)
            return errno;
    }
    for (size_t i = 0; i < recipients; i++) {
        if (to[i].copy != i)
            continue;
        file_path(tmp, s, i, "tmp");
        file_path(new, s, i, "new");
        if (rename(tmp, new) == -1)
            return errno;
        snprintf(new, sizeof new, "%s/new", to[i].maildir);
        if (make_names_durable(new) == -1)
            return errno;
    }
    return 0;
}

/* Remove a message that is not kept, from wherever it is: RFC 5321 4.1.1.4
 * knows no partial failure.  unlink() does no harm where there is nothing. */
static void drop_message(struct session *s)
{
    char path[MAX_PATH_NAME];

    if (s->message.fd == -1)
        return;
    close(s->message.fd);
    s->message.fd = -1;
    for (size_t i = 0; i < s->transaction.recipients; i++) {
        file_path(path, s, i, "tmp");
        unlink(path);
        file_path(path, s, i, "new");
        unlink(path);
    }
}

/* What -x's command finds in its environment.  Returns false if that fails. */
static bool set_variables(const struct session *s)
{
    const char *ip = s->client.text;

    return setenv("SENDER", s->transaction.reverse_path, 1) == 0 &&
           setenv("HELO", s->client_name, 1) == 0 &&
           setenv("MESSAGE", s->message.id, 1) == 0 &&
           setenv("SESSION", s->id, 1) == 0 &&
           (*ip != '\0' ? setenv("TCPREMOTEIP", ip, 1)
                        : unsetenv("TCPREMOTEIP")) == 0;
}

/* In the child: become the shell that runs -x's command; this does not return.
 * The message is its standard input.  The recipients are its arguments: no octet
 * of a client's is part of the command.  Its process group is killed as one. */
static void become_hook(const struct session *s)
{
    const char *argv[MAX_RECIPIENTS + 5] = { "sh", "-c", options.hook, "smtpd" };
    char file[MAX_PATH_NAME];
    int in, out = STDERR_FILENO;

    setpgid(0, 0);
    alarm(0);                   /* it would outlast execv() */
    file_path(file, s, 0, "tmp");
    in = open(file, O_RDONLY | O_CLOEXEC);
    if (options.to_syslog)      /* because standard error is the client */
        out = open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (size_t i = 0; i < s->transaction.recipients; i++)
        argv[4 + i] = s->transaction.forward_path[i].path;
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    if (dup2(in, STDIN_FILENO) != -1 && dup2(out, STDOUT_FILENO) != -1 &&
        dup2(out, STDERR_FILENO) != -1 && set_variables(s))
        execv("/bin/sh", (char *const *)argv);
    _exit(EX_TEMPFAIL);
}

/* Run -x's command, and wait options.timeout seconds at most.  Returns its exit
 * status, or -1 if it was killed, took too long, or could not be run. */
static int run_hook(const struct session *s)
{
    double deadline = now() + options.timeout;
    pid_t pid = fork(), ended;
    int status;

    if (pid == 0)
        become_hook(s);
    if (pid == -1)
        return -1;
    setpgid(pid, pid);          /* both do this: either may run first */
    do {
        wake_at(deadline);
        ended = waitpid(pid, &status, 0);
    } while (ended == -1 && errno == EINTR && now() < deadline);
    if (ended == -1) {
        kill(-pid, SIGKILL);
        ended = waitpid(pid, &status, 0);   /* at most until on_signal()'s alarm */
    }
    return ended == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Log what became of the message, a line for each recipient. */
static void log_message(const struct session *s, const char *verb)
{
    const struct transaction *t = &s->transaction;
    const struct message *m = &s->message;

    for (size_t i = 0; i < t->recipients; i++) {
        const struct recipient *to = &t->forward_path[i];
        char file[MAX_PATH_NAME];

        file_path(file, s, to->copy, "new");
        log_line("%s %s client=%s from=<%s> to=<%s> size=%lld%s%s", verb, m->id,
                 s->client.literal, t->reverse_path, to->path, m->size,
                 m->taken ? "" : " file=", m->taken ? "" : file);
    }
}

/* RFC 5321 7.9 lets a server refuse mail for reasons of its own.  -x's command
 * has them.  Its exit status is one of sysexits.h, or 99 or 100 as in qmail. */
static const char *ask_hook(struct session *s)
{
    int status = run_hook(s);

    if (status == -1)
        log_line("hook %s was killed, or not run", s->message.id);
    else
        log_line("hook %s exit=%d", s->message.id, status);
    switch (status) {
    case EX_OK:
        return NULL;
    case 99:
        s->message.taken = true;
        log_message(s, "taken");
        return NULL;
    case EX_DATAERR: case EX_NOUSER: case EX_NOPERM: case 100:
        return "550 5.7.1 Refused by this host's rules (RFC 5321 7.9)";
    default:
        return try_later;
    }
}

/* What the client is told when the file can't be kept. */
static const char *explain_error(const struct session *s)
{
    const struct transaction *t = &s->transaction;
    int error = s->message.error;

    if (error == ENOSPC || error == EDQUOT || error == EFBIG)
        return "452 4.3.1 Disk full: try again later (RFC 5321 4.2.3)";
    log_line("error: can't keep %s in %s and %zu more: %s", s->message.id,
             t->forward_path[0].maildir, t->recipients - 1, strerror(error));
    return try_later;
}

/* Judge the whole message, and keep it.  Returns NULL when it is safe on disk
 * for every recipient, or taken; otherwise the refusal.
 *
 * Departure: RFC 5321 4.5.2 asks us to deliver a NUL.  We refuse it, because
 * programs that read mail often take it for the end. */
static const char *keep_message(struct session *s)
{
    struct message *m = &s->message;

    if (m->foul)
        return "554 5.6.0 Bare CR, bare LF or NUL in the message: send "
               "CRLF, as curl --crlf does (RFC 5321 2.3.8)";
    if (m->received > MAX_RECEIVED)
        return "554 5.4.6 Too many Received fields: a loop (RFC 5321 6.3)";
    if (m->size > options.max_message)
        return "552 5.3.4 Message too large (RFC 5321 4.5.3.1.9)";
    write_out(s);
    if (m->error == 0 && options.hook != NULL) {
        const char *refusal = ask_hook(s);

        if (refusal != NULL || m->taken)
            return refusal;     /* and drop_message() removes the file */
    }
    if (m->error == 0 && make_durable(m->fd) == -1)
        m->error = errno;
    if (m->error == 0)
        m->error = deliver(s);
    if (m->error != 0)
        return explain_error(s);
    close(m->fd);               /* if it fails, the message is still on disk */
    m->fd = -1;
    log_message(s, "kept");
    return NULL;
}

/* ------------------------------------------------------------------------
 * 9. The wire                          RFC 5321 2.3.7, 2.3.8, 4.2, 4.5.3.2
 *
 * The session is on standard input and output.  Input is read into in[], and
 * next_piece() takes lines from there.  Replies go into out[], and are sent
 * just before we wait for input: one packet answers a group (RFC 2920).
 *
 * Departure: RFC 2920 3.2 lists replies that must not be held back.  We hold
 * back all, but a client that waits for one has it before we wait for input.
 * --------------------------------------------------------------------- */

/* Seconds on a clock that nobody sets. */
static double now(void)
{
    struct timespec t = { 0, 0 };

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* 1 if no alarm is set, or it has rung.  wake_at() sets it. */
static volatile sig_atomic_t alarm_rang = 1;

/* A signal ends a wait: read() fails with EINTR.  But look at this order:
 *
 *     we see no reason to stop;  a signal comes;  we call read()
 *
 * The signal was too early to end that read(), which could now wait for ever.
 * So an alarm follows each signal, a second later, and ends the read(). */
static void on_signal(int signal_number)
{
    if (signal_number == SIGTERM || signal_number == SIGINT ||
        signal_number == SIGHUP)
        stopping = 1;
    alarm_rang = 1;
    alarm(1);
}

/* Before a wait, call this, then check that there is still reason to wait.
 * alarm() makes the kernel send SIGALRM after some seconds: so the wait ends at
 * most a second after the deadline.  An alarm that is early enough is kept. */
static void wake_at(double deadline)
{
    static double rings;                /* when the present alarm does */
    double left = deadline - now();
    unsigned seconds = left > 1 ? (unsigned)left + 1 : 1;

    if (!alarm_rang && rings <= deadline + 1)
        return;
    alarm_rang = 0;
    alarm(seconds);
    if (stopping)
        alarm(1);               /* the signal may have come just before */
    rings = now() + seconds;
}

/* Send the replies held.  RFC 5321 7.8: a client must take some in time. */
static void flush(struct session *s)
{
    double since = now();               /* when it last took some */
    size_t sent = 0;

    while (sent < s->out_length) {
        ssize_t n;

        wake_at(since + options.timeout);
        if (now() >= since + (stopping ? LINGER_SECONDS : options.timeout))
            break;
        n = write(STDOUT_FILENO, s->out + sent, s->out_length - sent);
        if (n > 0) {
            sent += (size_t)n;
            since = now();
        } else if (n == 0 || errno != EINTR) {
            break;
        }
    }
    if (sent < s->out_length && !s->ended) {
        s->out_length = 0;
        log_line("lost: the client takes no replies");
        end_session(s);
    }
    s->out_length = 0;
}

/* Log a refusal and count it.  A 421 answers no command.
 * A blunder is a refusal that no mail client should get: 50z for syntax and
 * unknown commands (RFC 5321 4.2.1), and 555.  It is not 503, because a client
 * that pipelines (RFC 2920) sends DATA before it sees MAIL refused.  It is not
 * 550, because an old mailing list gets many. */
static void note_refusal(struct session *s, const char *line)
{
    if (strncmp(line, "421", 3) == 0)
        log_line("refused: %s client=%s", line, s->client.literal);
    else
        log_line("refused: %s client=%s [after: %s]", line, s->client.literal,
                 s->secret ? "AUTH" : s->line);
    s->refusals++;
    if (strncmp(line, "555", 3) == 0 ||
        (strncmp(line, "50", 2) == 0 && line[2] != '3'))
        s->blunders++;
}

/* Replies never hold what a client sent.  We flush before out[] is full, so that
 * the last line of a session always has room. */
static void reply(struct session *s, const char *format, ...)
{
    char *line;
    va_list args;
    size_t length;

    if (s->out_length >= MAX_REPLIES - 2 * MAX_REPLY_LINE)
        flush(s);
    line = s->out + s->out_length;
    va_start(args, format);
    vsnprintf(line, MAX_REPLY_LINE - 1, format, args);  /* leave two: CRLF */
    va_end(args);
    length = strlen(line);
    log_dialogue("S: ", line, length);
    if (*line == '4' || *line == '5')
        note_refusal(s, line);
    memcpy(line + length, "\r\n", 2);
    s->out_length += length + 2;
}

/* Send the replies held, wait for input, and add it to what is left in in[].
 * RFC 5321 4.5.3.2.7: a command must come within options.timeout seconds.  They
 * begin when our replies are sent.  Each octet of mail data extends the deadline
 * by 1/MIN_RATE second, to at most options.timeout from now.  So a sender may
 * pause, but not be slow for long (RFC 5321 7.8). */
static void fill(struct session *s)
{
    double latest;
    ssize_t n;

    flush(s);
    s->in_end -= s->in_start;
    memmove(s->in, s->in + s->in_start, s->in_end);
    s->in_start = 0;
    if (s->deadline == 0)
        s->deadline = now() + options.timeout;
    do {
        wake_at(s->deadline);
        heed_stop(s);
        if (now() >= s->deadline) {
            reply(s, "421 4.4.2 %s Too slow (RFC 5321 4.5.3.2.7)", options.name);
            end_session(s);
        }
        n = read(STDIN_FILENO, s->in + s->in_end, sizeof s->in - s->in_end);
    } while (n == -1 && errno == EINTR);
    if (n <= 0) {               /* RFC 5321 4.1.1.5: that is a QUIT */
        log_line("lost: the client is gone");
        end_session(s);
    }
    s->in_end += (size_t)n;
    if (!s->in_data)
        return;
    s->deadline += (double)n / MIN_RATE;
    latest = now() + options.timeout;
    if (s->deadline > latest)
        s->deadline = latest;
}

static void refuse_protocol(struct session *s)
{
    reply(s, "502 5.5.1 This is SMTP in the clear, not HTTP and not TLS "
             "(RFC 5321 7.8)");
    end_session(s);
}

/* TLS begins with the octets 22 and 3.  We do not wait for an end of line. */
static void refuse_tls(struct session *s)
{
    while (s->in_end == 0 || (s->in_end == 1 && s->in[0] == 22))
        fill(s);
    if (s->in[0] == 22 && s->in[1] == 3)
        refuse_protocol(s);
}

/* A web page can make a browser post a form with commands in it to our port.
 *
 * Departure: RFC 5321 3.8 says that an unknown command must not end the
 * session.  Before EHLO, an HTTP method does. */
static void refuse_http(struct session *s)
{
    static const char *const methods[] = { "GET", "HEAD", "POST", "PUT",
        "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", NULL };

    if (s->client_name[0] == '\0' && is_among(s->line, methods))
        refuse_protocol(s);
}

/* May this line, which is in s->line too, hold a password?  It may if AUTH is in
 * it, even behind a typing error, and it is no other command. */
static bool may_be_secret(const struct session *s, const struct piece *line)
{
    const struct command *c = find_command(s->line);

    if (c != NULL && c->run != cmd_auth &&
        is_printable(s->line, s->line_length, true))
        return false;
    for (size_t i = 0; i + 4 <= line->length; i++)
        if (strncasecmp(line->text + i, "AUTH", 4) == 0)
            return true;
    return false;
}

/* Put a command, or as much of it as there is room for, into s->line.
 * RFC 5321 4.1.1: white space at its end is ignored. */
static void store_line(struct session *s, const struct piece *piece)
{
    size_t length = piece->length;

    if (length > MAX_COMMAND_LINE)
        length = MAX_COMMAND_LINE;
    memcpy(s->line, piece->text, length);
    while (length > 0 &&
           (piece->text[length - 1] == ' ' || piece->text[length - 1] == '\t'))
        length--;
    s->line[length] = '\0';
    s->line_length = length;
}

/* Read a command, or if secret an answer to AUTH.  One that is too long is thrown
 * away.  Returns NULL, or the refusal.
 *
 * Departure: RFC 5321 3.8 says that an error must not end the session.  A bare
 * LF does: what comes behind it could be smuggled. */
static const char *read_line(struct session *s, bool secret)
{
    struct piece piece = { .ends_line = true };     /* as if a line had just ended */
    bool too_long;

    next_piece(s, &piece);
    store_line(s, &piece);
    s->secret = secret || may_be_secret(s, &piece);
    if (s->secret)
        log_dialogue("C: ", "(not shown)", 11);
    else
        log_dialogue("C: ", piece.text, piece.length);
    refuse_http(s);
    /* 2: its CRLF.  RFC 4616 2 lets an answer be 1024 octets without it. */
    too_long = piece.length + (secret ? 0 : 2) > MAX_COMMAND_LINE;
    while (!piece.ends_line && !piece.bare_lf)
        next_piece(s, &piece);
    if (piece.bare_lf) {
        reply(s, "500 5.5.2 A bare LF ends no line: send CRLF, as telnet and "
                 "nc -C do (RFC 5321 2.3.8)");
        end_session(s);
    }
    s->deadline = 0;
    return too_long ? "500 5.5.2 Line too long: 1024 octets is the most "
                      "(RFC 5321 4.5.3.1.4)" : NULL;
}

/* Let the last reply arrive: if we close with unread octets, TCP resets the
 * connection, and the client may lose it.  On a pipe shutdown() fails. */
static void linger(struct session *s)
{
    double deadline = now() + LINGER_SECONDS;
    ssize_t n;

    if (shutdown(STDOUT_FILENO, SHUT_WR) == -1)
        return;
    do {
        wake_at(deadline);
        n = read(STDIN_FILENO, s->in, sizeof s->in);
    } while (now() < deadline && (n > 0 || (n == -1 && errno == EINTR)));
}

/* End the session, and its process.  The client has its usual time to take the
 * last replies: if it lost the 250 for a message, it would send that again. */
static void end_session(struct session *s)
{
    s->ended = true;
    drop_message(s);
    flush(s);
    log_line("end client=%s", s->client.literal);
    linger(s);
    _exit(EX_OK);               /* stdio has nothing of ours to flush */
}

/* ------------------------------------------------------------------------
 * 10. The log
 *
 * Each event is one line, on standard error or, where that is the client's own
 * connection, in syslog.  A long one goes on in lines that begin with "...".
 * Each line is one write(), so sessions don't mix.  What a client sent is never
 * written raw: it could forge lines, or command the operator's terminal.
 * --------------------------------------------------------------------- */

/* Write one line to the log.  The program that reads it may hang.  So after a
 * second the line is lost, and for some seconds nothing more is logged. */
static void put_line(const char *line, size_t length)
{
    static double silent_until;
    double deadline = now() + LOG_SECONDS;
    ssize_t n = (ssize_t)length;        /* syslog() tells no error */

    if (now() < silent_until)
        return;
    do {
        wake_at(deadline);
        if (options.to_syslog)
            syslog(LOG_INFO, "%s", strchr(line, ' ') + 1);  /* it adds smtpd */
        else
            n = write(STDERR_FILENO, line, length);
    } while (n == -1 && errno == EINTR && now() < deadline);
    if (n < (ssize_t)length || (options.to_syslog && now() >= deadline))
        silent_until = now() + LOG_SILENCE;
}

/* Log octets, escaped, after who says them.  An octet can take four in the
 * line, and the LF and a NUL follow: so six are kept free. */
static void log_octets(const char *who, const char *octets, size_t length)
{
    const char *more = "";

    do {
        char line[MAX_LOG_LINE];
        size_t used = (size_t)snprintf(line, sizeof line, "%s%s%s",
                                       options.log_name, who, more);

        for (; length > 0 && used < sizeof line - 6; octets++, length--) {
            if (*octets >= ' ' && *octets < 127 && *octets != '\\')
                line[used++] = *octets;
            else
                used += (size_t)snprintf(line + used, 5, "\\x%02X",
                                         (unsigned char)*octets);
        }
        line[used++] = '\n';
        line[used] = '\0';
        put_line(line, used);
        more = "... ";                          /* the next line goes on */
    } while (length > 0);
}

static void log_line(const char *format, ...)
{
    char text[MAX_LOG_TEXT + 1];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_octets("", text, strlen(text));
}

/* -v: log what "C: " or "S: " says, as RFC 5321 appendix D writes it. */
static void log_dialogue(const char *who, const char *octets, size_t length)
{
    if (options.verbose)
        log_octets(who, octets, length);
}

/* ------------------------------------------------------------------------
 * 11. Listening and forking            RFC 5321 4.5.4.2, appendix A
 *
 * The parent waits for connections and forks a child for each, which serves
 * it and exits.  fork() copies the process, so whatever a client does to its
 * child, no other session can feel it.
 * --------------------------------------------------------------------- */

struct server {
    struct pollfd listeners[MAX_LISTED];
    nfds_t listener_count;
    int child_count;
    struct child { pid_t pid; struct ip client; } children[MAX_SESSIONS];
};

/* From text: 192.0.2.1, or 2001:db8::1 in any spelling, or ::ffff:192.0.2.1,
 * which is how a socket for IPv6 shows an IPv4 client. */
static struct ip ip_from(const char *text)
{
    struct ip ip = { .text = "", .literal = "unknown" };
    unsigned char octets[16];

    if (inet_pton(AF_INET6, text, octets) == 1) {
        inet_ntop(AF_INET6, octets, ip.text, sizeof ip.text);
        if (strncmp(ip.text, "::ffff:", 7) == 0 && strchr(ip.text, '.'))
            return ip_from(strrchr(ip.text, ':') + 1);
        snprintf(ip.literal, sizeof ip.literal, "[IPv6:%s]", ip.text);
    } else if (inet_pton(AF_INET, text, octets) == 1) {
        inet_ntop(AF_INET, octets, ip.text, sizeof ip.text);
        snprintf(ip.literal, sizeof ip.literal, "[%s]", ip.text);
    }
    return ip;
}

/* From what accept() gives, without a "%eth0" (a network) at its end. */
static struct ip ip_of(const struct sockaddr_storage *address, socklen_t length)
{
    char text[2 * INET6_ADDRSTRLEN];

    if (getnameinfo((const struct sockaddr *)address, length, text,
                    sizeof text, NULL, 0, NI_NUMERICHOST) != 0)
        return ip_from("");
    text[strcspn(text, "%")] = '\0';
    return ip_from(text);
}

/* Is the client on this host?  A pipe has no address, and counts as local. */
static bool is_local(const struct ip *ip)
{
    return *ip->text == '\0' || strncmp(ip->text, "127.", 4) == 0 ||
           strcmp(ip->text, "::1") == 0;
}

/* Collect the children that have ended: each is kept as a zombie until we call
 * waitpid().  If how is WNOHANG, do not wait for more to end. */
static void reap(struct server *server, int how)
{
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, how)) > 0) {
        int i = 0;

        if (WIFSIGNALED(status))
            log_line("process %ld was ended by signal %d", (long)pid,
                     WTERMSIG(status));
        while (i < server->child_count && server->children[i].pid != pid)
            i++;
        if (i < server->child_count)    /* the last one takes its place */
            server->children[i] = server->children[--server->child_count];
    }
}

/* Why this client can't be served now, or NULL.  RFC 5321 4.5.4.2: "some
 * limit MAY be imposed".  Each of a client's IPv6 addresses counts alone. */
static const char *over_limit(const struct server *server, const struct ip *ip)
{
    int same = 0;

    for (int i = 0; i < server->child_count; i++)
        if (strcmp(server->children[i].client.text, ip->text) == 0)
            same++;
    if (same >= options.max_per_client)
        return "Too many sessions from you: try again later (RFC 5321 4.5.4.2)";
    if (server->child_count >= options.max_sessions)
        return "Too many sessions: try again later (RFC 5321 4.5.4.2)";
    return NULL;
}

/* Refuse a connection.  The parent does that, and must never wait for a client.
 * We read what has come, because closing with unread octets resets a connection.
 * We do so once, or a client that goes on sending would hold us. */
static void turn_away(int connection, const struct ip *client,
                      const char *code, const char *why)
{
    char line[MAX_REPLY_LINE];

    snprintf(line, sizeof line, "421 %s %s %s", code, options.name, why);
    log_line("refused: %s client=%s", line, client->literal);
    if (fcntl(connection, F_SETFL, O_NONBLOCK) == -1 ||
        dprintf(connection, "%s\r\n", line) < 0 ||
        shutdown(connection, SHUT_WR) == -1 ||
        (read(connection, line, sizeof line) == -1 && errno != EAGAIN))
        log_line("lost: %s", strerror(errno));
}

/* In the child: put the connection on standard input and output, as inetd does,
 * which starts a program for each connection.  This does not return. */
static void become_session(const struct server *server, int connection,
                           const struct ip *client)
{
    alarm_rang = 1;             /* a child inherits no alarm */
    for (nfds_t i = 0; i < server->listener_count; i++)
        close(server->listeners[i].fd);
    /* On some systems accept() makes it non-blocking, as the listener is. */
    if (fcntl(connection, F_SETFL, 0) == -1 ||
        dup2(connection, STDIN_FILENO) == -1 ||
        dup2(connection, STDOUT_FILENO) == -1) {
        log_line("can't serve: %s", strerror(errno));
        _exit(EX_OSERR);
    }
    close(connection);
    serve(client, *client->text != '\0' && is_local(client));
}

/* Fork a child for the connection, or turn it away. */
static void fork_for(struct server *server, int connection, const struct ip *ip)
{
    const char *why = over_limit(server, ip);
    pid_t pid;

    if (why != NULL) {
        turn_away(connection, ip, "4.7.0", why);
        return;
    }
    pid = fork();
    if (pid == 0)
        become_session(server, connection, ip);
    if (pid == -1) {
        log_line("can't fork: %s", strerror(errno));
        turn_away(connection, ip, "4.3.2", "No room now (RFC 5321 3.8)");
        return;
    }
    server->children[server->child_count++] = (struct child){ pid, *ip };
}

/* Take one connection.  If that fails, and the client has not gone, it stays in
 * the queue, and poll() would return at once.  So we wait a second. */
static void accept_one(struct server *server, int listener)
{
    struct sockaddr_storage address = { .ss_family = AF_UNSPEC };
    socklen_t length = sizeof address;
    int connection = accept(listener, (struct sockaddr *)&address, &length);
    struct ip client;

    if (connection == -1 && errno != EAGAIN && errno != EINTR &&
        errno != ECONNABORTED && errno != EPROTO) {
        log_line("can't accept: %s", strerror(errno));
        poll(NULL, 0, 1000);
    }
    if (connection == -1)
        return;
    client = ip_of(&address, length);
    fork_for(server, connection, &client);
    close(connection);
}

/* Wait until a client connects or a signal comes, as when a child ends.  Then
 * accept one client at each address.  We cancel the old alarm, then look at the
 * children and at stopping: a signal from here on sets an alarm that ends poll(). */
static void wait_for_clients(struct server *server)
{
    alarm(0);
    alarm_rang = 1;
    reap(server, WNOHANG);
    if (stopping || poll(server->listeners, server->listener_count, -1) <= 0)
        return;                 /* a signal */
    reap(server, WNOHANG);      /* so that no dead child counts for -c */
    for (nfds_t i = 0; i < server->listener_count; i++)
        if (server->listeners[i].revents != 0)
            accept_one(server, server->listeners[i].fd);
}

/* Serve until we are to stop.  Then tell the children, and wait for them: each
 * answers its client first (RFC 5321 3.8).  One that hangs is left behind. */
static void run_server(struct server *server)
{
    double deadline;

    while (!stopping)
        wait_for_clients(server);
    for (nfds_t i = 0; i < server->listener_count; i++)
        close(server->listeners[i].fd);
    for (int i = 0; i < server->child_count; i++)
        kill(server->children[i].pid, SIGTERM);
    deadline = now() + STOP_SECONDS +
               (options.hook != NULL ? options.timeout : 0);
    while (server->child_count > 0 && now() < deadline) {
        wake_at(deadline);
        reap(server, 0);
    }
}

/* ------------------------------------------------------------------------
 * 12. Options and main
 *
 * Ports below 1024 and chroot() need root, so they come first in main().  Then
 * we become the user of -u, before we serve a client.
 * --------------------------------------------------------------------- */

static const char usage[] =
    "usage: smtpd [OPTION]...; -l and -d may be repeated\n"
    "  -l ADDRESS  listen on this address (127.0.0.1 and ::1)\n"
    "  -p PORT     listen on this port; 0: any free one (2525)\n"
    "  -m DIR      mailboxes live here (./mail)\n"
    "  -d DOMAIN   accept mail for this domain, or [address]; '*': for all\n"
    "              (localhost, example.com and NAME)\n"
    "  -n NAME     our host name (this host's)\n"
    "  -s          strict: only mailboxes that exist already\n"
    "  -u USER     after binding: chroot to DIR, become USER\n"
    "  -z BYTES    largest message (26214400)\n"
    "  -c N        sessions at one time, in all (256)\n"
    "  -k N        sessions at one time from one client address (128)\n"
    "  -t SECONDS  how long a client may take over one command (300)\n"
    "  -a          offer AUTH, and take any name and password\n"
    "  -x COMMAND  hand each message to this shell command: its exit status\n"
    "              decides (0 keep, 99 taken, 77 refuse, 75 try again)\n"
    "  -i          serve one session on standard input and output\n"
    "  -v          show each line of the dialogue\n"
    "  -h          show the version and this\n";

/* Say why the server can't start, and end.  With -i a client waits on standard
 * output, and is told only that we can't serve (RFC 5321 3.8). */
static void FORMAT_AT(2) die(int status, const char *format, ...)
{
    char text[MAX_LOG_TEXT + 1];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (options.to_syslog)
        syslog(LOG_ERR, "%s", text);
    else
        fprintf(stderr, "smtpd: %s\n%s", text, status == EX_USAGE ? usage : "");
    if (options.inetd || options.to_syslog)
        printf("421 4.3.0 %s Service not available (RFC 5321 3.8)\r\n",
               options.name != NULL ? options.name : "localhost");
    exit(status);
}

/* The value of an option that takes a number. */
static long long number(char option, const char *text, long long least,
                        long long most)
{
    char *end;
    long long value = strtoll(text, &end, 10);

    if (!is_digit(*text) || *end != '\0' || value < least || value > most)
        die(EX_USAGE, "-%c: '%s' is not a number from %lld to %lld", option,
            text, least, most);
    return value;
}

/* A domain, or an address literal (RFC 5321 4.3.1)? */
static bool is_host(const char *text)
{
    const char *end = *text == '[' ? parse_address_literal(text)
                                   : parse_domain(text);

    return end != NULL && *end == '\0' && end - text <= MAX_DOMAIN;
}

/* Take a name for ours, without a dot at its end.  It is part of replies, so it
 * must be ASCII.  Returns NULL if it can't be our name. */
static const char *our_name(const char *text)
{
    static char name[MAX_DOMAIN + 2];
    size_t length = (size_t)snprintf(name, sizeof name, "%s", text);

    if (length > 0 && length < sizeof name && name[length - 1] == '.')
        name[length - 1] = '\0';
    if (!is_host(name) || !is_printable(name, strlen(name), false))
        return NULL;
    return name;
}

static void add_to(struct list *list, char option, const char *arg)
{
    if (list->count == MAX_LISTED)
        die(EX_USAGE, "-%c: can't be given more than %d times", option,
            MAX_LISTED);
    list->items[list->count++] = arg;
}

static void take_option(int option, const char *arg)
{
    switch (option) {
    case 'l': add_to(&options.listen, 'l', arg); break;
    case 'p': options.port = (int)number('p', arg, 0, 65535); break;
    case 'm': options.mail_dir = arg; break;
    case 'd':
        if (!is_host(arg) && strcmp(arg, "*") != 0)
            die(EX_USAGE, "-d: '%s' is not a domain name", arg);
        add_to(&options.domains, 'd', arg);
        break;
    case 'n':
        options.name = our_name(arg);
        if (options.name == NULL)
            die(EX_USAGE, "-n: '%s' is not a domain name", arg);
        break;
    case 's': options.strict = true; break;
    case 'u': options.user = arg; break;
    case 'z': options.max_message = number('z', arg, MIN_MAX_MESSAGE, 1LL << 40); break;
    case 'c': options.max_sessions = (int)number('c', arg, 1, MAX_SESSIONS); break;
    case 'k': options.max_per_client = (int)number('k', arg, 1, MAX_SESSIONS); break;
    case 't': options.timeout = (int)number('t', arg, 1, 86400); break;
    case 'a': options.auth = true; break;
    case 'x': options.hook = arg; break;
    case 'i': options.inetd = true; break;
    case 'v': options.verbose = true; break;
    case 'h':
        printf("smtpd " VERSION "\n%s", usage);
        exit(fflush(stdout) == 0 ? EX_OK : EX_IOERR);
    case ':': die(EX_USAGE, "-%c needs a value", optopt); break;
    default: die(EX_USAGE, "there is no option -%c", optopt);
    }
}

/* Read the command line into options, and fill in what it leaves open. */
static void take_options(int argc, char **argv)
{
    char host[MAX_DOMAIN + 1] = "";
    int option;

    /* A colon behind a letter: it takes a value.  In front: we tell errors. */
    while ((option = getopt(argc, argv, ":l:p:m:d:n:su:z:c:k:t:ax:ivh")) != -1)
        take_option(option, optarg);
    if (optind < argc)
        die(EX_USAGE, "'%s': no argument is expected here", argv[optind]);
    if (options.name == NULL && gethostname(host, sizeof host - 1) == 0)
        options.name = our_name(host);
    if (options.name == NULL)
        options.name = "localhost";
    if (options.domains.count == 0) {
        add_to(&options.domains, 'd', "localhost");
        add_to(&options.domains, 'd', "example.com");
        add_to(&options.domains, 'd', options.name);
    }
}

/* The log must never go to the client.  If standard error is the connection, as
 * with inetd, the two have the same device and inode: then log to syslog.  (The
 * BSDs give a socket neither, so there any socket counts.) */
static void choose_log(int connection)
{
    struct stat error, client;

    if (fstat(STDERR_FILENO, &error) == 0 && S_ISSOCK(error.st_mode) &&
        fstat(connection, &client) == 0 &&
        error.st_dev == client.st_dev && error.st_ino == client.st_ino) {
        options.to_syslog = true;
        openlog("smtpd", LOG_PID | LOG_NDELAY, LOG_MAIL);
    }
}

/* SIGPIPE and SIGXFSZ are ignored: write() then says EPIPE or EFBIG, and that
 * is dealt with.  nohup has SIGHUP ignored, and so it stays. */
static void set_up_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal };

    sigemptyset(&action.sa_mask);
    sigprocmask(SIG_SETMASK, &action.sa_mask, NULL);    /* none is blocked */
    sigaction(SIGCHLD, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    if (signal(SIGHUP, SIG_IGN) != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

static const struct passwd *find_user(void)
{
    const struct passwd *user = getpwnam(options.user);

    if (geteuid() != 0)
        die(EX_NOPERM, "-u %s: start as root, or leave out -u", options.user);
    if (user == NULL || user->pw_uid == 0)
        die(EX_USAGE, "-u: '%s' is no user, or is root", options.user);
    return user;
}

/* Make the mail directory if need be, and go there.  A new one is given to the
 * user, if any, by fchown(), not chown(): its name could be swapped meanwhile. */
static void enter_mail_dir(const struct passwd *user)
{
    bool made = mkdir(options.mail_dir, 0700) == 0;
    int fd = -1;

    if (made || errno == EEXIST)
        fd = open(options.mail_dir,
                  O_RDONLY | O_DIRECTORY | (made ? O_NOFOLLOW : 0));
    if (fd == -1 || fchdir(fd) == -1 ||
        (made && user != NULL && fchown(fd, user->pw_uid, user->pw_gid) == -1))
        die(EX_CANTCREAT, "%.1000s: %s: make this directory, or name another "
            "with -m", options.mail_dir, strerror(errno));
    close(fd);
    if (made && make_names_durable("..") == -1)
        sync();                 /* we may not open the directory above */
}

/* Lock ourselves into the mail directory for good, as a user who does no harm.
 * -x's command needs a shell and HOME, so with -x there is no chroot(). */
static void become_user(const struct passwd *user)
{
    if (initgroups(options.user, user->pw_gid) == -1 ||
        (options.hook == NULL && chroot(".") == -1) ||
        setenv("HOME", user->pw_dir, 1) == -1 ||
        setgid(user->pw_gid) == -1 || setuid(user->pw_uid) == -1 ||
        setuid(0) == 0)         /* there must be no way back */
        die(EX_NOPERM, "-u %s: can't become this user for good: %s",
            options.user, strerror(errno));
}

/* Make fd listen on this address.  Returns -1 and sets errno if that fails.  fd
 * must not block, or accept() would wait for a client that has gone.  With
 * SO_REUSEADDR a server that has ended frees the port.  :: is IPv6 alone. */
static int start_listening(int fd, const struct addrinfo *a)
{
    int on = 1;

    if (fcntl(fd, F_SETFL, O_NONBLOCK) == -1 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == -1 ||
        (a->ai_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == -1) ||
        bind(fd, a->ai_addr, a->ai_addrlen) == -1)
        return -1;
    return listen(fd, SOMAXCONN);
}

/* Listen on one address.  With port 0 the kernel chooses one, for this address
 * and those after it.  If it is optional, a missing address is no error. */
static void listen_on(struct server *server, const char *name, bool optional)
{
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                              .ai_socktype = SOCK_STREAM }, *found;
    char port[16];
    int fd;

    snprintf(port, sizeof port, "%d", options.port);
    if (getaddrinfo(name, port, &hints, &found) != 0)
        die(EX_USAGE, "-l: '%s' is not an IP address", name);
    fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (fd != -1 && start_listening(fd, found) == 0 &&
        getsockname(fd, found->ai_addr, &found->ai_addrlen) == 0) {
        options.port = ntohs(found->ai_family == AF_INET6
                        ? ((struct sockaddr_in6 *)found->ai_addr)->sin6_port
                        : ((struct sockaddr_in *)found->ai_addr)->sin_port);
        server->listeners[server->listener_count++] =
            (struct pollfd){ .fd = fd, .events = POLLIN };
    } else if (optional && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) {
        close(fd);
    } else {
        die(errno == EACCES ? EX_NOPERM : EX_UNAVAILABLE, "%s port %d: %s: "
            "name another port with -p, or another address with -l",
            name, options.port, strerror(errno));
    }
    freeaddrinfo(found);
}

/* Listen on all addresses.  Without -l we choose two.  The second is for
 * machines with IPv6, and is left out on others. */
static void open_listeners(struct server *server)
{
    bool chosen = options.listen.count == 0;

    if (chosen) {
        add_to(&options.listen, 'l', "127.0.0.1");
        add_to(&options.listen, 'l', "::1");
    }
    for (int i = 0; i < options.listen.count; i++)
        listen_on(server, options.listen.items[i], chosen && i == 1);
}

/* Tell where we listen.  -a protects nothing: say so where others reach us. */
static void say_ready(const struct server *server)
{
    for (nfds_t i = 0; i < server->listener_count; i++)
        fprintf(stderr, strchr(options.listen.items[i], ':') != NULL
                            ? "smtpd: listening on [%s] port %d\n"
                            : "smtpd: listening on %s port %d\n",
                options.listen.items[i], options.port);
    for (int i = 0; options.auth && i < options.listen.count; i++) {
        struct ip ip = ip_from(options.listen.items[i]);

        if (is_local(&ip) && *ip.text != '\0')
            continue;
        fprintf(stderr, "smtpd: -a: anyone who reaches %s can log in, "
                "with any password\n", options.listen.items[i]);
        break;
    }
}

/* -i: the client is on standard input; this does not return.  Programs such as
 * tcpserver give the real client's address in TCPREMOTEIP.  If we can't read
 * it, we take the client for one that is not on this host. */
static void serve_stdin(void)
{
    struct sockaddr_storage address = { .ss_family = AF_UNSPEC };
    socklen_t length = sizeof address;
    const char *remote = getenv("TCPREMOTEIP");
    struct ip client = ip_from("");
    bool known = true;

    if (getpeername(STDIN_FILENO, (struct sockaddr *)&address, &length) == 0)
        client = ip_of(&address, length);
    if (remote != NULL && is_local(&client)) {
        client = ip_from(remote);
        known = *client.text != '\0';
    }
    /* The program that has opened these may have set them not to block. */
    for (int fd = STDIN_FILENO; fd <= STDOUT_FILENO; fd++)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    serve(&client, known && is_local(&client));
}

int main(int argc, char **argv)
{
    static struct server server;
    const struct passwd *user = NULL;           /* -u's, if it is given */
    int fd;

    /* If descriptor 0, 1 or 2 was closed when we were started, the next file
     * would get it, and the log could be written into someone's mail. */
    while ((fd = open("/dev/null", O_RDWR)) <= STDERR_FILENO)
        if (fd == -1)
            die(EX_OSERR, "/dev/null: %s", strerror(errno));
    close(fd);
    snprintf(options.log_name, sizeof options.log_name, "smtpd[%ld]: ",
             (long)getpid());
    choose_log(STDIN_FILENO);
    take_options(argc, argv);
    options.to_syslog = options.to_syslog && options.inetd;
    if (options.inetd)
        choose_log(STDOUT_FILENO);
    umask(077);                 /* mail is nobody's but its owner's */
    set_up_signals();
    if (options.user != NULL)
        user = find_user();
    if (!options.inetd)
        open_listeners(&server);
    enter_mail_dir(user);
    tzset();                    /* for all children, and before chroot() */
    if (user != NULL)
        become_user(user);
    if (access(".", R_OK | W_OK | X_OK) == -1)
        die(EX_CANTCREAT, "%.1000s: %s: open it to us, or name another "
            "with -m", options.mail_dir, strerror(errno));
    if (options.inetd)
        serve_stdin();
    say_ready(&server);
    run_server(&server);
    return EX_OK;
}
