/* Handlers about one source address: its record with the sites, on all nodes. Admin threads. */
#include "node/admin/member.h"

#include "base/err.h"
#include "base/text.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

static const char *const windows[ADMIN_IP_WINDOWS] = { "hour", "day" };

/* ---- this node's ----------------------------------------------------------------------------------------
 */

struct local {
    json_t *sites, *holds;
    const char *address, *site; /* site NULL: all */
};

static json_t *text_of(struct span s)
{
    return s.n == 0 ? json_null() : json_stringn_nocheck(s.p, s.n);
}

static json_t *counts_of(const struct admin_ip_counts *n)
{
    json_t *classes = json_object();
    for (int i = 0; i < BOUNCE_CLASSES; i++) {
        if (n->meant[0][i] + n->meant[1][i] == 0)
            continue;
        json_object_set_new(classes, bounce_class_name((enum bounce_class)i),
                            json_pack("{s:I,s:I}", "deferred", (json_int_t)n->meant[0][i], "refused",
                                      (json_int_t)n->meant[1][i]));
    }
    return json_pack("{s:I,s:I,s:I,s:o}", "delivered", (json_int_t)n->delivered, "deferred",
                     (json_int_t)n->deferred, "refused", (json_int_t)n->refused, "classes", classes);
}

json_t *member_text(struct span s)
{
    struct buf text;
    json_t *j = NULL;
    buf_init(&text, 6 * s.n + 16);
    if (s.n > 0 && text_put_json(&text, s) == 0)
        j = json_loadb(text.data, text.len, JSON_DECODE_ANY, NULL);
    buf_fini(&text);
    return j != NULL ? j : json_null();
}

static int on_site(void *arg, const struct admin_ip_site *s)
{
    struct local *l = arg;
    json_t *row = json_pack("{s:o}", "site", text_of(s->site));
    for (int w = 0; w < ADMIN_IP_WINDOWS; w++)
        json_object_set_new(row, windows[w], counts_of(&s->windows[w]));
    json_object_set_new(row, "reply", member_text(s->reply));
    json_object_set_new(row, "reply_ms", s->reply_ms == 0 ? json_null() : json_integer(s->reply_ms));
    return json_array_append_new(l->sites, row);
}

bool member_about_site(struct span key, const char *site)
{
    const char *slash = key.n > 0 ? memchr(key.p, '/', key.n) : NULL;
    return span_eq(key, SPAN_LIT("*")) || span_eq_nocase(key, span_str(site)) ||
           (slash != NULL && span_eq_nocase(span_sub(key, (size_t)(slash - key.p) + 1), span_str(site)));
}

static int on_hold(void *arg, const struct admin_site_hold *h)
{
    struct local *l = arg;
    if (!span_eq(h->source, span_str(l->address)) || (l->site != NULL && !member_about_site(h->site, l->site)))
        return 0;
    return json_array_append_new(l->holds,
                                 json_pack("{s:o,s:o,s:I,s:I,s:o,s:o,s:o}", "site", member_text(h->site),
                                           "action", text_of(h->action), "since_ms", (json_int_t)h->since_ms,
                                           "until_ms", (json_int_t)h->until_ms, "rule", member_text(h->rule),
                                           "reply", member_text(h->reply), "by", member_text(h->by)));
}

static int local_rows(struct admin_call *c, struct local *l)
{
    int err = c->ops->ip_record(c->ops->ctx, l->address, l->site, on_site, l, &c->e);
    if (err == 0 && c->ops->site_holds != NULL)
        err = c->ops->site_holds(c->ops->ctx, NULL, UINT32_MAX, on_hold, l, &c->e);
    return err;
}

/* ---- all nodes' ------------------------------------------------------------------------------------------
 */

