/* Events as JSON: the field names are a format, see docs/events.md. */
#include "node/telemetry/events_json.h"

#include "base/text.h"
#include "spool/envelope.h"

#include <stdio.h>
#include <time.h>

static const char *const kind_names[EVENT_KINDS] = {
    [EVENT_CONNECTION] = "connection",
    [EVENT_AUTH] = "auth",
    [EVENT_AUTH_FAILED] = "auth_failed",
    [EVENT_AUTH_ATTACK] = "auth_attack",
    [EVENT_RECEIVED] = "received",
    [EVENT_REJECTED] = "rejected",
    [EVENT_DELIVERED] = "delivered",
    [EVENT_RELAYED] = "relayed",
    [EVENT_DEFERRED] = "deferred",
    [EVENT_BOUNCED] = "bounced",
    [EVENT_EXPIRED] = "expired",
    [EVENT_DELETED] = "deleted",
    [EVENT_HELD] = "held",
    [EVENT_RELEASED] = "released",
    [EVENT_DELAYED] = "delayed",
    [EVENT_DSN] = "dsn",
    [EVENT_RETURNED] = "returned",
    [EVENT_DOMAIN] = "domain",
    [EVENT_COMPLAINT] = "complaint",
    [EVENT_CONNECT_FAILED] = "connect_failed",
    [EVENT_SITE_DOWN] = "site_down",
    [EVENT_SITE_UP] = "site_up",
    [EVENT_SHAPING] = "shaping",
    [EVENT_NOTICE] = "notice",
    [EVENT_WEB_SENDERS] = "web_senders",
    [EVENT_FROZEN] = "frozen",
    [EVENT_WARNED] = "warned",
    [EVENT_OPERATOR_FROZE] = "operator_froze",
    [EVENT_OPERATOR_THAWED] = "operator_thawed",
    [EVENT_TEST] = "test",
    [EVENT_OPERATOR] = "operator",
};

const char *event_kind_name(enum event_kind kind)
{
    return (unsigned)kind < EVENT_KINDS ? kind_names[kind] : "unknown";
}

static void put_number(struct buf *out, uint64_t v)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    buf_put(out, digits + at, sizeof digits - at);
}

#define KEY(out, name) buf_put(out, ",\"" name "\":", sizeof(",\"" name "\":") - 1)

/* A cut must not fall within a character: what is left of one would read as a replacement character. */
static struct span cut(struct span s)
{
    if (s.n <= EVENTS_TEXT_MAX)
        return s;
    s.n = EVENTS_TEXT_MAX;
    for (size_t back = 0; back < 4 && s.n > 0 && ((unsigned char)s.p[s.n] & 0xc0) == 0x80; back++)
        s.n--;
    return s;
}

#define TEXT(out, name, s)                                                                                   \
    do {                                                                                                     \
        if ((s).n > 0) {                                                                                     \
            KEY(out, name);                                                                                  \
            text_put_json(out, cut(s));                                                                      \
        }                                                                                                    \
    } while (0)

#define NUMBER(out, name, given, v)                                                                          \
    do {                                                                                                     \
        if (given) {                                                                                         \
            KEY(out, name);                                                                                  \
            put_number(out, (uint64_t)(v));                                                                  \
        }                                                                                                    \
    } while (0)

/* RFC 3339 in UTC, with milliseconds. */
static void put_time(struct buf *out, int64_t ms, struct events_clock *clock)
{
    int64_t second = ms / 1000;
    if (clock->n == 0 || second != clock->second) {
        struct tm tm;
        time_t t = (time_t)second;
        if (gmtime_r(&t, &tm) == NULL || tm.tm_year < -1900 || tm.tm_year > 8099)
            tm = (struct tm){ .tm_mday = 1, .tm_year = 70 };
        clock->n = strftime(clock->text, sizeof clock->text, "\"%Y-%m-%dT%H:%M:%S.", &tm);
        clock->second = second;
    }
    int64_t rest = ms - second * 1000;
    char tail[5] = { (char)('0' + rest / 100), (char)('0' + rest / 10 % 10), (char)('0' + rest % 10), 'Z',
                     '"' };
    buf_put(out, clock->text, clock->n);
    buf_put(out, tail, sizeof tail);
}

static void put_id(struct buf *out, uint64_t id)
{
    char text[SPOOL_ID_TEXT + 2];
    text[0] = '"';
    spool_id_format(id, text + 1);
    text[SPOOL_ID_TEXT] = '"';
    buf_put(out, text, SPOOL_ID_TEXT + 1);
}

