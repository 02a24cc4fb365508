#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PORT = 2525 };

static char in[512];            /* what has been read and not yet used */
static size_t in_start, in_end;

static void say(int client, const char *line)
{
    dprintf(client, "%s\r\n", line);
}

/* The next octet, or -1 when the client is gone. */
static int next_octet(int client)
{
    if (in_start == in_end) {
        ssize_t n = read(client, in, sizeof in);

        if (n <= 0)
            return -1;
        in_start = 0;
        in_end = (size_t)n;
    }
    return (unsigned char)in[in_start++];
}

/* Read one line, without its end.  Returns -1 when there is none. */
static int read_line(int client, char *line, size_t size)
{
    size_t length = 0;
    int c;

    while ((c = next_octet(client)) != '\n') {
        if (c == -1)
            return -1;
        if (length < size - 1)
            line[length++] = (char)c;
    }
    if (length > 0 && line[length - 1] == '\r')
        length--;
    line[length] = '\0';
    return 0;
}

enum state { START, GREETED, MAIL_GIVEN, RCPT_GIVEN, GONE };

#define IN(state) (1u << (state))
#define ANY (IN(START) | IN(GREETED) | IN(MAIL_GIVEN) | IN(RCPT_GIVEN))

static const struct command {
    const char *verb;
    unsigned states;            /* when it may be said */
    enum state next;            /* where it leads */
    const char *reply;
} commands[] = {
    { "HELO", ANY, GREETED, "250 toy.example.com greets you" },
    { "MAIL", IN(GREETED), MAIL_GIVEN, "250 Sender ok" },
    { "RCPT", IN(MAIL_GIVEN) | IN(RCPT_GIVEN), RCPT_GIVEN,
      "250 Recipient ok" },
    { "DATA", IN(RCPT_GIVEN), GREETED, "354 Go on; end with a dot alone" },
    { "QUIT", ANY, GONE, "221 toy.example.com Bye" },
};

static char user[256];          /* whom the message is for */

/* RCPT TO:<bob@example.com>: the user is bob. */
static void note_recipient(const char *arg)
{
    const char *start = strchr(arg, '<');

    if (start != NULL)
        snprintf(user, sizeof user, "%.*s", (int)strcspn(start + 1, "@>"),
                 start + 1);
}

/* Put the mail data into the file toymail/USER. */
static void keep_message(int client)
{
    char path[300], line[1001];
    int file;

    snprintf(path, sizeof path, "toymail/%s", user);
    file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    while (read_line(client, line, sizeof line) == 0 &&
           strcmp(line, ".") != 0)
        dprintf(file, "%s\n", line);
    close(file);
    say(client, "250 Kept");
}

/* Answer one line.  Returns the new state. */
static enum state obey(int client, enum state state, char *line)
{
    const char *verb = strtok(line, " ");

    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        const struct command *c = &commands[i];

        if (strcasecmp(verb, c->verb) != 0)
            continue;
        if ((c->states & IN(state)) == 0) {
            say(client, "503 Not now");
            return state;
        }
        say(client, c->reply);
        if (strcmp(c->verb, "RCPT") == 0)
            note_recipient(strtok(NULL, ""));
        if (strcmp(c->verb, "DATA") == 0)
            keep_message(client);
        return c->next;
    }
    say(client, "500 No such command");
    return state;
}

static void serve(int client)
{
    enum state state = START;
    char line[512];

    say(client, "220 toy.example.com here");
    while (state != GONE && read_line(client, line, sizeof line) == 0)
        state = obey(client, state, line);
}

int main(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(PORT);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) == -1 ||
        listen(listener, 5) == -1) {
        perror("toy");
        return 1;
    }
    mkdir("toymail", 0700);
    fprintf(stderr, "toy: listening on 127.0.0.1 port %d\n", PORT);
    for (;;) {
        int client = accept(listener, NULL, NULL);

        if (fork() == 0) {
            close(listener);
            serve(client);
            return 0;
        }
        close(client);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
}