static json_t *row_of(json_t *rows, const char *key, const json_t *name, const char *key2,
                      const json_t *name2)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        if (json_equal(json_object_get(row, key), (json_t *)(uintptr_t)name) &&
            (key2 == NULL || json_equal(json_object_get(row, key2), (json_t *)(uintptr_t)name2)))
            return row;
    }
    return NULL;
}

/* Numbers are added up, in objects of objects, too. */
static void add_deep(json_t *into, json_t *from)
{
    const char *key;
    json_t *v;
    json_object_foreach(from, key, v)
    {
        json_t *was = json_object_get(into, key);
        if (was == NULL)
            json_object_set(into, key, v);
        else if (json_is_object(was))
            add_deep(was, v);
        else if (json_is_integer(was))
            json_object_set_new(into, key, json_integer(json_integer_value(was) + json_integer_value(v)));
    }
}

static void add_site(json_t *sites, json_t *from)
{
    json_t *row = row_of(sites, "site", json_object_get(from, "site"), NULL, NULL);
    if (row == NULL) {
        json_array_append(sites, from);
        return;
    }
    for (int w = 0; w < ADMIN_IP_WINDOWS; w++)
        add_deep(json_object_get(row, windows[w]), json_object_get(from, windows[w]));
    if (json_integer_value(json_object_get(from, "reply_ms")) >
        json_integer_value(json_object_get(row, "reply_ms"))) {
        json_object_set(row, "reply", json_object_get(from, "reply"));
        json_object_set(row, "reply_ms", json_object_get(from, "reply_ms"));
    }
}

static void add_answer(struct local *l, const json_t *body)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(body, "sites"), i, row)
    {
        add_site(l->sites, row);
    }
    json_array_foreach(json_object_get(body, "holds"), i, row)
    {
        if (row_of(l->holds, "site", json_object_get(row, "site"), "action",
                   json_object_get(row, "action")) == NULL)
            json_array_append(l->holds, row);
    }
}

static int ask_all(struct admin_call *c, struct local *l, json_t **missing)
{
    json_t *answers, *answer;
    size_t i;
    int err = member_ask(c, &answers, missing);
    json_array_foreach(answers, i, answer)
    {
        add_answer(l, json_object_get(answer, "body"));
    }
    json_decref(answers);
    return err;
}

/* ---- what the cluster knows ------------------------------------------------------------------------------
 */

struct head {
    struct admin_call *c;
    const struct machine *m;
    struct span address;
    json_t *j;
};

static int on_ip(void *arg, const struct directory_ip *ip)
{
    struct head *h = arg;
    struct json_out j;
    struct buf text;
    if (!span_eq(ip->address, h->address))
        return 0;
    buf_init(&text, 16384);
    json_out_begin(&j, &text);
    member_put_ip(&j, h->m, ip);
    if (json_out_end(&j) == 0)
        h->j = json_loadb(text.data, text.len, 0, NULL);
    buf_fini(&text);
    return 1;
}

json_t *member_warming(const struct directory_warming_site *s)
{
    return json_pack("{s:i,s:b,s:I,s:I}", "step", (int)s->step, "warm", s->warm, "volume", (json_int_t)s->volume,
                     "reserved", (json_int_t)s->reserved);
}

static int on_warming(void *arg, const struct directory_warming_site *s)
{
    json_t *row, *sites = arg;
    json_t *name = member_text(s->site);
    row = row_of(sites, "site", name, NULL, NULL);
    if (row != NULL)
        json_object_set_new(row, "warmup", member_warming(s));
    json_decref(name);
    return 0;
}

/* The address's place in the cluster, or an empty object; its plan goes to the sites' rows. */
static json_t *head_of(struct admin_call *c, struct local *l)
{
    struct head h = { .c = c, .address = span_str(l->address) };
    struct machine *m = member_is(c) ? c->cluster->machine(c->cluster_ctx) : NULL;
    struct directory_warming w;
    bool warms = false;
    if (m != NULL) {
        machine_read_lock(m);
        h.m = m;
        (void)directory_ip_each(m, on_ip, &h);
        warms = directory_warming_find(m, h.address, &w);
        if (warms)
            (void)directory_warming_site_each(m, h.address, on_warming, l->sites);
        machine_read_unlock(m);
    }
    if (h.j == NULL)
        h.j = json_object();
    json_object_set_new(h.j, "address", json_string(l->address));
    json_object_set_new(h.j, "warming", json_boolean(warms));
    return h.j;
}

