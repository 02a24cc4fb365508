/* automaton - how fast smtpd reads mail data, without a socket or a disk.
 *
 * It is smtpd.c itself, with read() and write() replaced: a message of 1 GB
 * comes in pieces of up to 64 KB, as from a fast client, and what would be
 * written is let go.  Prints GB a second of user CPU; the copying that here
 * stands for read() is counted in.
 */
#define _DEFAULT_SOURCE
#define _FILE_OFFSET_BITS 64
#define _TIME_BITS 64
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char line[] =
    "This is a line of mail data, as long as they are in most messages, no more\r\n";
static char block[1024 * (sizeof line - 1)];
static const long long total = 13000LL * sizeof block;
static long long given;
static int header_ended;

/* An empty line, the block again and again, then the dot. */
static ssize_t read_text(int fd, void *to, size_t size)
{
    size_t at = (size_t)(given % (long long)sizeof block);
    size_t part = sizeof block - at < size ? sizeof block - at : size;

    (void)fd;
    if (!header_ended) {
        header_ended = 1;
        memcpy(to, "\r\n", 2);
        return 2;
    }
    if (given == total) {
        memcpy(to, ".\r\n", 3);
        return 3;
    }
    memcpy(to, block + at, part);
    given += (long long)part;
    return (ssize_t)part;
}

static ssize_t write_nothing(int fd, const void *octets, size_t size)
{
    (void)fd;
    (void)octets;
    return (ssize_t)size;
}

#define read read_text
#define write write_nothing
#define main smtpd_main
#undef _DEFAULT_SOURCE
#include "../../smtpd.c"
#undef main

int main(void)
{
    static struct session s;
    struct rusage used;
    const char *refusal;

    for (size_t i = 0; i < sizeof block; i++)
        block[i] = line[i % (sizeof line - 1)];
    options.name = "mail.example.com";
    options.max_message = 2 * total;
    strcpy(s.id, "automaton");
    s.transaction.recipients = 1;
    strcpy(s.transaction.forward_path[0].path, "bob@example.com");
    strcpy(s.transaction.forward_path[0].maildir, "bob");
    s.line_ending = CRLF;
    refusal = receive_message(&s);
    if (refusal != NULL || s.message.size < total) {
        fprintf(stderr, "automaton: %s\n", refusal != NULL ? refusal : "short");
        return 1;
    }
    getrusage(RUSAGE_SELF, &used);
    printf("%.2f\n", (double)s.message.size / 1e9 /
           ((double)used.ru_utime.tv_sec + (double)used.ru_utime.tv_usec / 1e6));
    return 0;
}
