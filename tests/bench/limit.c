/* limit - the bare server that smtpd's speed is held against.
 *
 * It does what no design with a forked process a connection and a durable
 * message can do without: accept, fork, read, write the same replies in the
 * same number of packets, write the message to a file in tmp, fsync it, move
 * it to new, fsync the directory.  It parses nothing, checks nothing and logs
 * nothing, so it is no server; it is a yardstick.
 *
 *     limit DIR      listens on 127.0.0.1, prints its port
 */
#define _DEFAULT_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char in[65536];
static size_t have;

static void say(const char *text)
{
    if (write(1, text, strlen(text)) == -1)
        exit(1);
}

static size_t more(void)
{
    ssize_t n = read(0, in + have, sizeof in - have);

    if (n <= 0)
        exit(0);
    have += (size_t)n;
    return (size_t)n;
}

/* Read one line; returns its first octet. */
static char line(void)
{
    char *lf, first;

    while (have == 0 || (lf = memchr(in, '\n', have)) == NULL)
        more();
    first = in[0];
    have -= (size_t)(lf + 1 - in);
    memmove(in, lf + 1, have);
    return first;
}

/* Copy to a file until the last octets are CRLF.CRLF; then make it durable. */
static void message(void)
{
    static unsigned count;
    struct timespec t;
    char tmp[128], new[128], tail[5] = "";
    int fd, dir;

    clock_gettime(CLOCK_REALTIME, &t);
    snprintf(tmp, sizeof tmp, "bob/tmp/%ld.%ld.%ld.%u", (long)t.tv_sec,
             t.tv_nsec, (long)getpid(), ++count);
    snprintf(new, sizeof new, "bob/new/%s", tmp + 8);
    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL, 0600);
    for (;;) {
        size_t keep = have < 5 ? have : 5;

        if (have > 0 && write(fd, in, have) == -1)
            exit(1);
        memmove(tail, tail + keep, 5 - keep);
        memcpy(tail + 5 - keep, in + have - keep, keep);
        have = 0;
        if (memcmp(tail, "\r\n.\r\n", 5) == 0)
            break;
        more();
    }
    if (fsync(fd) == -1 || close(fd) == -1 || rename(tmp, new) == -1)
        exit(1);
    dir = open("bob/new", O_RDONLY | O_DIRECTORY);
    if (fsync(dir) == -1 || close(dir) == -1)
        exit(1);
    say("250 2.0.0 Message kept as 6b022763-de6e0-13e5-1\r\n");
}

static void session(void)
{
    say("220 mail.example.com ESMTP smtpd 1.0 ready: say EHLO, or HELP\r\n");
    for (;;)
        switch (line()) {
        case 'E':
            say("250-mail.example.com greets you\r\n250-SIZE 26214400\r\n"
                "250-8BITMIME\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES"
                "\r\n250-SMTPUTF8\r\n250 HELP\r\n");
            break;
        case 'M': say("250 2.1.0 Sender ok\r\n"); break;
        case 'R': say("250 2.1.5 Recipient ok\r\n"); break;
        case 'D':
            say("354 Start mail input; end with <CRLF>.<CRLF>, "
                "a line with only a dot\r\n");
            message();
            break;
        default:
            say("221 2.0.0 mail.example.com Service closing transmission "
                "channel\r\n");
            exit(0);
        }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), connection;

    if (argc != 2 || chdir(argv[1]) == -1)
        return 64;
    mkdir("bob", 0700);
    mkdir("bob/tmp", 0700);
    mkdir("bob/new", 0700);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, length) == -1 ||
        listen(listener, SOMAXCONN) == -1 ||
        getsockname(listener, (struct sockaddr *)&address, &length) == -1)
        return 69;
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    while ((connection = accept(listener, NULL, NULL)) != -1) {
        if (fork() == 0) {
            close(listener);
            dup2(connection, 0);
            dup2(connection, 1);
            close(connection);
            session();
        }
        close(connection);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
    return 71;
}