static void put_head(struct buf *out, const char *kind, int64_t ts_ms, struct span node,
                     struct events_clock *clock)
{
    buf_put(out, "{\"ts\":", 6);
    put_time(out, ts_ms, clock);
    KEY(out, "event");
    buf_put_char(out, '"');
    buf_put_str(out, kind);
    buf_put_char(out, '"');
    KEY(out, "node");
    buf_put_span(out, node);
}

static void put_client(struct buf *out, const struct event *e)
{
    NUMBER(out, "session", e->session != 0, e->session);
    TEXT(out, "listener", e->listener);
    TEXT(out, "client_ip", e->client_ip);
    TEXT(out, "client_name", e->client_name);
    TEXT(out, "helo", e->helo);
    TEXT(out, "protocol", e->protocol);
    TEXT(out, "account", e->account);
    TEXT(out, "tenant", e->tenant);
    TEXT(out, "class", e->class);
}

static void put_message(struct buf *out, const struct event *e)
{
    if (e->null_sender || e->sender.n > 0) {
        KEY(out, "sender");
        text_put_json(out, e->null_sender ? SPAN_LIT("<>") : cut(e->sender));
    }
    TEXT(out, "recipient", e->recipient);
    NUMBER(out, "recipients", e->recipients != 0, e->recipients);
    NUMBER(out, "size", e->size != 0, e->size);
    TEXT(out, "message_id", e->message_id);
    TEXT(out, "subject", e->subject);
}

static void put_way(struct buf *out, const struct event *e)
{
    TEXT(out, "site", e->site);
    TEXT(out, "mx", e->mx);
    TEXT(out, "mx_ip", e->mx_ip);
    TEXT(out, "source_ip", e->source_ip);
    TEXT(out, "ehlo", e->ehlo);
    TEXT(out, "pool", e->pool);
    TEXT(out, "tls", e->tls);
    TEXT(out, "dkim", e->dkim);
    NUMBER(out, "attempt", e->attempt != 0, e->attempt);
    TEXT(out, "stage", e->stage);
}

static void put_reply(struct buf *out, const struct event *e)
{
    NUMBER(out, "code", e->code != 0, e->code);
    if (e->enhanced[0] != 0) {
        KEY(out, "enhanced");
        buf_put_char(out, '"');
        put_number(out, e->enhanced[0]);
        buf_put_char(out, '.');
        put_number(out, e->enhanced[1]);
        buf_put_char(out, '.');
        put_number(out, e->enhanced[2]);
        buf_put_char(out, '"');
    }
    TEXT(out, "text", e->text);
    if (e->local) {
        KEY(out, "local");
        buf_put(out, "true", 4);
    }
    TEXT(out, "verdict", e->verdict);
    TEXT(out, "rule", e->rule);
    TEXT(out, "bounce_class", e->bounce_class);
    TEXT(out, "by", e->by);
}

int events_json_put(struct buf *out, const struct event *e, struct span node, struct events_clock *clock)
{
    put_head(out, event_kind_name(e->kind), e->ts_ms, node, clock);
    if (e->id != 0) {
        KEY(out, "id");
        put_id(out, e->id);
    }
    if (e->about != 0) {
        KEY(out, "about");
        put_id(out, e->about);
    }
    put_client(out, e);
    put_message(out, e);
    put_way(out, e);
    put_reply(out, e);
    if (e->next_ms != 0) {
        struct events_clock once = { .n = 0 };
        KEY(out, "next");
        put_time(out, e->next_ms, &once);
    }
    NUMBER(out, "queue_delay_ms", e->queue_delay_ms >= 0, e->queue_delay_ms);
    NUMBER(out, "dns_delay_ms", e->dns_delay_ms >= 0, e->dns_delay_ms);
    NUMBER(out, "connect_delay_ms", e->connect_delay_ms >= 0, e->connect_delay_ms);
    NUMBER(out, "transfer_delay_ms", e->transfer_delay_ms >= 0, e->transfer_delay_ms);
    return buf_put(out, "}\n", 2);
}

int events_json_put_dropped(struct buf *out, uint64_t count, int64_t ts_ms, struct span node,
                            struct events_clock *clock)
{
    put_head(out, "dropped", ts_ms, node, clock);
    KEY(out, "count");
    put_number(out, count);
    return buf_put(out, "}\n", 2);
}