/* ---- the answer ------------------------------------------------------------------------------------------
 */

static double share(json_int_t part, json_int_t all)
{
    return all == 0 ? 0 : (double)(part * 1000 / all) / 1000.0;
}

static json_int_t number(const json_t *j, const char *key)
{
    return json_integer_value(json_object_get(j, key));
}

/* Busiest first: by the last day's recipients. */
static int busiest(const void *a, const void *b)
{
    json_int_t n[2];
    for (int i = 0; i < 2; i++) {
        const json_t *day = json_object_get(*(json_t *const *)(i == 0 ? a : b), "day");
        n[i] = number(day, "delivered") + number(day, "deferred") + number(day, "refused");
    }
    if (n[0] != n[1])
        return n[0] > n[1] ? -1 : 1;
    const char *x = json_string_value(json_object_get(*(json_t *const *)a, "site"));
    const char *y = json_string_value(json_object_get(*(json_t *const *)b, "site"));
    return strcmp(x != NULL ? x : "", y != NULL ? y : "");
}

static void put_shares(json_t *row)
{
    for (int w = 0; w < ADMIN_IP_WINDOWS; w++) {
        json_t *n = json_object_get(row, windows[w]);
        json_int_t deferred = number(n, "deferred"), refused = number(n, "refused");
        json_int_t all = number(n, "delivered") + deferred + refused;
        json_object_set_new(n, "deferred_share", json_real(share(deferred, all)));
        json_object_set_new(n, "refused_share", json_real(share(refused, all)));
    }
    if (json_object_get(row, "warmup") == NULL)
        json_object_set_new(row, "warmup", json_null());
}

/* The busiest `limit` of them, with shares. */
static json_t *ordered(const json_t *sites, size_t limit, bool *cut)
{
    size_t n = json_array_size(sites), i;
    json_t **rows = calloc(n + 1, sizeof *rows), *out = json_array();
    if (rows == NULL)
        return out;
    for (i = 0; i < n; i++)
        rows[i] = json_array_get(sites, i);
    qsort(rows, n, sizeof *rows, busiest);
    *cut = n > limit;
    for (i = 0; i < n && i < limit; i++) {
        put_shares(rows[i]);
        json_array_append(out, rows[i]);
    }
    free(rows);
    return out;
}

static int reply(struct admin_call *c, struct local *l, json_t *missing)
{
    bool cut = false;
    json_t *j = head_of(c, l);
    json_object_set_new(j, "sites", ordered(l->sites, (size_t)admin_arg_int(c->args, "limit", 100), &cut));
    json_object_set(j, "holds", l->holds);
    json_object_set_new(j, "cut", json_boolean(cut));
    return member_reply(c, j, missing);
}

int admin_on_ip_show(struct admin_call *c)
{
    char text[INET6_ADDRSTRLEN];
    struct span address;
    json_t *missing = NULL;
    bool all;
    if (c->ops->ip_record == NULL)
        return admin_missing(c);
    int err = member_address(c, text, &address);
    if (err == 0)
        err = member_asks_all(c, true, &all);
    if (err != 0)
        return err;
    struct local l = {
        .address = text, .site = admin_arg_str(c->args, "site"), .sites = json_array(), .holds = json_array()
    };
    err = all ? ask_all(c, &l, &missing) : local_rows(c, &l);
    if (err == 0)
        err = reply(c, &l, missing);
    json_decref(l.sites);
    json_decref(l.holds);
    json_decref(missing);
    return err;
}
