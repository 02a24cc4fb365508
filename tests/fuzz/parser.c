/* parser - asks smtpd's own functions about addresses, for grammar.py.
 *
 * Reads lines "P PATH", and answers each with a line: 1 or 0, whether PATH is
 * a Reverse-path, and, if it is one that has a mailbox, the mailbox's name.
 */
#define main smtpd_main
#include "../../smtpd.c"
#undef main

int main(void)
{
    static char line[65536];

    while (fgets(line, sizeof line, stdin) != NULL) {
        char name[MAX_MAILBOX_NAME + 1] = "";
        const char *mailbox, *end;

        line[strcspn(line, "\n")] = '\0';
        end = parse_reverse_path(line + 2, &mailbox);
        if (end == NULL || *end != '\0') {
            puts("0");
            continue;
        }
        if (end - (line + 2) <= MAX_PATH && *mailbox != '>' &&
            make_mailbox_name(name, sizeof name, mailbox) == -1)
            strcpy(name, "-");
        printf("1 %s\n", name);
    }
    return 0;
}
