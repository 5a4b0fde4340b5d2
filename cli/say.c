/* What the command line says, and how values look to people. */
#include "cli/cli.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void cli_safe(const char *s, char *out, size_t cap)
{
    struct buf b;
    buf_init(&b, cap * 8 + 64);
    text_put_log(&b, span_of(s, strnlen(s, cap)));
    size_t n = b.len < cap - 1 ? b.len : cap - 1;
    if (n > 0)
        memcpy(out, b.data, n);
    out[n] = '\0';
    buf_fini(&b);
}

void cli_note(const char *fmt, ...)
{
    char line[2048], safe[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    cli_safe(line, safe, sizeof(safe));
    fprintf(stderr, "turnpike: %s\n", safe);
}

int cli_print_json(const json_t *j)
{
    json_dumpf(j, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    putchar('\n');
    return CLI_OK;
}

int cli_fail_as(struct cli *c, int code, const char *code_text, const char *message)
{
    cli_note("%s", message);
    if (c != NULL && c->json) {
        json_t *j = json_pack("{s:{s:s,s:s}}", "error", "code", code_text, "message", message);
        if (j != NULL)
            cli_print_json(j);
        json_decref(j);
    }
    return code;
}

int cli_fail(struct cli *c, int code, const char *fmt, ...)
{
    char line[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    return cli_fail_as(c, code,
                       code == CLI_USAGE       ? "usage"
                       : code == CLI_NOT_FOUND ? "not_found"
                                               : "failed",
                       line);
}

void cli_when(const struct cli *c, const json_t *ms, char *out, size_t cap)
{
    char d[32];
    if (!json_is_integer(ms)) {
        snprintf(out, cap, "-");
        return;
    }
    int64_t away_ms = (int64_t)json_integer_value(ms) - c->now_ms;
    if (away_ms > -1000 && away_ms < 1000) {
        snprintf(out, cap, "now");
        return;
    }
    text_format_duration(away_ms < 0 ? -away_ms : away_ms, d, sizeof(d));
    snprintf(out, cap, away_ms < 0 ? "%s ago" : "in %s", d);
}

void cli_time(const json_t *ms, char *out, size_t cap)
{
    struct tm tm;
    time_t t = (time_t)(json_integer_value(ms) / 1000);
    if (!json_is_integer(ms) || localtime_r(&t, &tm) == NULL ||
        strftime(out, cap, "%Y-%m-%d %H:%M:%S %z", &tm) == 0)
        snprintf(out, cap, "-");
}

void cli_size(uint64_t bytes, char *out, size_t cap)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
    double v = (double)bytes;
    size_t u = 0;
    for (; v >= 1023.95 && u < 5; u++)
        v /= 1024;
    snprintf(out, cap, u == 0 ? "%.0f %s" : "%.1f %s", v, units[u]);
}

void cli_say_missing(const json_t *j)
{
    size_t i;
    json_t *m;
    json_array_foreach(json_object_get(j, "missing"), i, m)
    {
        cli_note("%s did not answer (%s): what it has is not in here", cli_str(m, "node"),
                 cli_str(m, "reason"));
    }
}

const char *cli_sgr(const struct cli *c, enum cli_colour colour)
{
    static const char *const codes[] = {
        [CLI_PLAIN] = "\x1b[0m",  [CLI_BOLD] = "\x1b[1m",    [CLI_DIM] = "\x1b[2m",
        [CLI_GREEN] = "\x1b[32m", [CLI_YELLOW] = "\x1b[33m", [CLI_RED] = "\x1b[31m"
    };
    return c->colour ? codes[colour] : "";
}

enum cli_colour cli_state_colour(const char *state)
{
    static const struct {
        const char *state;
        enum cli_colour colour;
    } map[] = { { "held", CLI_YELLOW },    { "down", CLI_RED },      { "backoff", CLI_YELLOW },
                { "bounced", CLI_RED },    { "expired", CLI_RED },   { "delivered", CLI_GREEN },
                { "rejected", CLI_RED },   { "relayed", CLI_GREEN }, { "active", CLI_GREEN },
                { "running", CLI_GREEN },  { "up", CLI_GREEN },      { "failed", CLI_RED },
                { "draining", CLI_YELLOW } };
    for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++)
        if (strcmp(map[i].state, state) == 0)
            return map[i].colour;
    return CLI_PLAIN;
}

const char *cli_str(const json_t *j, const char *name)
{
    const char *s = json_string_value(json_object_get(j, name));
    return s != NULL ? s : "";
}

int64_t cli_int(const json_t *j, const char *name)
{
    return (int64_t)json_integer_value(json_object_get(j, name));
}

double cli_real(const json_t *j, const char *name)
{
    return json_number_value(json_object_get(j, name));
}
