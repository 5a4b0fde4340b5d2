/* Handler about one site: what it is given on all nodes, by pool and source address, and what is in force.
 * Admin threads. */
#include "node/admin/member.h"

#include "base/err.h"

#include <errno.h>
#include <stdlib.h>

struct local {
    const char *site;
    json_t *shares, *holds;
    size_t sources; /* of all shares */
    bool cut;
};

#define SOURCES_MAX 10000 /* of one answer */

/* ---- this node's ----------------------------------------------------------------------------------------
 */

static int on_share(void *arg, const struct admin_site_share *s)
{
    struct local *l = arg;
    json_t *sources = json_array();
    for (uint32_t i = 0; i < s->nsources; i++) {
        const struct admin_site_source *from = &s->sources[i];
        bool bounded = s->conns_each > 0 && s->conns_each < s->conns_max;
        json_array_append_new(sources,
                              json_pack("{s:o,s:I,s:I}", "address", member_text(span_str(from->address)),
                                        "conns", (json_int_t)from->conns, "conns_max",
                                        (json_int_t)(bounded ? s->conns_each : s->conns_max)));
    }
    json_t *row =
        json_pack("{s:o,s:o,s:I,s:I,s:b,s:I,s:I,s:I,s:I}", "site", member_text(s->site), "pool",
                  member_text(s->pool), "conns", (json_int_t)s->conns, "conns_max", (json_int_t)s->conns_max,
                  "backoff", s->backoff, "domains", (json_int_t)s->domains, "waiting", (json_int_t)s->waiting,
                  "active", (json_int_t)s->active, "held", (json_int_t)s->held);
    bool rate = s->rate_count > 0;
    json_object_set_new(row, "rate_count", rate ? json_integer(s->rate_count) : json_null());
    json_object_set_new(row, "rate_ms", rate ? json_integer(s->rate_ms) : json_null());
    json_object_set_new(row, "sources", sources);
    json_array_append_new(l->shares, row);
    l->sources += s->nsources;
    l->cut = l->sources > SOURCES_MAX || json_array_size(l->shares) == ADMIN_ROWS_MAX;
    return l->cut;
}

/* Also what is in force for the site of a destination. */
static bool concerns(const struct local *l, struct span key)
{
    size_t i;
    json_t *row;
    if (member_about_site(key, l->site))
        return true;
    json_array_foreach(l->shares, i, row)
    {
        const char *site = json_string_value(json_object_get(row, "site"));
        if (site != NULL && span_eq_nocase(key, span_str(site)))
            return true;
    }
    return false;
}

static int on_hold(void *arg, const struct admin_site_hold *h)
{
    struct local *l = arg;
    if (!concerns(l, h->site))
        return 0;
    if (json_array_size(l->holds) == ADMIN_ROWS_MAX) {
        l->cut = true;
        return 1;
    }
    json_t *row = json_pack("{s:o,s:o,s:o,s:I,s:I}", "site", member_text(h->site), "action",
                            member_text(h->action), "source", member_text(h->source), "since_ms",
                            (json_int_t)h->since_ms, "until_ms", (json_int_t)h->until_ms);
    json_object_set_new(row, "rule", member_text(h->rule));
    json_object_set_new(row, "reply", member_text(h->reply));
    json_object_set_new(row, "by", member_text(h->by));
    json_array_append_new(l->holds, row);
    return 0;
}

/* ---- all nodes' ------------------------------------------------------------------------------------------
 */

static void take(json_t *into, const json_t *rows, const char *node)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        json_object_set_new(row, "node", json_string(node));
        json_array_append(into, row);
    }
}

static int ask_all(struct admin_call *c, struct local *l, json_t **missing)
{
    json_t *answers, *answer;
    size_t i;
    int err = member_ask(c, &answers, missing);
    json_array_foreach(answers, i, answer)
    {
        const json_t *body = json_object_get(answer, "body");
        const char *node = json_string_value(json_object_get(answer, "node"));
        take(l->shares, json_object_get(body, "shares"), node);
        take(l->holds, json_object_get(body, "holds"), node);
        l->cut = l->cut || json_is_true(json_object_get(body, "cut"));
    }
    json_decref(answers);
    return err;
}

/* ---- addresses that warm up ------------------------------------------------------------------------------
 */

struct place {
    struct span site;
    json_t *warmup;
};

static int on_warming(void *arg, const struct directory_warming_site *s)
{
    struct place *p = arg;
    if (!span_eq(s->site, p->site))
        return 0;
    p->warmup = member_warming(s);
    return 1;
}

static void put_warmup(const struct machine *m, const char *site, json_t *source)
{
    const char *slash = strrchr(site, '/'), *address = json_string_value(json_object_get(source, "address"));
    struct place p = { .site = span_str(slash != NULL ? slash + 1 : site) };
    struct directory_warming w;
    if (p.site.n > COMMAND_WARMUP_SITE_MAX)
        p.site.n = COMMAND_WARMUP_SITE_MAX;
    if (m != NULL && address != NULL && directory_warming_find(m, span_str(address), &w))
        (void)directory_warming_site_each(m, w.address, on_warming, &p);
    json_object_set_new(source, "warmup", p.warmup != NULL ? p.warmup : json_null());
}

static void put_warmups(struct admin_call *c, const json_t *shares)
{
    struct machine *m = member_is(c) ? c->cluster->machine(c->cluster_ctx) : NULL;
    size_t i, k;
    json_t *share, *source;
    if (m != NULL)
        machine_read_lock(m);
    json_array_foreach(shares, i, share)
    {
        json_array_foreach(json_object_get(share, "sources"), k, source)
        {
            const char *site = json_string_value(json_object_get(share, "site"));
            put_warmup(m, site != NULL ? site : "", source);
        }
    }
    if (m != NULL)
        machine_read_unlock(m);
}

/* ---- the answer ------------------------------------------------------------------------------------------
 */

static int reply(struct admin_call *c, struct local *l, json_t *missing)
{
    put_warmups(c, l->shares);
    json_t *j = json_pack("{s:o,s:O,s:O,s:b}", "site", member_text(span_str(l->site)), "shares", l->shares,
                          "holds", l->holds, "cut", l->cut);
    return member_reply(c, j, missing);
}

int admin_on_site_show(struct admin_call *c)
{
    json_t *missing = NULL;
    bool all;
    if (c->ops->site_shares == NULL || c->ops->site_holds == NULL)
        return admin_missing(c);
    int err = member_asks_all(c, true, &all);
    if (err != 0)
        return err;
    struct local l = { .site = admin_arg_str(c->args, "site"),
                       .shares = json_array(),
                       .holds = json_array() };
    if (all) {
        err = ask_all(c, &l, &missing);
    } else {
        err = c->ops->site_shares(c->ops->ctx, l.site, on_share, &l, &c->e);
        if (err == 0)
            err = c->ops->site_holds(c->ops->ctx, NULL, UINT32_MAX, on_hold, &l, &c->e);
    }
    if (err == 0)
        err = reply(c, &l, missing);
    json_decref(l.shares);
    json_decref(l.holds);
    json_decref(missing);
    return err;
}
