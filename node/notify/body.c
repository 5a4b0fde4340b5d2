/* Webhooks' bodies and syslog's lines: see body.h. */
#include "node/notify/body.h"

#include "base/err.h"
#include "base/text.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int severity_of(struct span line)
{
    int s = policy_event_severity(notify_line_event(line));
    return s < 0 ? POLICY_INFO : s;
}

/* "2026-11-22T08:04:12.935Z" */
static void put_time(struct buf *out, int64_t wall_ms)
{
    time_t at = (time_t)(wall_ms / 1000);
    struct tm tm = { 0 };
    char text[32];
    gmtime_r(&at, &tm);
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(out, "%.*s.%03dZ", (int)n, text, (int)(wall_ms % 1000));
}

/* ---- webhook ------------------------------------------------------------------------------------------- */

int notify_web_begin(struct buf *out, const char *target, const char *node)
{
    buf_put_str(out, "{\"target\":");
    text_put_json(out, span_str(target));
    buf_put_str(out, ",\"node\":");
    text_put_json(out, span_str(node));
    return buf_put_str(out, ",\"events\":[");
}

int notify_web_put(struct buf *out, const struct notify_told *t, bool first)
{
    buf_put_str(out, first ? "{\"id\":" : ",{\"id\":");
    text_put_json(out, span_str(t->id));
    buf_printf(out, ",\"severity\":\"%s\",\"count\":%u,\"last\":\"",
               policy_severity_names[severity_of(t->line)], t->count);
    put_time(out, t->last_ms);
    buf_put_str(out, "\",\"event\":");
    buf_put_span(out, t->line);
    return buf_put_char(out, '}');
}

int notify_web_end(struct buf *out)
{
    return buf_put_str(out, "]}");
}

int notify_web_sign(struct span secret, int64_t now_s, struct span body, char out[NOTIFY_SIGNATURE_TEXT])
{
    struct buf text;
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    buf_init(&text, body.n + 32);
    buf_printf(&text, "%lld.", (long long)now_s);
    int err = buf_put_span(&text, body);
    if (err == 0 && HMAC(EVP_sha256(), secret.p, (int)secret.n, (const unsigned char *)text.data, text.len,
                         mac, &n) == NULL)
        err = ERR_FAILED;
    buf_fini(&text);
    if (err != 0)
        return err;
    size_t at = (size_t)snprintf(out, NOTIFY_SIGNATURE_TEXT, "v1=");
    for (unsigned i = 0; i < n; i++)
        at += (size_t)snprintf(out + at, NOTIFY_SIGNATURE_TEXT - at, "%02x", mac[i]);
    return 0;
}

/* ---- syslog -------------------------------------------------------------------------------------------- */

#define FACILITY_MAIL 2

/* Of a parameter's value (RFC 5424 section 6.3.3). */
static void put_param(struct buf *out, const char *name, const char *value)
{
    if (value[0] == '\0')
        return;
    buf_printf(out, " %s=\"", name);
    for (; *value != '\0'; value++) {
        if (strchr("\"\\]", *value) != NULL)
            buf_put_char(out, '\\');
        buf_put_char(out, *value);
    }
    buf_put_char(out, '"');
}

/* Of the header: printable, at most `max` (section 6.1). */
static void put_word(struct buf *out, const char *text, size_t max)
{
    size_t n = 0;
    for (; *text != '\0' && n < max; text++, n++)
        buf_put_char(out, *text > ' ' && *text <= '~' ? *text : '?');
    if (n == 0)
        buf_put_char(out, '-');
}

int notify_syslog_put(struct buf *out, const struct notify_told *t, const char *host)
{
    static const int levels[] = { 6, 5, 4, 2 };
    struct notify_event e;
    size_t start = out->len;
    char count[16];
    if (notify_event_parse(t->line, &e) != 0)
        return ERR_BAD;
    buf_printf(out, "<%d>1 ", FACILITY_MAIL * 8 + levels[e.severity]);
    put_word(out, notify_event_str(&e, "ts"), 40);
    buf_put_char(out, ' ');
    put_word(out, host, 255);
    buf_put_str(out, " turnpiked - ");
    put_word(out, e.event, 32);
    buf_put_str(out, " [turnpike@32473");
    snprintf(count, sizeof count, "%u", t->count);
    put_param(out, "id", t->id);
    put_param(out, "count", count);
    put_param(out, "account", notify_event_str(&e, "account"));
    put_param(out, "tenant", notify_event_str(&e, "tenant"));
    put_param(out, "rule", notify_event_str(&e, "rule"));
    buf_put_str(out, "] ");
    buf_put_span(out, t->line);
    notify_event_fini(&e);
    if (buf_err(out) == 0 && out->len - start > NOTIFY_SYSLOG_MAX)
        out->len = start + NOTIFY_SYSLOG_MAX;
    return buf_err(out);
}
