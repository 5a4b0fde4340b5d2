/* Passwords: from a file, from standard input, or typed without echo. Never from the arguments, which every
 * user of the machine can read.
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

/* The first line. */
static int read_line(struct cli *c, int fd, const char *name, char out[CLI_SECRET_MAX + 1])
{
    size_t n = 0;
    for (;;) {
        ssize_t got = n <= CLI_SECRET_MAX ? read(fd, out + n, 1) : -1;
        if (got < 0 && n <= CLI_SECRET_MAX)
            return cli_fail(c, CLI_FAILED, "can't read the password from %s: %s", name, strerror(errno));
        if (got < 0)
            return cli_fail(c, CLI_USAGE, "the password is longer than %d bytes", CLI_SECRET_MAX);
        if (got == 0 || out[n] == '\n')
            break;
        n++;
    }
    if (n > 0 && out[n - 1] == '\r')
        n--;
    out[n] = '\0';
    return n > 0 ? 0 : cli_fail(c, CLI_USAGE, "the password from %s is empty", name);
}

static struct termios shown;
static int shown_fd = -1;

/* A terminal must not stay without echo. */
static void on_signal(int sig)
{
    if (shown_fd >= 0)
        tcsetattr(shown_fd, TCSANOW, &shown);
    signal(sig, SIG_DFL);
    raise(sig);
}

static int ask(struct cli *c, int tty, const char *prompt, char out[CLI_SECRET_MAX + 1])
{
    dprintf(tty, "%s", prompt);
    int code = read_line(c, tty, "the terminal", out);
    dprintf(tty, "\n");
    return code;
}

static int ask_twice(struct cli *c, char out[CLI_SECRET_MAX + 1])
{
    char again[CLI_SECRET_MAX + 1];
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0 || tcgetattr(tty, &shown) != 0) {
        if (tty >= 0)
            close(tty);
        return cli_fail(c, CLI_USAGE,
                        "there is no terminal to ask for the password: give --password-stdin or "
                        "--password-file FILE");
    }
    struct termios hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    shown_fd = tty;
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    tcsetattr(tty, TCSAFLUSH, &hidden);
    int code = ask(c, tty, "Password: ", out);
    if (code == 0)
        code = ask(c, tty, "Again: ", again);
    tcsetattr(tty, TCSAFLUSH, &shown);
    shown_fd = -1;
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    close(tty);
    if (code == 0 && strcmp(out, again) != 0)
        code = cli_fail(c, CLI_FAILED, "the two passwords differ: nothing was changed");
    explicit_bzero(again, sizeof(again));
    return code;
}

int cli_secret(struct cli *c, char out[CLI_SECRET_MAX + 1])
{
    const char *file = cli_opt(c, "password-file");
    if (file != NULL && cli_has(c, "password-stdin"))
        return cli_fail(c, CLI_USAGE, "give --password-file or --password-stdin, not both");
    if (cli_has(c, "password-stdin"))
        return read_line(c, STDIN_FILENO, "standard input", out);
    if (file == NULL)
        return ask_twice(c, out);
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cli_fail(c, CLI_FAILED, "can't read %s: %s", file, strerror(errno));
    int code = read_line(c, fd, file, out);
    close(fd);
    return code;
}

static bool says_yes(const char *question)
{
    char line[16] = "";
    if (!isatty(STDERR_FILENO))
        return false;
    fprintf(stderr, "%s [y/N] ", question);
    return fgets(line, sizeof(line), stdin) != NULL && (line[0] == 'y' || line[0] == 'Y');
}

int cli_confirm(struct cli *c, const char *question)
{
    if (cli_has(c, "yes"))
        return 0;
    if (!isatty(STDIN_FILENO))
        return cli_fail(c, CLI_USAGE, "%s give --yes to do it", question);
    return says_yes(question) ? 0 : cli_fail(c, CLI_FAILED, "nothing was changed");
}
