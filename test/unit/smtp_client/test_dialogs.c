/* Plays the dialogues of dialogs/ against the SMTP client machine: whole, byte by byte, and with each of the
 * server's turns cut in two at every place. A file has one statement a line:
 *
 *   config tls=opportunistic|required|wrapped auth=USER:PASSWORD plain-auth eightbit-bounce
 *   whole-only            the server speaks out of turn: cut up, that would be another dialogue
 *   S: TEXT               the server says TEXT CRLF; lines that follow each other arrive together
 *   S= TEXT               the same with \r \n \0 \t \\ \xHH and no CRLF of its own
 *   S* N TEXT             the same, N times
 *   C: TEXT               the client has said TEXT CRLF; before the server's next turn all must be accounted
 * for TLS ok | TLS failed WHY MAIL from=A to=A to=A ... size=N envid=X ret=full|hdrs utf8 8bit requiretls
 * [anybody] after to=: orcpt=X, notify=never|success,failure,delay BODY TEXT             with escapes; the
 * client then says it, stuffed, and the dot BODY-FAILED WHY RESULT CLASS STAGE [local] REPLY     of each
 * recipient in order NEXT | QUIT | CLOSED WHY FAILURE CLASS STAGE [local] REPLY | FAILURE none WANT
 * input|tls|mail|body|result|close RETRY-PLAIN yes|no DEADLINE MS
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/smtp/client.h"

enum { RCPTS = 300, TURN_MAX = 2 << 20 };

struct player {
    const char *file;
    int line;
    long split; /* 0: whole, -1: byte by byte, else the place of the cut */
    long longest;
    bool whole_only;
    struct smtp_client_config config;
    char config_text[256];
    struct smtp_client *client;
    struct buf out;
    char *turn;
    size_t turn_len;
    struct smtp_client_mail mail;
    struct smtp_client_rcpt rcpts[RCPTS];
    char mail_text[65536];
    uint32_t result;
};

static void complain(struct player *pl, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s:%d (split %ld): ", pl->file, pl->line, pl->split);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    fail();
}

static size_t unescape(char *s)
{
    char *to = s;
    for (char *p = s; *p != '\0'; p++) {
        if (*p != '\\') {
            *to++ = *p;
            continue;
        }
        p++;
        if (*p == 'x') {
            char hex[3] = { p[1], p[2], 0 };
            *to++ = (char)strtoul(hex, NULL, 16);
            p += 2;
        } else {
            *to++ = *p == 'r' ? '\r' : *p == 'n' ? '\n' : *p == '0' ? '\0' : *p == 't' ? '\t' : *p;
        }
    }
    return (size_t)(to - s);
}

static const char *word_take(char **rest)
{
    char *word = *rest;
    while (*word == ' ')
        word++;
    char *end = word + strcspn(word, " ");
    *rest = *end == '\0' ? end : end + 1;
    *end = '\0';
    return word;
}

static bool key(const char *word, const char *name, const char **value)
{
    size_t n = strlen(name);
    if (strncmp(word, name, n) != 0)
        return false;
    *value = word + n;
    return true;
}

static void client_start(struct player *pl)
{
    if (pl->client != NULL)
        return;
    pl->client = smtp_client_new(&pl->config, &pl->out);
    assert_non_null(pl->client);
}

static void turn_feed(struct player *pl)
{
    size_t n = pl->turn_len;
    if (n == 0)
        return;
    if (pl->out.len > 0)
        complain(pl, "client said more: %.*s", (int)pl->out.len, pl->out.data);
    pl->turn_len = 0;
    if ((long)n > pl->longest)
        pl->longest = (long)n;
    if (pl->split == -1) {
        for (size_t i = 0; i < n; i++) {
            char *one = malloc(1); /* so that reading past it shows */
            *one = pl->turn[i];
            smtp_client_input(pl->client, one, 1);
            free(one);
        }
        return;
    }
    size_t cut = (size_t)pl->split < n ? (size_t)pl->split : 0;
    if (cut > 0)
        smtp_client_input(pl->client, pl->turn, cut);
    smtp_client_input(pl->client, pl->turn + cut, n - cut);
}

