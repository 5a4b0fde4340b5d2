/* The event log of all nodes, as it grows: events. */
#include "cli/client.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* "21:29:37.483" of "2026-11-21T21:29:37.483Z", in local time. */
static void clock_of(const char *ts, char out[16])
{
    struct tm tm = { 0 };
    const char *rest = strptime(ts, "%Y-%m-%dT%H:%M:%S", &tm);
    time_t t = timegm(&tm);
    snprintf(out, 16, "-");
    if (rest != NULL && localtime_r(&t, &tm) != NULL) {
        size_t n = strftime(out, 16, "%H:%M:%S", &tm);
        if (rest[0] == '.' && strlen(rest) >= 4)
            snprintf(out + n, 16 - n, "%.4s", rest);
    }
}

static enum cli_colour colour_of(const char *event)
{
    static const char *const good[] = { "delivered", "relayed" };
    static const char *const bad[] = { "bounced", "expired", "rejected", "auth_failed", "complaint" };
    static const char *const odd[] = {
        "deferred", "held", "connect_failed", "site_down", "shaping", "dropped"
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (strcmp(event, good[i]) == 0)
            return CLI_GREEN;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (strcmp(event, bad[i]) == 0)
            return CLI_RED;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        if (strcmp(event, odd[i]) == 0)
            return CLI_YELLOW;
    return CLI_PLAIN;
}

/* A blank and the text, if there is any. */
static void put(const char *before, const char *text)
{
    char safe[2048];
    if (text[0] == '\0')
        return;
    cli_safe(text, safe, sizeof(safe));
    printf(" %s%s", before, safe);
}

static void put_line(struct cli *c, const json_t *j)
{
    char when[16];
    const char *event = cli_str(j, "event");
    clock_of(cli_str(j, "ts"), when);
    printf("%s%s %s%s %s%-11s%s", cli_sgr(c, CLI_DIM), when, cli_str(j, "node"), cli_sgr(c, CLI_PLAIN),
           cli_sgr(c, colour_of(event)), event, cli_sgr(c, CLI_PLAIN));
    put("", cli_str(j, "id"));
    put("", cli_str(j, "client_ip"));
    put("", cli_str(j, "account"));
    if (strcmp(cli_str(j, "sender"), cli_str(j, "account")) != 0)
        put("from ", cli_str(j, "sender"));
    put("to ", cli_str(j, "recipient"));
    if (cli_int(j, "recipients") > 1)
        printf(" (%d recipients)", (int)cli_int(j, "recipients"));
    put("site ", cli_str(j, "site"));
    put("at ", cli_str(j, "mx"));
    put("rule ", cli_str(j, "rule"));
    if (cli_int(j, "code") > 0)
        printf(" %d", (int)cli_int(j, "code"));
    put("", cli_str(j, "enhanced"));
    put("", cli_str(j, "text"));
    if (cli_int(j, "count") > 0)
        printf(" %d lines were lost", (int)cli_int(j, "count"));
    putchar('\n');
}

static int put_event(struct cli *c, const json_t *line)
{
    if (c->json)
        json_dumpf(line, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
    if (c->json)
        putchar('\n');
    else
        put_line(c, line);
    return fflush(stdout) == 0 && !ferror(stdout) ? CLI_OK : CLI_FAILED;
}

static int put_reply(struct cli *c, const json_t *j)
{
    size_t i;
    int code = CLI_OK;
    json_t *line;
    json_array_foreach(json_object_get(j, "events"), i, line)
    {
        code = put_event(c, line);
    }
    return code;
}

static void query_of(struct cli *c, const char *path, struct client_query *q)
{
    static const char *const same[] = { "account", "tenant", "sender", "recipient", "site" };
    client_query_init(q, path);
    client_query_add(q, "kinds", cli_opt(c, "kind"));
    client_query_add(q, "client_ip", cli_opt(c, "ip"));
    client_query_add(q, "id", c->nargs > 0 ? c->args[0] : NULL);
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
        client_query_add(q, same[i], cli_opt(c, same[i]));
    client_query_add(q, "scope", cli_has(c, "local") ? "local" : NULL);
}

/* ---- server-sent events -------------------------------------------------------------------------------- */

struct follow {
    struct cli *c;
    struct buf text; /* of a message that has not come whole */
    char after[16384];
    int code;
};

/* What stands behind "name: " in a message's lines; empty: no such line. */
static struct span field_of(struct span message, const char *name)
{
    size_t n = strlen(name);
    while (message.n > 0) {
        const char *eol = memchr(message.p, '\n', message.n);
        size_t all = eol == NULL ? message.n : (size_t)(eol - message.p);
        if (all > n + 2 && memcmp(message.p, name, n) == 0 && message.p[n] == ':')
            return span_of(message.p + n + 2, all - n - 2);
        message = span_sub(message, eol == NULL ? all : all + 1);
    }
    return span_of("", 0);
}

static void take_message(struct follow *f, struct span message)
{
    struct span event = field_of(message, "event"), data = field_of(message, "data"), id = field_of(message, "id");
    json_t *j = data.n == 0 ? NULL : json_loadb(data.p, data.n, JSON_DECODE_ANY, NULL), *node;
    size_t i;
    if (id.n > 0 && id.n < sizeof(f->after))
        snprintf(f->after, sizeof(f->after), "%.*s", (int)id.n, id.p);
    if (span_eq(event, SPAN_LIT("gap")) && json_is_array(j)) {
        json_array_foreach(j, i, node)
        {
            cli_note("some lines of %s are missing: they came too fast", json_string_value(node));
        }
    } else if (span_eq(event, SPAN_LIT("gap"))) {
        cli_note("some lines are missing: they came too fast");
    } else if (span_eq(event, SPAN_LIT("missing"))) {
        json_t *said = json_pack("{s:O}", "missing", j);
        cli_say_missing(said);
        json_decref(said);
    } else if (!span_eq(event, SPAN_LIT("place")) && json_is_object(j)) {
        f->code = put_event(f->c, j);
    }
    json_decref(j);
}

static int on_piece(void *arg, const char *p, size_t n)
{
    struct follow *f = arg;
    if (buf_put(&f->text, p, n) != 0)
        f->code = cli_fail(f->c, CLI_FAILED, "the node's answer is not understood");
    for (const char *end; f->code == 0 && (end = memmem(f->text.data, f->text.len, "\n\n", 2)) != NULL;) {
        size_t whole = (size_t)(end - f->text.data);
        take_message(f, span_of(f->text.data, whole));
        buf_consume(&f->text, whole + 2);
    }
    return f->code != 0;
}

/* The node ends it after an hour: it is asked to go on. */
static int follow(struct cli *c, const char *after)
{
    struct follow f = { .c = c };
    buf_init(&f.text, 16u << 20);
    snprintf(f.after, sizeof(f.after), "%s", after);
    int code = 0;
    while (code == 0 && f.code == 0) {
        struct client_query q;
        query_of(c, "/v1/events/stream", &q);
        client_query_add(&q, "after", f.after);
        buf_put_char(&q.text, '\0');
        buf_reset(&f.text);
        code = client_stream(c, q.text.data, NULL, on_piece, &f);
        client_query_fini(&q);
    }
    buf_fini(&f.text);
    return f.code != 0 ? f.code : code;
}

int cmd_events(struct cli *c)
{
    struct client_query q;
    json_t *j = NULL;
    query_of(c, "/v1/events", &q);
    client_query_add(&q, "limit", cli_opt(c, "last"));
    int code = client_get(c, &q, &j);
    if (code == 0)
        code = put_reply(c, j);
    if (code == 0)
        cli_say_missing(j);
    if (code == 0 && cli_has(c, "follow"))
        code = follow(c, cli_str(j, "next"));
    json_decref(j);
    return code;
}
