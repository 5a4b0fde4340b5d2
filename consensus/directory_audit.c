/* The audit trail: a line for each act of an operator that was done, the oldest dropped when there are too
 * many. */
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LINE_MAX_BYTES 1024 /* a longer one is cut */
#define OVERHEAD 160        /* memory of a line besides its texts */

struct line {
    struct store_rec rec;
    uint64_t id;
    int64_t wall_ms;
    struct span who, what;
};

static struct span line_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return span_of(&((const struct line *)rec)->id, sizeof(uint64_t));
}

static void line_encode(const struct store_rec *rec, struct buf *out)
{
    const struct line *l = (const struct line *)rec;
    (void)buf_put_u64(out, l->id);
    (void)buf_put_u64(out, (uint64_t)l->wall_ms);
    (void)buf_put_counted(out, l->who);
    (void)buf_put_counted(out, l->what);
}

static void line_free(struct store_rec *rec)
{
    struct line *l = (struct line *)rec;
    directory_texts_free(TEXTS(&l->who, &l->what));
    free(l);
}

static int line_decode(struct cursor *c, struct store_rec **out)
{
    struct line *l = calloc(1, sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    l->id = cursor_u64(c);
    l->wall_ms = (int64_t)cursor_u64(c);
    int err = directory_texts_decode(c, TEXTS(&l->who, &l->what));
    if (err != 0)
        line_free(&l->rec);
    else
        *out = &l->rec;
    return err;
}

const struct store_type directory_audit_type = { 33, "audit", line_key, line_encode, line_decode, line_free };

static uint64_t bytes_of(const struct line *l)
{
    return l->who.n + l->what.n + OVERHEAD;
}

static struct line *last_of(const struct list *all)
{
    return list_empty(all) ? NULL : LIST_ITEM(all->prev, struct line, rec.link);
}

static void bound(struct machine *m, const struct line *newest)
{
    struct list *all = store_all(m->store, &directory_audit_type);
    while (store_len(m->store, &directory_audit_type) > m->config.audit_entries ||
           m->directory->audit_bytes > m->config.audit_bytes) {
        struct line *oldest = LIST_ITEM(list_first(all), struct line, rec.link);
        if (oldest == newest)
            return;
        m->directory->audit_bytes -= bytes_of(oldest);
        store_remove(m->store, &oldest->rec);
    }
}

int directory_audit(struct machine *m, const struct machine_at *at, const struct command_by *by,
                    const char *fmt, ...)
{
    char text[LINE_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct line *l = calloc(1, sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    const struct line *last = last_of(store_all(m->store, &directory_audit_type));
    l->id = last != NULL && last->id >= at->id ? last->id + 1 : at->id;
    l->wall_ms = by->wall_ms;
    struct span who = by->who.n != 0 ? by->who : SPAN_LIT("cluster");
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    int err = directory_texts_copy(TEXTS(&l->who, &l->what), (struct span[]){ who, span_of(text, len) });
    if (err == 0)
        err = store_add(m->store, &directory_audit_type, &l->rec);
    if (err != 0) {
        line_free(&l->rec);
        return err;
    }
    m->directory->audit_bytes += bytes_of(l);
    bound(m, l);
    return 0;
}

/* Part of an address, or of a longer one. */
static bool goes_on(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (unsigned char)c >= 0x80 ||
           (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* At *at or behind it; a name that only begins or ends so is another. */
static bool find_address(struct span text, struct span address, size_t *at)
{
    for (; *at + address.n <= text.n; ++*at) {
        const char *p = text.p + *at, *end = p + address.n, *all = text.p + text.n;
        if (memcmp(p, address.p, address.n) != 0)
            continue;
        bool longer = (*at > 0 && (goes_on(p[-1]) || p[-1] == '.')) || (end < all && goes_on(*end)) ||
                      (end + 1 < all && *end == '.' && goes_on(end[1]));
        if (!longer)
            return true;
    }
    return false;
}

/* 0, 1: there was something to replace, or -ENOMEM. */
static int replaced(struct span text, struct span address, struct span with, struct buf *out)
{
    size_t from = 0, at = 0;
    buf_reset(out);
    if (!find_address(text, address, &at))
        return 0;
    do {
        (void)buf_put(out, text.p + from, at - from);
        (void)buf_put_span(out, with);
        from = at += address.n;
    } while (find_address(text, address, &at));
    (void)buf_put(out, text.p + from, text.n - from);
    return buf_err(out) != 0 ? -ENOMEM : 1;
}

int directory_audit_replace(struct machine *m, struct span address, struct span with)
{
    struct buf out;
    int err = 0;
    buf_init(&out, 8 * LINE_MAX_BYTES);
    LIST_EACH(link, store_all(m->store, &directory_audit_type))
    {
        struct line *l = LIST_ITEM(link, struct line, rec.link);
        int found = err == 0 ? replaced(l->what, address, with, &out) : 0;
        if (found < 0)
            err = found;
        if (found <= 0)
            continue;
        store_touch(m->store, &l->rec);
        m->directory->audit_bytes -= bytes_of(l);
        err = directory_text_set(&l->what, buf_span(&out));
        m->directory->audit_bytes += bytes_of(l);
    }
    buf_fini(&out);
    return err;
}

int directory_held_exempt(struct machine *m, const struct machine_at *at, const struct command *cmd,
                          struct machine_result *r)
{
    const struct command_held_exempt *c = &cmd->held_exempt;
    (void)r;
    return directory_audit(m, at, &c->by, "%.*s releases held mail of %.*s, %u recipients, exempt from limits%s%.*s",
                           (int)c->operator_name.n, c->operator_name.p, (int)c->what.n, c->what.p, c->recipients,
                           c->reason.n > 0 ? ": " : "", (int)c->reason.n, c->reason.p);
}

void directory_audit_restored(struct machine *m)
{
    m->directory->audit_bytes = 0;
    LIST_EACH(link, store_all(m->store, &directory_audit_type))
    m->directory->audit_bytes += bytes_of(LIST_ITEM(link, struct line, rec.link));
}

int directory_audit_each(const struct machine *m, uint64_t before, directory_audit_fn *fn, void *arg)
{
    const struct list *all = store_all(m->store, &directory_audit_type);
    int stop = 0;
    for (const struct list *link = all->prev; stop == 0 && link != all; link = link->prev) {
        const struct line *l = LIST_ITEM(link, struct line, rec.link);
        if (before == 0 || l->id < before)
            stop = fn(arg, &(struct directory_audit){ l->id, l->wall_ms, l->who, l->what });
    }
    return stop;
}
