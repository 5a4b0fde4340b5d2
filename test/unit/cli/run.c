/* Running the command line's program. */
#include "test/unit/cli/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct fake_server server;

struct run r;

static void slurp(int fd, char *to, size_t cap, size_t *len)
{
    ssize_t n;
    *len = 0;
    while (*len < cap - 1 && (n = pread(fd, to + *len, cap - 1 - *len, (off_t)*len)) > 0)
        *len += (size_t)n;
    to[*len] = '\0';
    close(fd);
}

static int scratch(void)
{
    char path[] = "/tmp/turnpike-cli-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    return fd;
}

int run_with(const char *input, const char *args)
{
    char copy[4096], *argv[64] = { (char *)(uintptr_t) "turnpike" };
    int n = 1, in = scratch(), out = scratch(), err = scratch(), status;
    size_t err_len;
    snprintf(copy, sizeof(copy), "%s", args);
    for (char *p = strtok(copy, " "); p != NULL && n < 63; p = strtok(NULL, " ")) {
        argv[n++] = p;
        for (char *q = p; (q = strchr(q, '_')) != NULL;)
            *q = ' ';
    }
    assert_true(write(in, input, strlen(input)) == (ssize_t)strlen(input));
    lseek(in, 0, SEEK_SET);
    fake_node_sync(&server.node);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(in, 0);
        dup2(out, 1);
        dup2(err, 2);
        setsid(); /* no terminal to ask */
        execv(TURNPIKE_BINARY, argv);
        _exit(99);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(in);
    slurp(out, r.out, sizeof(r.out), &r.out_len);
    slurp(err, r.err, sizeof(r.err), &err_len);
    fake_node_sync(&server.node);
    r.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return r.code;
}

int run(const char *args)
{
    return run_with("", args);
}

void expect_in(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in:\n%s", part, text);
}

json_t *out_json(void)
{
    json_error_t why;
    json_t *j = json_loads(r.out, 0, &why);
    if (j == NULL)
        fail_msg("no JSON (%s): %s", why.text, r.out);
    return j;
}