static void turn_add(struct player *pl, const char *p, size_t n)
{
    assert_true(pl->turn_len + n <= TURN_MAX);
    memcpy(pl->turn + pl->turn_len, p, n);
    pl->turn_len += n;
}

static void expect_said(struct player *pl, const char *text)
{
    size_t n = strlen(text);
    if (pl->out.len < n + 2 || memcmp(pl->out.data, text, n) != 0 || memcmp(pl->out.data + n, "\r\n", 2) != 0)
        complain(pl, "client should say \"%s\", said \"%.*s\"", text, (int)pl->out.len,
                 pl->out.data == NULL ? "" : pl->out.data);
    buf_consume(&pl->out, n + 2);
}

static void parse_config(struct player *pl, const char *text)
{
    const char *v;
    assert_null(pl->client);
    snprintf(pl->config_text, sizeof pl->config_text, "%s", text);
    for (char *rest = pl->config_text; *rest != '\0';) {
        const char *word = word_take(&rest);
        if (key(word, "tls=", &v)) {
            pl->config.tls = *v == 'o'   ? SMTP_CLIENT_TLS_OPPORTUNISTIC
                             : *v == 'r' ? SMTP_CLIENT_TLS_REQUIRED
                                         : SMTP_CLIENT_TLS_WRAPPED;
        } else if (key(word, "auth=", &v)) {
            char *colon = strchr(pl->config_text + (v - pl->config_text), ':');
            assert_non_null(colon);
            *colon = '\0';
            pl->config.auth_user = v;
            pl->config.auth_password = colon + 1;
        } else if (strcmp(word, "plain-auth") == 0) {
            pl->config.auth_without_tls = true;
        } else if (strcmp(word, "eightbit-bounce") == 0) {
            pl->config.eightbit_bounce = true;
        } else {
            complain(pl, "config: %s", word);
        }
    }
}

static uint8_t parse_notify(const char *v)
{
    unsigned bits = 0;
    bits |= strstr(v, "never") != NULL ? SMTP_CLIENT_NOTIFY_NEVER : 0u;
    bits |= strstr(v, "success") != NULL ? SMTP_CLIENT_NOTIFY_SUCCESS : 0u;
    bits |= strstr(v, "failure") != NULL ? SMTP_CLIENT_NOTIFY_FAILURE : 0u;
    bits |= strstr(v, "delay") != NULL ? SMTP_CLIENT_NOTIFY_DELAY : 0u;
    return (uint8_t)bits;
}

static void parse_mail(struct player *pl, const char *text)
{
    struct smtp_client_mail *m = &pl->mail;
    const char *v;
    *m = (struct smtp_client_mail){ .rcpts = pl->rcpts };
    memset(pl->rcpts, 0, sizeof pl->rcpts);
    snprintf(pl->mail_text, sizeof pl->mail_text, "%s", text);
    for (char *rest = pl->mail_text; *rest != '\0';) {
        const char *word = word_take(&rest);
        struct smtp_client_rcpt *last = m->nrcpts > 0 ? &pl->rcpts[m->nrcpts - 1] : NULL;
        if (key(word, "from=", &v)) {
            m->from = span_of(v, unescape(pl->mail_text + (v - pl->mail_text)));
        } else if (key(word, "to=", &v)) {
            assert_true(m->nrcpts < RCPTS);
            pl->rcpts[m->nrcpts++].address = span_of(v, unescape(pl->mail_text + (v - pl->mail_text)));
        } else if (last != NULL && key(word, "orcpt=", &v)) {
            last->orcpt = span_of(v, unescape(pl->mail_text + (v - pl->mail_text)));
        } else if (last != NULL && key(word, "notify=", &v)) {
            last->notify = parse_notify(v);
        } else if (key(word, "size=", &v)) {
            m->size = strtoull(v, NULL, 10);
        } else if (key(word, "envid=", &v)) {
            m->envid = span_of(v, unescape(pl->mail_text + (v - pl->mail_text)));
        } else if (key(word, "ret=", &v)) {
            m->ret = *v == 'f' ? SMTP_CLIENT_RET_FULL : SMTP_CLIENT_RET_HDRS;
        } else if (strcmp(word, "utf8") == 0) {
            m->smtputf8 = true;
        } else if (strcmp(word, "8bit") == 0) {
            m->content_8bit = true;
        } else if (strcmp(word, "requiretls") == 0) {
            m->requiretls = m->authenticated = true;
        } else if (strcmp(word, "anybody") == 0) {
            m->authenticated = false;
        } else {
            complain(pl, "MAIL: %s", word);
        }
    }
}

