/* Addresses whose traces are being erased: each node cleans its own history, and says so; the address is here
 * until every member has, also one that was away. Then nothing of it is left but a line in the audit trail
 * that does not have it. From feature level 6 on.
 *
 * The audit trail keeps its lines; in them the address is replaced by a name that is made of a number.
 */
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ERASE_FEATURE 6
#define NAME_BYTES 40 /* "erased-12345678" */

struct erasure {
    struct store_rec rec;
    uint64_t id;
    int64_t wall_ms;
    struct span address, who;
    uint32_t ndone;
    uint64_t done[DIRECTORY_MEMBERS_MAX]; /* nodes, ascending */
};

static struct span erasure_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return ((const struct erasure *)rec)->address;
}

static void erasure_encode(const struct store_rec *rec, struct buf *out)
{
    const struct erasure *e = (const struct erasure *)rec;
    (void)buf_put_counted(out, e->address);
    (void)buf_put_counted(out, e->who);
    (void)buf_put_u64(out, e->id);
    (void)buf_put_u64(out, (uint64_t)e->wall_ms);
    (void)buf_put_u32(out, e->ndone);
    for (uint32_t i = 0; i < e->ndone; i++)
        (void)buf_put_u64(out, e->done[i]);
}

static void erasure_free(struct store_rec *rec)
{
    struct erasure *e = (struct erasure *)rec;
    directory_texts_free(TEXTS(&e->address, &e->who));
    free(e);
}

/* As far as this can tell; in lower case, so that there is one of each. */
static bool address_ok(struct span address)
{
    for (size_t i = 0; i < address.n; i++)
        if (address.p[i] >= 'A' && address.p[i] <= 'Z')
            return false;
    return directory_name_ok(address) && address.n <= COMMAND_NAME_MAX &&
           memchr(address.p, '@', address.n) != NULL;
}

static int erasure_decode(struct cursor *c, struct store_rec **out)
{
    struct erasure *e = calloc(1, sizeof *e);
    if (e == NULL)
        return -ENOMEM;
    int err = directory_texts_decode(c, TEXTS(&e->address, &e->who));
    e->id = cursor_u64(c);
    e->wall_ms = (int64_t)cursor_u64(c);
    e->ndone = cursor_u32(c);
    if (err == 0 && e->ndone > DIRECTORY_MEMBERS_MAX)
        err = ERR_CORRUPT;
    for (uint32_t i = 0; err == 0 && i < e->ndone; i++) {
        e->done[i] = cursor_u64(c);
        if (i > 0 && e->done[i] <= e->done[i - 1])
            err = ERR_CORRUPT;
    }
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 && !address_ok(e->address))
        err = ERR_CORRUPT;
    if (err != 0)
        erasure_free(&e->rec);
    else
        *out = &e->rec;
    return err;
}

const struct store_type directory_erasure_type = {
    147, "erasure", erasure_key, erasure_encode, erasure_decode, erasure_free
};

static bool is_done(const struct erasure *e, uint64_t node)
{
    for (uint32_t i = 0; i < e->ndone; i++)
        if (e->done[i] == node)
            return true;
    return false;
}

struct waiting {
    const struct erasure *e;
    uint32_t n;
};

static int count_waiting(void *arg, const struct directory_member *mb)
{
    struct waiting *w = arg;
    w->n += mb->state != COMMAND_MEMBER_REMOVED && !is_done(w->e, mb->id);
    return 0;
}

/* Every member has: it is forgotten. True: it is gone. */
static bool settle(struct machine *m, struct erasure *e)
{
    struct waiting w = { .e = e };
    (void)directory_member_each(m, count_waiting, &w);
    if (w.n > 0)
        return false;
    directory_drop(m, &m->directory->erasures, &e->rec);
    return true;
}

void directory_erasures_settle(struct machine *m)
{
    LIST_EACH_SAFE(link, store_all(m->store, &directory_erasure_type))
    (void)settle(m, (struct erasure *)LIST_ITEM(link, struct store_rec, link));
}

