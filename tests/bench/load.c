/* load - a client that sends many messages and counts how fast.
 *
 *     load PORT CLIENTS MESSAGES SIZE [keep|quit|idle|"" [RECIPIENTS]]
 *
 * CLIENTS processes share MESSAGES messages of SIZE octets, each command
 * sent when the reply to the last one has come.  keep: one connection for all
 * messages of a client; quit: no message, only greeting and QUIT; idle: the
 * clients connect, say EHLO and wait for SIGTERM.  Prints messages a second.
 */
#define _DEFAULT_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int port, connection, recipients = 1;
static char *text;
static size_t text_length;

static void fail(const char *what)
{
    fprintf(stderr, "load: %s\n", what);
    exit(1);
}

/* Read a whole reply; it must begin with this digit. */
static void hear(char digit)
{
    char reply[4096];
    size_t used = 0;

    for (;;) {
        ssize_t n = read(connection, reply + used, sizeof reply - 1 - used);
        char *last;

        if (n <= 0)
            fail("the server has gone");
        used += (size_t)n;
        reply[used] = '\0';
        if (reply[used - 1] != '\n')
            continue;
        for (last = reply + used - 1; last > reply && last[-1] != '\n'; last--)
            ;
        if (last[3] != '-')
            break;
    }
    if (reply[0] != digit)
        fail(reply);
}

static void say(const char *line)
{
    size_t length = strlen(line);

    if (write(connection, line, length) != (ssize_t)length)
        fail("can't write");
}

static void start(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET };

    address.sin_port = htons((unsigned short)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection, (struct sockaddr *)&address, sizeof address) == -1)
        fail("can't connect");
    hear('2');
}

static void send_message(void)
{
    size_t done = 0;

    say("MAIL FROM:<alice@example.org>\r\n");
    hear('2');
    for (int i = 0; i < recipients; i++) {
        char rcpt[64];

        snprintf(rcpt, sizeof rcpt, "RCPT TO:<bob%.0d@example.com>\r\n", i);
        say(rcpt);
        hear('2');
    }
    say("DATA\r\n");
    hear('3');
    while (done < text_length) {
        ssize_t n = write(connection, text + done, text_length - done);

        if (n <= 0)
            fail("can't write");
        done += (size_t)n;
    }
    hear('2');
}

static void client(long messages, const char *mode)
{
    int keep = strcmp(mode, "keep") == 0, quit = strcmp(mode, "quit") == 0;
    int idle = strcmp(mode, "idle") == 0;

    for (long i = 0; i < messages; i++) {
        if (!keep || i == 0) {
            start();
            if (!quit) {
                say("EHLO client.example.org\r\n");
                hear('2');
            }
        }
        if (idle)
            pause();
        if (!quit)
            send_message();
        if (!keep || i == messages - 1) {
            say("QUIT\r\n");
            hear('2');
            close(connection);
        }
    }
    exit(0);
}

/* Header, lines of 78 octets, and the dot that ends it. */
static void write_text(size_t size)
{
    static const char head[] = "From: alice@example.org\r\nSubject: load\r\n\r\n";

    text = malloc(size + 256);
    if (text == NULL)
        fail("no memory");
    strcpy(text, head);
    text_length = strlen(head);
    while (text_length < size) {
        memset(text + text_length, 'x', 76);
        memcpy(text + text_length + 76, "\r\n", 2);
        text_length += 78;
    }
    memcpy(text + text_length, ".\r\n", 3);
    text_length += 3;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 5 ? argv[5] : "";
    struct timespec from, to;
    int clients, status, failed = 0;
    long messages;
    double seconds;

    if (argc < 5)
        return 64;
    port = atoi(argv[1]);
    clients = atoi(argv[2]);
    messages = atol(argv[3]);
    write_text((size_t)atol(argv[4]));
    if (argc > 6)
        recipients = atoi(argv[6]);
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < clients; i++)
        if (fork() == 0)
            client(messages / clients, mode);
    while (wait(&status) > 0)
        failed += status != 0;
    clock_gettime(CLOCK_MONOTONIC, &to);
    seconds = (double)(to.tv_sec - from.tv_sec) +
              (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    printf("%.1f\n", (double)(messages / clients * clients) / seconds);
    return failed > 0;
}