static void expect_result(struct player *pl, const struct smtp_client_result *r, const char *text)
{
    static const char *const classes[] = { "ok", "temporary", "permanent", "not-tried" };
    struct buf b;
    buf_init(&b, 4096);
    buf_printf(&b, "%s %s %s", classes[r->class], smtp_client_stage_name(r->stage), r->local ? "local " : "");
    smtp_reply_text_put(&b, &r->reply);
    buf_put_char(&b, '\0');
    if (strcmp(b.data, text) != 0)
        complain(pl, "result should be \"%s\", is \"%s\"", text, b.data);
    buf_fini(&b);
}

static void body_send(struct player *pl, char *text)
{
    struct smtp_stuff st = { .at_line_start = true };
    size_t n = unescape(text);
    if (smtp_client_want(pl->client) != SMTP_CLIENT_WANT_BODY)
        complain(pl, "no body is wanted");
    assert_int_equal(smtp_stuff_put(&st, text, n, &pl->out), 0);
    assert_int_equal(smtp_stuff_end(&st, &pl->out), 0);
    smtp_client_body_sent(pl->client);
}

static void expect_want(struct player *pl, const char *name)
{
    static const char *const names[] = { "input", "tls", "mail", "body", "result", "close" };
    const char *is = names[smtp_client_want(pl->client)];
    if (strcmp(is, name) != 0)
        complain(pl, "want should be %s, is %s", name, is);
}

static void statement_result(struct player *pl, const char *text)
{
    const struct smtp_client_result *results = smtp_client_results(pl->client);
    if (results == NULL || pl->result >= pl->mail.nrcpts)
        complain(pl, "no result; want is %d", smtp_client_want(pl->client));
    else
        expect_result(pl, &results[pl->result++], text);
}

static void statement_failure(struct player *pl, const char *text)
{
    const struct smtp_client_result *r = smtp_client_failure(pl->client);
    if (strcmp(text, "none") == 0) {
        if (r != NULL)
            complain(pl, "failure: %s", r->reply.text);
    } else if (r == NULL) {
        complain(pl, "no failure");
    } else {
        expect_result(pl, r, text);
    }
}

/* Statements other than the server's. */
static void statement(struct player *pl, char *verb, char *rest)
{
    if (strcmp(verb, "C:") == 0) {
        expect_said(pl, rest);
    } else if (strcmp(verb, "TLS") == 0) {
        expect_want(pl, "tls");
        bool ok = strcmp(rest, "ok") == 0;
        smtp_client_on_tls(pl->client, ok, ok ? NULL : rest + strlen("failed "));
    } else if (strcmp(verb, "MAIL") == 0) {
        expect_want(pl, "mail");
        parse_mail(pl, rest);
        pl->result = 0;
        smtp_client_send(pl->client, &pl->mail);
    } else if (strcmp(verb, "BODY") == 0) {
        body_send(pl, rest);
    } else if (strcmp(verb, "BODY-FAILED") == 0) {
        smtp_client_body_failed(pl->client, rest);
    } else if (strcmp(verb, "RESULT") == 0) {
        statement_result(pl, rest);
    } else if (strcmp(verb, "NEXT") == 0) {
        if (pl->result != pl->mail.nrcpts)
            complain(pl, "%u results were not looked at", pl->mail.nrcpts - pl->result);
        smtp_client_next(pl->client);
    } else if (strcmp(verb, "QUIT") == 0) {
        smtp_client_quit(pl->client);
    } else if (strcmp(verb, "CLOSED") == 0) {
        smtp_client_on_closed(pl->client, rest);
    } else if (strcmp(verb, "FAILURE") == 0) {
        statement_failure(pl, rest);
    } else if (strcmp(verb, "WANT") == 0) {
        expect_want(pl, rest);
    } else if (strcmp(verb, "RETRY-PLAIN") == 0) {
        if (smtp_client_retry_plain(pl->client) != (strcmp(rest, "yes") == 0))
            complain(pl, "retry-plain is not %s", rest);
    } else if (strcmp(verb, "DEADLINE") == 0) {
        if (smtp_client_deadline_ms(pl->client) != strtoul(rest, NULL, 10))
            complain(pl, "deadline is %u", smtp_client_deadline_ms(pl->client));
    } else {
        complain(pl, "what is %s", verb);
    }
}

