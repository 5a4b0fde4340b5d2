/* Marks of greylisted recipients, and the times that servers state: see grey_mark.h. */
#include "node/shaping/grey_mark.h"

#include "base/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MARK '\x1f'
#define WORD SPAN_LIT("grey")
#define TRANSFER_BYTES 96 /* a mark of a transfer, before all */
#define HOST_MAX 255
#define SOURCE_MAX 47
#define SINCE_MAX_S INT64_C(100000000000)
#define STATED_MIN_MS 1000
#define STATED_MAX_MS 21600000

bool grey_mark_parse(struct span text, struct grey_mark *out, struct span *reply)
{
    const char *at = text.n == 0 ? NULL : memrchr(text.p, MARK, text.n);
    uint64_t since, sure;
    *out = (struct grey_mark){ .host = { "", 0 }, .source = { "", 0 } };
    *reply = text;
    if (at == NULL)
        return false;
    struct span rest = span_sub(text, (size_t)(at - text.p) + 1);
    bool ok = span_eq(span_cut(&rest, ' '), WORD);
    ok = text_u64(span_cut(&rest, ' '), &since) == 0 && since <= (uint64_t)SINCE_MAX_S && ok;
    ok = text_u64(span_cut(&rest, ' '), &sure) == 0 && sure <= 1 && ok;
    struct span host = span_cut(&rest, ' ');
    if (!ok || rest.n == 0 || rest.n > SOURCE_MAX || host.n == 0 || host.n > HOST_MAX)
        return false;
    *out = (struct grey_mark){ .since_ms = (int64_t)since * 1000,
                               .sure = sure == 1,
                               .host = span_eq(host, SPAN_LIT("-")) ? (struct span){ "", 0 } : host,
                               .source = rest };
    *reply = span_of(text.p, (size_t)(at - text.p));
    return true;
}

struct span grey_mark_format(const struct grey_mark *m, struct span reply, char out[GREY_TEXT_MAX])
{
    char mark[HOST_MAX + SOURCE_MAX + 64];
    bool named = m->host.n > 0 && m->host.n <= HOST_MAX && memchr(m->host.p, ' ', m->host.n) == NULL;
    struct span host = named ? m->host : SPAN_LIT("-");
    int n = snprintf(mark, sizeof mark, "%c%.*s %" PRId64 " %d %.*s %.*s", MARK, (int)WORD.n, WORD.p,
                     m->since_ms / 1000, m->sure, (int)host.n, host.p,
                     (int)(m->source.n < SOURCE_MAX ? m->source.n : SOURCE_MAX), m->source.p);
    size_t len = (size_t)n, room = GREY_TEXT_MAX - TRANSFER_BYTES - len;
    if (reply.n > room)
        reply.n = room;
    if (reply.n > 0)
        memcpy(out, reply.p, reply.n);
    memcpy(out + reply.n, mark, len);
    return span_of(out, reply.n + len);
}

int64_t grey_stated_ms(const char *text)
{
    for (const char *p = text; (p = strpbrk(p, "0123456789")) != NULL;) {
        char *end;
        unsigned long n = strtoul(p, &end, 10);
        bool alone = p == text || p[-1] == ' ';
        const char *unit = end + (*end == ' ');
        int64_t ms = strncasecmp(unit, "min", 3) == 0                   ? 60000
                     : strncasecmp(unit, "sec", 3) == 0                 ? 1000
                     : strncasecmp(unit, "hour", 4) == 0                ? 3600000
                     : *unit == 's' && !isalnum((unsigned char)unit[1]) ? 1000
                     : *unit == 'm' && !isalnum((unsigned char)unit[1]) ? 60000
                                                                        : 0;
        if (alone && ms > 0 && n > 0 && n <= 100000 && (int64_t)n * ms <= STATED_MAX_MS)
            return (int64_t)n * ms < STATED_MIN_MS ? STATED_MIN_MS : (int64_t)n * ms;
        p = end;
    }
    return 0;
}
