/* turnpike: from the arguments to the command. */
#include "cli/client.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void look_at_terminal(struct cli *c)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    struct winsize ws;
    c->tty = isatty(STDOUT_FILENO) != 0;
    c->colour =
        c->tty && (no_color == NULL || no_color[0] == '\0') && term != NULL && strcmp(term, "dumb") != 0;
    if (c->tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0)
        c->width = ws.ws_col;
}

int cli_main(int argc, char **argv)
{
    struct cli c = { .now_ms = clock_wall_ms() };
    const char *help = NULL;
    look_at_terminal(&c);
    int code = cli_parse(&c, argc, argv, &help);
    if (code == 0 && help != NULL)
        code = cli_help(help);
    else if (code == 0)
        code = c.command->run(&c);
    client_fini(&c);
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == 0)
        code = CLI_FAILED;
    return code;
}
