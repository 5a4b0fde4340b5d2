/* The pure parts of the command line, and that turnpike(1) lists what the table of commands has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *man;

static int read_man(void **state)
{
    (void)state;
    FILE *f = fopen(DOCS_DIR "/man/turnpike.1", "r");
    size_t n = 0;
    man = calloc(1, 1 << 20);
    if (f != NULL) {
        n = fread(man, 1, (1 << 20) - 1, f);
        fclose(f);
    }
    return n == 0;
}

static int free_man(void **state)
{
    (void)state;
    free(man);
    return 0;
}

/* The text between this command's .It and the next .It or section. */
static const char *man_entry(const char *name, char *out, size_t cap)
{
    char want[80];
    snprintf(want, sizeof(want), "\n.It Ic %s\n", name);
    const char *at = strstr(man, want);
    if (at == NULL) { /* with arguments */
        snprintf(want, sizeof(want), "\n.It Ic %s ", name);
        at = strstr(man, want);
        while (at != NULL && strncmp(at + strlen(want), "Ar ", 3) != 0 &&
               strncmp(at + strlen(want), "Op ", 3) != 0)
            at = strstr(at + 1, want);
    }
    if (at == NULL)
        return NULL;
    const char *end = strstr(at + 1, "\n.It Ic ");
    const char *section = strstr(at + 1, "\n.Sh ");
    if (end == NULL || (section != NULL && section < end))
        end = section;
    snprintf(out, cap, "%.*s", (int)(end != NULL ? end - at : (long)strlen(at)), at);
    return out;
}

/* A word of the manual may be written with \- for a dash. */
static bool mentions(const char *text, const char *option)
{
    char plain[64];
    snprintf(plain, sizeof(plain), "Fl -%s", option);
    size_t n = strlen(plain);
    for (const char *p = text; (p = strstr(p, plain)) != NULL; p++)
        if (strchr(" \n", p[n]) != NULL)
            return true;
    return false;
}

static void test_the_manual_has_every_command(void **state)
{
    (void)state;
    char entry[16384];
    for (size_t i = 0; i < cli_ncommands; i++)
        if (man_entry(cli_commands[i].name, entry, sizeof(entry)) == NULL)
            fail_msg("turnpike.1 does not describe %s", cli_commands[i].name);
}

static void test_the_manual_has_no_other_command(void **state)
{
    (void)state;
    size_t n = 0;
    for (const char *p = man; (p = strstr(p, "\n.It Ic ")) != NULL; p++)
        n++;
    assert_int_equal(n, cli_ncommands);
}

/* Options of selections are described once, for all of queue. */
static bool common(const char *name)
{
    static const char *const names[] = { "sender", "recipient",      "site",         "account", "older-than",
                                         "state",  "reply-match",    "all",          "dry-run", "limit",
                                         "after",  "password-stdin", "password-file", "tenant" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static void test_the_manual_has_every_option(void **state)
{
    (void)state;
    char entry[16384];
    for (size_t i = 0; i < cli_ncommands; i++)
        for (const struct cli_option *o = cli_commands[i].options; o->name != NULL; o++) {
            const char *text = common(o->name) ? man : man_entry(cli_commands[i].name, entry, sizeof(entry));
            if (!mentions(text, o->name))
                fail_msg("turnpike.1 does not describe --%s of %s", o->name, cli_commands[i].name);
        }
    for (const struct cli_option *o = cli_global_options; o->name != NULL; o++)
        if (!mentions(man, o->name))
            fail_msg("turnpike.1 does not describe --%s", o->name);
}

static void test_the_table_is_sane(void **state)
{
    (void)state;
    for (size_t i = 0; i < cli_ncommands; i++) {
        const struct cli_command *m = &cli_commands[i];
        assert_ptr_equal(cli_find(m->name), m);
        assert_true(m->summary[0] >= 'a' && m->summary[0] <= 'z');
        assert_true(m->summary[strlen(m->summary) - 1] != '.');
        assert_true(strncmp(m->examples, "  ", 2) == 0);
        assert_true(m->min_args >= 0 && (m->max_args < 0 || m->max_args >= m->min_args));
        for (const struct cli_option *o = m->options; o->name != NULL; o++)
            for (const struct cli_option *g = cli_global_options; g->name != NULL; g++)
                assert_string_not_equal(o->name, g->name);
    }
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = { { 0, "0 B" },        { 1023, "1023 B" },     { 1024, "1.0 KiB" },
                  { 1536, "1.5 KiB" }, { 1048575, "1.0 MiB" }, { UINT64_C(5) << 30, "5.0 GiB" } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[32];
        cli_size(cases[i].bytes, out, sizeof(out));
        assert_string_equal(out, cases[i].text);
    }
}

static void test_times(void **state)
{
    (void)state;
    struct cli c = { .now_ms = 10000000 };
    char out[64];
    json_t *ms = json_integer(10000000 - 7200000);
    cli_when(&c, ms, out, sizeof(out));
    assert_string_equal(out, "2h ago");
    json_integer_set(ms, 10000000 + 90000);
    cli_when(&c, ms, out, sizeof(out));
    assert_string_equal(out, "in 90s");
    json_decref(ms);
    cli_when(&c, json_null(), out, sizeof(out));
    assert_string_equal(out, "-");
}

static void expect_socket(const char *yaml, const char *want)
{
    char path[] = "/tmp/turnpike-yaml-XXXXXX", got[256];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(write(fd, yaml, strlen(yaml)) == (ssize_t)strlen(yaml));
    close(fd);
    client_default_socket(path, got, sizeof(got));
    unlink(path);
    assert_string_equal(got, want);
}

static void test_default_socket(void **state)
{
    (void)state;
    expect_socket("hostname: x\n", "/var/lib/turnpike/admin.sock");
    expect_socket("data_dir: /srv/tp # here\n", "/srv/tp/admin.sock");
    expect_socket(
        "data_dir: /srv/tp\nadmin:\n  # socket: /no\n  socket: \"/run/x y.sock\"\nlog:\n  socket: /other\n",
        "/run/x y.sock");
    expect_socket("other:\n  socket: /no\nadmin:\n  listen: 127.0.0.1:1\n  socket: /run/a.sock\n",
                  "/run/a.sock");
}

static void test_nearest(void **state)
{
    (void)state;
    assert_string_equal(cli_nearest("satus"), "status");
    assert_string_equal(cli_nearest("queue sumary"), "queue summary");
    assert_null(cli_nearest("plugh-plugh"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_manual_has_every_command),
        cmocka_unit_test(test_the_manual_has_no_other_command),
        cmocka_unit_test(test_the_manual_has_every_option),
        cmocka_unit_test(test_the_table_is_sane),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_default_socket),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, read_man, free_man);
}
