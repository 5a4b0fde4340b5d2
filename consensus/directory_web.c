/* Web senders: which names the headers of shared hosts' mail have made, so that there are not more of them
 * than the policy allows, on all nodes together. A node claims a name before it charges mail to it, and again
 * long before the claim ends; what was not claimed for so long is forgotten by the next claim, in which all
 * nodes apply the same. What a name is charged, frozen or counted for is kept elsewhere, as of any sender.
 *
 * Bounded by the proposer's policy for each host and over all, and by DIRECTORY_WEBS_MAX. From feature level
 * 7 on.
 */
#include "consensus/directory_impl.h"
#include "consensus/web_sender.h"

#include <errno.h>
#include <stdlib.h>

struct web {
    struct store_rec rec;
    struct heap_node timer;               /* until_ms */
    uint64_t since_ms, seen_ms, until_ms; /* cluster time */
    uint16_t n;
    char name[];
};

static struct span name_of(const struct web *w)
{
    return span_of(w->name, w->n);
}

static struct span web_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return name_of((const struct web *)rec);
}

static void web_encode(const struct store_rec *rec, struct buf *out)
{
    const struct web *w = (const struct web *)rec;
    (void)buf_put_counted(out, name_of(w));
    (void)buf_put_u64(out, w->since_ms);
    (void)buf_put_u64(out, w->seen_ms);
    (void)buf_put_u64(out, w->until_ms);
}

static void web_free(struct store_rec *rec)
{
    free(rec);
}

static bool name_ok(struct span name)
{
    return web_sender_ok(name) && directory_account_name_ok(web_sender_host(name));
}

static struct web *make(struct span name)
{
    struct web *w = calloc(1, sizeof *w + name.n);
    if (w == NULL)
        return NULL;
    w->n = (uint16_t)name.n;
    memcpy(w->name, name.p, name.n);
    return w;
}

static int web_decode(struct cursor *c, struct store_rec **out)
{
    struct span name = cursor_counted(c);
    uint64_t since_ms = cursor_u64(c), seen_ms = cursor_u64(c), until_ms = cursor_u64(c);
    if (cursor_err(c) != 0)
        return cursor_err(c);
    if (!name_ok(name) || until_ms > INT64_MAX || seen_ms > until_ms || since_ms > seen_ms)
        return ERR_CORRUPT;
    struct web *w = make(name);
    if (w == NULL)
        return -ENOMEM;
    w->since_ms = since_ms;
    w->seen_ms = seen_ms;
    w->until_ms = until_ms;
    *out = &w->rec;
    return 0;
}

const struct store_type directory_web_type = { 200, "web-sender", web_key, web_encode, web_decode, web_free };

static struct web *find(const struct machine *m, struct span name)
{
    return (struct web *)store_find(m->store, &directory_web_type, name);
}

int directory_webs_restored(struct machine *m)
{
    struct directory *d = m->directory;
    int err = 0;
    heap_fini(&d->web_ends);
    heap_init(&d->web_ends);
    LIST_EACH(link, store_all(m->store, &directory_web_type))
    {
        struct web *w = LIST_ITEM(link, struct web, rec.link);
        if (err == 0)
            err = heap_add(&d->web_ends, &w->timer, (int64_t)w->until_ms);
    }
    return err;
}

static void drop(struct machine *m, struct web *w)
{
    heap_remove(&m->directory->web_ends, &w->timer);
    directory_drop(m, &m->directory->webs, &w->rec);
}

/* All that have ended: which ones does not depend on the heap's order among equals. */
static void forget_ended(struct machine *m, uint64_t now_ms)
{
    struct heap_node *first;
    while ((first = heap_first(&m->directory->web_ends)) != NULL && first->key <= (int64_t)now_ms)
        drop(m, HEAP_ITEM(first, struct web, timer));
}

/* The next name of a host, or NULL. */
static struct web *next_of(const struct directory_index *ix, struct directory_place *place, struct span host)
{
    struct web *w = (struct web *)directory_index_next(ix, place);
    return w != NULL && span_eq(web_sender_host(name_of(w)), host) ? w : NULL;
}