static void line_play(struct player *pl, char *line)
{
    char *rest = line;
    if (*line == '#' || *line == '\0')
        return;
    char *verb = line;
    rest = line + strcspn(line, " ");
    if (*rest == ' ')
        *rest++ = '\0';
    if (strcmp(verb, "config") == 0) {
        parse_config(pl, rest);
        return;
    }
    if (strcmp(verb, "whole-only") == 0) {
        pl->whole_only = true;
        return;
    }
    client_start(pl);
    if (strcmp(verb, "S:") == 0) {
        turn_add(pl, rest, strlen(rest));
        turn_add(pl, "\r\n", 2);
    } else if (strcmp(verb, "S=") == 0) {
        turn_add(pl, rest, unescape(rest));
    } else if (strcmp(verb, "S*") == 0) {
        long times = strtol(rest, &rest, 10);
        size_t n = unescape(++rest);
        while (times-- > 0)
            turn_add(pl, rest, n);
    } else {
        turn_feed(pl);
        statement(pl, verb, rest);
    }
}

/* The longest turn of the server, or -1 when the file wants to be played whole. */
static long play(const char *path, long split)
{
    struct player *pl = calloc(1, sizeof *pl);
    FILE *f = fopen(path, "r");
    assert_non_null(pl);
    assert_non_null(f);
    pl->file = strrchr(path, '/') + 1;
    pl->split = split;
    pl->config.ehlo_name = "out.test";
    pl->turn = malloc(TURN_MAX);
    buf_init(&pl->out, 1 << 20);
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t n; (n = getline(&line, &cap, f)) >= 0;) {
        pl->line++;
        line[n - (n > 0 && line[n - 1] == '\n')] = '\0';
        line_play(pl, line);
    }
    turn_feed(pl);
    if (pl->out.len > 0)
        complain(pl, "client said more: %.*s", (int)pl->out.len, pl->out.data);
    long longest = pl->whole_only ? -1 : pl->longest;
    smtp_client_free(pl->client);
    buf_fini(&pl->out);
    free(pl->turn);
    free(line);
    fclose(f);
    free(pl);
    return longest;
}

static void dialog_test(void **state)
{
    const char *path = *state;
    long longest = play(path, 0);
    if (longest < 0)
        return;
    play(path, -1);
    /* a turn of a megabyte need not be cut at each of its bytes */
    for (long split = 1; split < longest && split < (longest > 4096 ? 40 : 600); split++)
        play(path, split);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct CMUnitTest *)a)->name, ((const struct CMUnitTest *)b)->name);
}

int main(void)
{
    static struct CMUnitTest tests[400];
    size_t n = 0;
    DIR *dir = opendir(TEST_SOURCE_DIR "/dialogs");
    if (dir == NULL)
        return 1;
    for (struct dirent *e; (e = readdir(dir)) != NULL && n < 400;) {
        char path[4096];
        const char *dot = strrchr(e->d_name, '.');
        if (dot == NULL || strcmp(dot, ".dialog") != 0)
            continue;
        snprintf(path, sizeof path, "%s/dialogs/%s", TEST_SOURCE_DIR, e->d_name);
        char *kept = strdup(path);
        tests[n++] = (struct CMUnitTest){ strrchr(kept, '/') + 1, dialog_test, NULL, NULL, kept };
    }
    closedir(dir);
    qsort(tests, n, sizeof tests[0], by_name);
    int failed = n == 0 ? 1 : _cmocka_run_group_tests("dialogs", tests, n, NULL, NULL);
    for (size_t i = 0; i < n; i++)
        free(tests[i].initial_state);
    return failed;
}
