/* parser - asks smtpd's own functions about addresses, for grammar.py.
 *
 * Reads lines "P PATH", and answers each with a line: 1 or 0, whether PATH is
 * a Reverse-path, and, if it is one that has a mailbox, its Maildir's name.
 */
#define main smtpd_main
#include "../../smtpd.c"
#undef main

int main(void)
{
    static char line[65536];

    while (fgets(line, sizeof line, stdin) != NULL) {
        struct recipient r = { .maildir = "" };
        struct path path;

        line[strcspn(line, "\n")] = '\0';
        path = parse_reverse_path(line + 2);
        if (path.end == NULL || *path.end != '\0') {
            puts("0");
            continue;
        }
        if (path.end - path.text <= MAX_PATH && *path.mailbox != '>') {
            copy_mailbox(r.path, &path);
            if (name_maildir(&r) == -1)
                strcpy(r.maildir, "-");
        }
        printf("1 %s\n", r.maildir);
    }
    return 0;
}
