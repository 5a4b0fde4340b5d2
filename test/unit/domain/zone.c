/* A small DNS for tests of SPF. */
#include "test/unit/domain/zone.h"

#include "base/ensure.h"

#include <arpa/inet.h>
#include <stdlib.h>

static size_t put_name(char *out, const char *name)
{
    size_t n = 0;
    while (*name != '\0') {
        size_t len = strcspn(name, ".");
        out[n++] = (char)len;
        memcpy(out + n, name, len);
        n += len;
        name += len + (name[len] == '.');
    }
    out[n++] = 0;
    return n;
}

static size_t put_text(char *out, const char *text)
{
    size_t n = 0;
    for (;;) {
        size_t len = strcspn(text, "|"), part = len > 255 ? 255 : len;
        out[n++] = (char)part;
        memcpy(out + n, text, part);
        n += part;
        text += part;
        if (*text == '\0')
            return n;
        text += *text == '|';
    }
}

static size_t put_record(char *out, const struct zone_record *r)
{
    switch (r->type) {
    case SPF_TYPE_A:
        ensure(inet_pton(AF_INET, r->text, out) == 1);
        return 4;
    case SPF_TYPE_AAAA:
        ensure(inet_pton(AF_INET6, r->text, out) == 1);
        return 16;
    case SPF_TYPE_MX:
        out[0] = 0;
        out[1] = (char)atoi(r->text);
        return 2 + put_name(out + 2, strchr(r->text, ' ') + 1);
    case SPF_TYPE_PTR:
        return put_name(out, r->text);
    default:
        return put_text(out, r->text);
    }
}

void zone_answer(const struct zone_record *zone, size_t n, const struct spf_question *q,
                 struct zone_answer *out)
{
    out->answer = (struct spf_answer){ .status = SPF_DNS_NONE, .records = out->spans };
    for (size_t i = 0; i < n; i++) {
        if (strcasecmp(zone[i].name, q->name) != 0)
            continue;
        if (out->answer.status == SPF_DNS_NONE)
            out->answer.status = SPF_DNS_OK;
        if (zone[i].type != q->type)
            continue;
        if (zone[i].text == NULL) {
            out->answer.status = SPF_DNS_FAILED;
            continue;
        }
        uint32_t at = out->answer.n++;
        ensure(at < ZONE_RECORDS_MAX);
        out->spans[at] = span_of(out->data[at], put_record(out->data[at], &zone[i]));
    }
}
