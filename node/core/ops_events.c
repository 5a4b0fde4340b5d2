/* The admin API's look at the event log. A line has what is asked for when it has the member as JSON text:
 * within strings quotes are escaped, so that nothing that a peer said can look like one. Admin threads. */
#include "node/core/ops_events.h"

#include "base/err.h"
#include "base/text.h"
#include "node/core/node.h"
#include "node/telemetry/events_tail.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct words {
    struct events_tail_filter filter;
    struct buf text;
    size_t ends[2 * EVENTS_TAIL_WORDS]; /* of each word in `text`, which moves while it grows */
    uint32_t nends, nany;
};

/* "key":"value" */
static void put_word(struct words *w, const char *key, struct span value)
{
    buf_printf(&w->text, "\"%s\":", key);
    text_put_json(&w->text, value);
    w->ends[w->nends++] = w->text.len;
}

static bool put_kinds(struct words *w, const char *kinds)
{
    while (kinds != NULL && *kinds != '\0') {
        size_t n = strcspn(kinds, ",");
        if (n > 0 && w->nany == EVENTS_TAIL_WORDS)
            return false;
        if (n > 0) {
            put_word(w, "event", span_of(kinds, n));
            w->nany++;
        }
        kinds += n + (kinds[n] == ',');
    }
    return true;
}

static int fill(struct words *w, const struct admin_events *q, struct admin_error *e)
{
    const struct {
        const char *key, *value;
    } all[] = { { "id", q->id },
                { "account", q->account },
                { "tenant", q->tenant },
                { "sender", q->sender },
                { "recipient", q->recipient },
                { "site", q->site },
                { "client_ip", q->client_ip } };
    if (!put_kinds(w, q->kinds))
        return admin_fail(e, ERR_BAD, "too many kinds of events");
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i].value != NULL)
            put_word(w, all[i].key, span_str(all[i].value));
    if (buf_err(&w->text) != 0)
        return admin_fail(e, buf_err(&w->text), "cannot look for that: %s", err_text(buf_err(&w->text)));
    size_t at = 0;
    struct events_tail_filter *f = &w->filter;
    for (uint32_t i = 0; i < w->nends; i++) {
        struct span word = span_of(w->text.data + at, w->ends[i] - at);
        if (i < w->nany)
            f->any[f->nany++] = word;
        else
            f->all[f->nall++] = word;
        at = w->ends[i];
    }
    return 0;
}

/* What `after` says of the node; else the newest line's number. */
static uint64_t place_of(const char *after, const char *node, uint64_t newest)
{
    size_t n = strlen(node);
    while (*after != '\0') {
        size_t all = strcspn(after, ",");
        if (all > n && after[n] == '.' && memcmp(after, node, n) == 0)
            return strtoull(after + n + 1, NULL, 16);
        after += all + (after[all] == ',');
    }
    return newest;
}

int ops_events(void *ctx, const struct admin_events *q, struct admin_events_info *info, struct buf *out,
               struct admin_error *e)
{
    struct node *n = ctx;
    struct events_tail *tail = events_tail(n->events);
    struct config *config = node_config(n);
    struct words w = { .nends = 0 };
    int err = tail == NULL ? admin_fail(e, ERR_NOT_FOUND, "the event log is off: set log.events") : 0;
    buf_init(&w.text, 16384);
    if (err == 0)
        err = fill(&w, q, e);
    if (err == 0) {
        uint64_t at = q->after != NULL ? place_of(q->after, config->name, events_tail_last(tail))
                                       : events_tail_back(tail, &w.filter, q->limit);
        info->gap = events_tail_read(tail, &at, &w.filter, q->limit, out) && q->after != NULL;
        snprintf(info->next, sizeof info->next, "%s.%" PRIx64, config->name, at);
    }
    buf_fini(&w.text);
    config_rele(config);
    return err;
}
