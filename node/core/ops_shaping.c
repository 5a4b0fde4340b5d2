/* The admin API: what is in force against destinations, and an operator's word in it. Admin threads. */
#include "node/core/ops_shaping.h"

#include "base/clock.h"
#include "base/err.h"
#include "node/core/cluster.h"
#include "node/core/egress.h"
#include "node/core/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct row {
    struct admin_site_hold hold; /* spans into text */
    char *text;
};

struct walk {
    const char *site;
    struct row *rows;
    size_t n, cap;
    int err;
};

static struct span keep(char **at, struct span s)
{
    char *to = *at;
    if (s.n > 0)
        memcpy(to, s.p, s.n);
    *at += s.n;
    return span_of(to, s.n);
}

static void add(struct walk *walk, const struct shaping_hold *x)
{
    if (walk->n == walk->cap) {
        size_t cap = walk->cap == 0 ? 64 : walk->cap * 2;
        struct row *rows = realloc(walk->rows, cap * sizeof *rows);
        if (rows == NULL) {
            walk->err = -ENOMEM;
            return;
        }
        walk->rows = rows;
        walk->cap = cap;
    }
    char *at = malloc(x->key.n + x->source.n + x->rule.n + x->reply.n + x->by.n + 1);
    if (at == NULL) {
        walk->err = -ENOMEM;
        return;
    }
    struct row *r = &walk->rows[walk->n++];
    *r = (struct row){ .text = at };
    r->hold = (struct admin_site_hold){ .site = keep(&at, x->key),
                                        .action = span_str(shaping_action_names[x->kind]),
                                        .source = keep(&at, x->source),
                                        .rule = keep(&at, x->rule),
                                        .reply = keep(&at, x->reply),
                                        .by = keep(&at, x->by),
                                        .since_ms = x->since_ms,
                                        .until_ms = x->until_ms };
}

static void walk_holds(struct node *n, struct walk *walk)
{
    const struct shaping_hold *x;
    int64_t now = clock_wall_ms();
    uv_mutex_lock(&n->holds.lock);
    for (uint32_t at = 0; walk->err == 0 && (x = shaping_hold_next(n->holds.v, &at)) != NULL;)
        if (x->until_ms > now && (walk->site == NULL || span_eq_nocase(x->key, span_str(walk->site))))
            add(walk, x);
    uv_mutex_unlock(&n->holds.lock);
}

static int compare(const void *a, const void *b)
{
    const struct admin_site_hold *x = &((const struct row *)a)->hold, *y = &((const struct row *)b)->hold;
    size_t n = x->site.n < y->site.n ? x->site.n : y->site.n;
    int order = memcmp(x->site.p, y->site.p, n);
    return order != 0 ? order : (x->site.n > y->site.n) - (x->site.n < y->site.n);
}

int ops_site_holds(void *ctx, const char *site, uint32_t limit, admin_hold_fn *fn, void *arg,
                   struct admin_error *e)
{
    struct node *n = ctx;
    struct walk walk = { .site = site };
    int enough = 0;
    walk_holds(n, &walk);
    if (walk.n > 0)
        qsort(walk.rows, walk.n, sizeof *walk.rows, compare);
    for (size_t i = 0; i < walk.n; i++) {
        if (walk.err == 0 && i < limit && enough == 0)
            enough = fn(arg, &walk.rows[i].hold);
        free(walk.rows[i].text);
    }
    free(walk.rows);
    return walk.err == 0 ? 0 : admin_fail(e, walk.err, "%s", err_text(walk.err));
}

static int kind_of(const char *action)
{
    for (int i = 0; i < SHAPING_ACTIONS; i++)
        if (strcmp(action, shaping_action_names[i]) == 0)
            return i;
    return SHAPING_NONE;
}

int ops_site_hold(void *ctx, const struct admin_caller *by, const char *site, const char *action,
                  const char *source, int64_t for_ms, struct admin_error *e)
{
    struct node *n = ctx;
    char key[SHAPING_KEY_MAX], ip[IP_TEXT_MAX] = "";
    struct ip_addr addr;
    int64_t now = clock_wall_ms();
    bool rests = strcmp(action, "disable_source") == 0;
    if (strlen(site) >= sizeof key)
        return admin_fail(e, ERR_BAD, "the site's name is longer than %zu bytes", sizeof key - 1);
    for (size_t i = 0; i <= strlen(site); i++) /* a pool's name keeps its case */
        key[i] = site[i] >= 'A' && site[i] <= 'Z' && strchr(site + i, '/') == NULL
                     ? (char)(site[i] + 'a' - 'A')
                     : site[i];
    if (source != NULL && ip_addr_parse(span_str(source), &addr) != 0)
        return admin_fail(e, ERR_BAD, "%s is no IP address", source);
    if (source != NULL)
        (void)ip_addr_format(&addr, ip);
    if (rests != (source != NULL) && strcmp(action, "none") != 0)
        return admin_fail(e, ERR_BAD,
                          rests ? "disable_source needs the source address" : "source is for disable_source");
    struct shaping_hold hold = { .key = span_str(key),
                                 .kind = kind_of(action),
                                 .source = span_str(ip),
                                 .since_ms = now,
                                 .until_ms = now + for_ms,
                                 .by = span_str(by->text) };
    if (hold.by.n > SHAPING_BY_MAX)
        hold.by.n = SHAPING_BY_MAX;
    egress_shaping_hear(n, &hold, false);
    if (n->cluster != NULL)
        cluster_shaping_tell(n->cluster, &hold);
    return 0;
}
