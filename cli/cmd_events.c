/* The event log of all nodes, as it grows: events. */
#include "cli/client.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define LOOK_NS 500000000L

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

static int put_reply(struct cli *c, const json_t *j)
{
    size_t i;
    json_t *line, *node;
    json_array_foreach(json_object_get(j, "events"), i, line)
    {
        if (c->json)
            json_dumpf(line, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
        if (c->json)
            putchar('\n');
        else
            put_line(c, line);
    }
    json_array_foreach(json_object_get(j, "gaps"), i, node)
    {
        cli_note("some lines of %s are missing: they came too fast", json_string_value(node));
    }
    if (json_object_get(j, "gaps") == NULL && json_is_true(json_object_get(j, "gap")))
        cli_note("some lines are missing: they came too fast");
    return fflush(stdout) == 0 && !ferror(stdout) ? CLI_OK : CLI_FAILED;
}

/* Who does not answer is told of once, until he does. */
static void say_missing_once(const json_t *j, char *said, size_t cap)
{
    char now[1024] = "";
    size_t i, n = 0;
    json_t *m;
    json_array_foreach(json_object_get(j, "missing"), i, m)
    {
        if (n < sizeof(now))
            n += (size_t)snprintf(now + n, sizeof(now) - n, "%s,", cli_str(m, "node"));
    }
    if (strcmp(now, said) != 0)
        cli_say_missing(j);
    snprintf(said, cap, "%s", now);
}

static int look(struct cli *c, const char *after, json_t **out)
{
    static const char *const same[] = { "account", "tenant", "sender", "recipient", "site" };
    struct client_query q;
    client_query_init(&q, "/v1/events");
    client_query_add(&q, "kinds", cli_opt(c, "kind"));
    client_query_add(&q, "client_ip", cli_opt(c, "ip"));
    client_query_add(&q, "id", c->nargs > 0 ? c->args[0] : NULL);
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
        client_query_add(&q, same[i], cli_opt(c, same[i]));
    client_query_add(&q, "scope", cli_has(c, "local") ? "local" : NULL);
    client_query_add(&q, "limit", after != NULL ? "1000" : cli_opt(c, "last"));
    client_query_add(&q, "after", after);
    return client_get(c, &q, out);
}

int cmd_events(struct cli *c)
{
    char after[16384], missing[1024] = "";
    json_t *j = NULL;
    int code = look(c, NULL, &j);
    while (code == 0) {
        size_t n = json_array_size(json_object_get(j, "events"));
        code = put_reply(c, j);
        say_missing_once(j, missing, sizeof(missing));
        snprintf(after, sizeof(after), "%s", cli_str(j, "next"));
        json_decref(j);
        j = NULL;
        if (!cli_has(c, "follow"))
            break;
        if (n < 1000)
            nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
        if (code == 0)
            code = look(c, after, &j);
    }
    return code;
}