static int refused(const struct machine *m, const struct command_erase *c, struct machine_result *r)
{
    struct directory_account account;
    if (directory_features(m) < ERASE_FEATURE)
        return machine_refuse(r, ERR_DENIED, "the cluster's feature level is %u, erasing needs %d",
                              directory_features(m), ERASE_FEATURE);
    if (!address_ok(c->address))
        return machine_refuse(r, ERR_BAD, "%.*s is no mail address in lower case", S(c->address));
    if (directory_account_find(m, c->address, &account))
        return machine_refuse(r, ERR_EXISTS,
                              "%.*s is an account: what is kept of it goes after it (account remove)",
                              S(c->address));
    if (store_find(m->store, &directory_erasure_type, c->address) == NULL &&
        m->directory->erasures.len >= DIRECTORY_ERASURES_MAX)
        return machine_refuse(r, ERR_LIMIT, "%d addresses are being erased, which is the most at a time",
                              DIRECTORY_ERASURES_MAX);
    return 0;
}

int directory_erase_add(struct machine *m, const struct machine_at *at, const struct command *cmd,
                        struct machine_result *r)
{
    const struct command_erase *c = &cmd->erase;
    char name[NAME_BYTES];
    if (refused(m, c, r) != 0)
        return 0;
    /* Once more: what came since is erased, too. */
    struct store_rec *was = store_find(m->store, &directory_erasure_type, c->address);
    if (was != NULL)
        directory_drop(m, &m->directory->erasures, was);
    struct erasure *e = calloc(1, sizeof *e);
    if (e == NULL)
        return -ENOMEM;
    e->id = at->id;
    e->wall_ms = c->by.wall_ms;
    int err = directory_texts_copy(TEXTS(&e->address, &e->who), (struct span[]){ c->address, c->by.who });
    if (err == 0)
        err = directory_add(m, &m->directory->erasures, &e->rec);
    if (err != 0) {
        erasure_free(&e->rec);
        return err;
    }
    snprintf(name, sizeof name, "erased-%llu", (unsigned long long)at->id);
    r->id = at->id;
    err = directory_audit_replace(m, c->address, span_str(name));
    return err != 0 ? err : directory_audit(m, at, &c->by, "erase an address: %s", name);
}

static int put_done(struct erasure *e, uint64_t node)
{
    uint32_t at = e->ndone;
    if (is_done(e, node))
        return 0;
    if (e->ndone == DIRECTORY_MEMBERS_MAX)
        return ERR_LIMIT;
    for (; at > 0 && e->done[at - 1] > node; at--)
        e->done[at] = e->done[at - 1];
    e->done[at] = node;
    e->ndone++;
    return 0;
}

int directory_erase_done(struct machine *m, const struct machine_at *at, const struct command *cmd,
                         struct machine_result *r)
{
    const struct command_erase *c = &cmd->erase;
    uint64_t node = directory_asker(m, cmd);
    struct erasure *e = (struct erasure *)store_find(m->store, &directory_erasure_type, c->address);
    (void)at;
    if (node == 0)
        return REFUSE(r, ERR_DENIED, "a node says itself what it has erased");
    if (e == NULL || e->id != c->id)
        return REFUSE(r, ERR_NOT_FOUND, "that is not being erased any more");
    store_touch(m->store, &e->rec);
    if (put_done(e, node) != 0)
        return REFUSE(r, ERR_LIMIT, "too many nodes");
    (void)settle(m, e);
    return 0;
}

static struct directory_erasure view(const struct erasure *e)
{
    return (struct directory_erasure){ .id = e->id,
                                       .wall_ms = e->wall_ms,
                                       .address = e->address,
                                       .who = e->who,
                                       .done = e->done,
                                       .ndone = e->ndone };
}

int directory_erasure_each(const struct machine *m, struct span after, directory_erasure_fn *fn, void *arg)
{
    const struct directory_index *ix = &m->directory->erasures;
    struct directory_place at = directory_index_after(ix, after);
    int stop = 0;
    for (const struct store_rec *rec; stop == 0 && (rec = directory_index_next(ix, &at)) != NULL;) {
        struct directory_erasure v = view((const struct erasure *)rec);
        stop = fn(arg, &v);
    }
    return stop;
}

bool directory_erasure_done(const struct directory_erasure *e, uint64_t node)
{
    for (uint32_t i = 0; i < e->ndone; i++)
        if (e->done[i] == node)
            return true;
    return false;
}