/* Before the first name of a host. */
static struct directory_place place_of(const struct machine *m, struct span host, char scratch[STORE_KEY_MAX])
{
    const struct span prefix = SPAN_LIT(WEB_SENDER_PREFIX);
    memcpy(scratch, prefix.p, prefix.n);
    memcpy(scratch + prefix.n, host.p, host.n);
    scratch[prefix.n + host.n] = '/';
    return directory_index_after(&m->directory->webs, span_of(scratch, prefix.n + host.n + 1));
}

/* At least so many names are a host's. */
static bool has_so_many(const struct machine *m, struct span host, uint32_t most)
{
    char scratch[STORE_KEY_MAX];
    struct directory_place place = place_of(m, host, scratch);
    uint32_t n = 0;
    while (n < most && next_of(&m->directory->webs, &place, host) != NULL)
        n++;
    return n >= most;
}

static int add(struct machine *m, const struct machine_at *at, const struct command_web_claim *c,
               struct machine_result *r)
{
    struct directory *d = m->directory;
    struct span host = web_sender_host(c->name);
    if (has_so_many(m, host, c->most_of_host))
        return REFUSE(r, ERR_LIMIT, "%.*s has %u web senders, which is the most", S(host), c->most_of_host);
    if (d->webs.len >= c->most || d->webs.len >= DIRECTORY_WEBS_MAX)
        return REFUSE(r, ERR_LIMIT, "there are %llu web senders, which is the most",
                      (unsigned long long)d->webs.len);
    struct web *w = make(c->name);
    if (w == NULL)
        return -ENOMEM;
    w->since_ms = w->seen_ms = at->now_ms;
    w->until_ms = at->now_ms + c->for_ms;
    int err = directory_add(m, &d->webs, &w->rec);
    if (err != 0) {
        free(w);
        return err;
    }
    r->id = at->id;
    return heap_add(&d->web_ends, &w->timer, (int64_t)w->until_ms);
}

int directory_web_claim(struct machine *m, const struct machine_at *at, const struct command *cmd,
                        struct machine_result *r)
{
    const struct command_web_claim *c = &cmd->web_claim;
    if (directory_features(m) < WEB_SENDER_FEATURE)
        return REFUSE(r, ERR_DENIED, "the cluster's feature level is %u, web senders need %d",
                      directory_features(m), WEB_SENDER_FEATURE);
    if (!name_ok(c->name) || c->for_ms == 0 || c->for_ms > WEB_SENDER_LIFE_MAX_MS)
        return REFUSE(r, ERR_BAD, "no web sender");
    forget_ended(m, at->now_ms);
    struct web *w = find(m, c->name);
    if (w == NULL)
        return add(m, at, c, r);
    store_touch(m->store, &w->rec);
    w->seen_ms = at->now_ms;
    w->until_ms = at->now_ms + c->for_ms;
    heap_remove(&m->directory->web_ends, &w->timer);
    return heap_add(&m->directory->web_ends, &w->timer, (int64_t)w->until_ms);
}

int directory_web_forget(struct machine *m, const struct machine_at *at, const struct command *cmd,
                         struct machine_result *r)
{
    const struct command_name *c = &cmd->name;
    struct web *w = find(m, c->name);
    if (directory_features(m) < WEB_SENDER_FEATURE || w == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "there is no web sender %.*s", S(c->name));
    drop(m, w);
    r->id = at->id;
    return directory_audit(m, at, &c->by, "web sender %.*s is forgotten", S(c->name));
}

/* ---- readers ------------------------------------------------------------------------------------------- */

static struct directory_web view(const struct web *w)
{
    return (struct directory_web){
        .name = name_of(w), .since_ms = w->since_ms, .seen_ms = w->seen_ms, .until_ms = w->until_ms
    };
}

bool directory_web_find(const struct machine *m, struct span name, struct directory_web *out)
{
    const struct web *w = find(m, name);
    if (w == NULL || w->until_ms <= m->now_ms)
        return false;
    *out = view(w);
    return true;
}

uint64_t directory_web_count(const struct machine *m)
{
    return m->directory->webs.len;
}

int directory_web_each(const struct machine *m, struct span after, directory_web_fn *fn, void *arg)
{
    struct directory_place place = directory_index_after(&m->directory->webs, after);
    int stop = 0;
    for (const struct web *w;
         stop == 0 && (w = (const struct web *)directory_index_next(&m->directory->webs, &place)) != NULL;) {
        struct directory_web v = view(w);
        if (w->until_ms > m->now_ms)
            stop = fn(arg, &v);
    }
    return stop;
}
