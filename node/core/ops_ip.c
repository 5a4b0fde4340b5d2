/* The admin API: what sites answered to a source address. Admin threads. */
#include "node/core/egress_rest.h"
#include "node/core/ops_shaping.h"

#include "base/err.h"
#include "node/core/node.h"

#include <errno.h>
#include <stdlib.h>

_Static_assert((int)ADMIN_IP_HOUR == SOURCE_HOUR && (int)ADMIN_IP_DAY == SOURCE_DAY, "one number");

struct walk {
    const char *site;
    struct source_row *rows; /* spans into texts */
    char **texts;
    size_t n, cap;
    bool no_memory;
};

static bool grow(struct walk *walk)
{
    size_t cap = walk->cap == 0 ? 64 : walk->cap * 2;
    struct source_row *rows = realloc(walk->rows, cap * sizeof *rows);
    if (rows != NULL)
        walk->rows = rows;
    char **texts = rows == NULL ? NULL : realloc(walk->texts, cap * sizeof *texts);
    if (texts == NULL)
        return false;
    walk->texts = texts;
    walk->cap = cap;
    return true;
}

static void on_row(void *ctx, const struct source_row *row)
{
    struct walk *walk = ctx;
    if (walk->no_memory || (walk->site != NULL && !span_eq_nocase(row->site, span_str(walk->site))))
        return;
    char *text = malloc(row->site.n + row->reply.n + 1);
    if (text == NULL || (walk->n == walk->cap && !grow(walk))) {
        free(text);
        walk->no_memory = true;
        return;
    }
    struct source_row *to = &walk->rows[walk->n];
    *to = *row;
    memcpy(text, row->site.p, row->site.n);
    if (row->reply.n > 0)
        memcpy(text + row->site.n, row->reply.p, row->reply.n);
    to->site.p = text;
    to->reply.p = text + row->site.n;
    walk->texts[walk->n++] = text;
}

static int compare(const void *a, const void *b)
{
    struct span x = ((const struct source_row *)a)->site, y = ((const struct source_row *)b)->site;
    int order = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
    return order != 0 ? order : (x.n > y.n) - (x.n < y.n);
}

/* What another worker counted for the same site. */
static void add(struct admin_ip_site *to, const struct source_row *row)
{
    for (int w = 0; w < ADMIN_IP_WINDOWS; w++) {
        const struct source_counts *from = &row->windows[w];
        to->windows[w].delivered += from->n[SOURCE_DELIVERED];
        to->windows[w].deferred += from->n[SOURCE_DEFERRED];
        to->windows[w].refused += from->n[SOURCE_REFUSED];
        for (int k = 0; k < 2 * BOUNCE_CLASSES; k++)
            to->windows[w].meant[k / BOUNCE_CLASSES][k % BOUNCE_CLASSES] +=
                from->meant[k / BOUNCE_CLASSES][k % BOUNCE_CLASSES];
    }
    if (row->reply_ms > to->reply_ms) {
        to->reply = row->reply;
        to->reply_ms = row->reply_ms;
    }
}

int ops_ip_record(void *ctx, const char *address, const char *site, admin_ip_site_fn *fn, void *arg,
                  struct admin_error *e)
{
    struct walk walk = { .site = site };
    struct ip_addr addr;
    int enough = 0;
    if (ip_addr_parse(span_str(address), &addr) != 0)
        return admin_fail(e, ERR_BAD, "%s is no IP address", address);
    egress_rest_each(ctx, &addr, on_row, &walk);
    if (walk.n > 0)
        qsort(walk.rows, walk.n, sizeof *walk.rows, compare);
    for (size_t i = 0; i < walk.n && !walk.no_memory && enough == 0;) {
        struct admin_ip_site sum = { .site = walk.rows[i].site };
        for (; i < walk.n && span_eq(walk.rows[i].site, sum.site); i++)
            add(&sum, &walk.rows[i]);
        enough = fn(arg, &sum);
    }
    for (size_t i = 0; i < walk.n; i++)
        free(walk.texts[i]);
    free(walk.texts);
    free(walk.rows);
    return walk.no_memory ? admin_fail(e, -ENOMEM, "%s", err_text(-ENOMEM)) : 0;
}
