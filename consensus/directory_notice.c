/* Whom to tell at a tenant, and what he was told: a tenant has one address, and of each thing he is told once
 * in a while by the cluster as a whole, whichever node sees it first.
 *
 * A notice is claimed before it is sent; one whose sender was lost comes again when the claim has ended.
 * Claims are bounded by DIRECTORY_NOTICES_MAX: each new one makes room by forgetting some that have ended,
 * those behind its key, so that all nodes forget the same. From feature level 5 on.
 */
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdlib.h>

#define NOTICE_FEATURE 5
#define SENDER_FEATURE 6 /* of notices to senders themselves */
#define LOOKED_AT 8 /* claims behind a new one's key */
#define LOOKED_AT_FULL 256

/* ---- contacts ------------------------------------------------------------------------------------------ */

struct contact {
    struct store_rec rec;
    struct span tenant, address;
    uint64_t version;
};

static struct span contact_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return ((const struct contact *)rec)->tenant;
}

static void contact_encode(const struct store_rec *rec, struct buf *out)
{
    const struct contact *t = (const struct contact *)rec;
    (void)buf_put_counted(out, t->tenant);
    (void)buf_put_counted(out, t->address);
    (void)buf_put_u64(out, t->version);
}

static void contact_free(struct store_rec *rec)
{
    struct contact *t = (struct contact *)rec;
    directory_texts_free(TEXTS(&t->tenant, &t->address));
    free(t);
}

/* As far as this can tell: whoever sets it looks closer. */
static bool address_ok(struct span address)
{
    return directory_name_ok(address) && address.n <= COMMAND_NAME_MAX &&
           memchr(address.p, '@', address.n) != NULL;
}

static int contact_decode(struct cursor *c, struct store_rec **out)
{
    struct contact *t = calloc(1, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    int err = directory_texts_decode(c, TEXTS(&t->tenant, &t->address));
    t->version = cursor_u64(c);
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 && (t->tenant.n == 0 || t->tenant.n > COMMAND_NAME_MAX || !address_ok(t->address)))
        err = ERR_CORRUPT;
    if (err != 0)
        contact_free(&t->rec);
    else
        *out = &t->rec;
    return err;
}

const struct store_type directory_contact_type = {
    140, "contact", contact_key, contact_encode, contact_decode, contact_free
};

static struct contact *contact_find(const struct machine *m, struct span tenant)
{
    return (struct contact *)store_find(m->store, &directory_contact_type, tenant);
}

void directory_contact_drop(struct machine *m, struct span tenant)
{
    struct contact *t = contact_find(m, tenant);
    if (t != NULL)
        store_remove(m->store, &t->rec);
}

static int refused(const struct machine *m, const struct command_tenant_contact *c, struct machine_result *r)
{
    struct directory_tenant tenant;
    const struct contact *t = contact_find(m, c->name);
    if (directory_features(m) < NOTICE_FEATURE)
        return machine_refuse(r, ERR_DENIED, "the cluster's feature level is %u, tenants' contacts need %d",
                              directory_features(m), NOTICE_FEATURE);
    if (!directory_tenant_find(m, c->name, &tenant))
        return machine_refuse(r, ERR_NOT_FOUND, "there is no tenant %.*s: make it first (tenant set)",
                              S(c->name));
    if (c->address.n > 0 && !address_ok(c->address))
        return machine_refuse(r, ERR_BAD, "%.*s is no mail address", S(c->address));
    if (directory_stale(&c->by, t != NULL ? t->version : 0))
        return machine_refuse(r, ERR_BUSY, "the contact of tenant %.*s was changed meanwhile", S(c->name));
    return 0;
}

int directory_tenant_contact(struct machine *m, const struct machine_at *at, const struct command *cmd,
                             struct machine_result *r)
{
    const struct command_tenant_contact *c = &cmd->tenant_contact;
    if (refused(m, c, r) != 0)
        return 0;
    struct contact *t = contact_find(m, c->name);
    if (c->address.n == 0 && t == NULL)
        return 0;
    int err = 0;
    if (c->address.n == 0) {
        directory_contact_drop(m, c->name);
    } else if (t != NULL) {
        store_touch(m->store, &t->rec);
        t->version = at->id;
        err = directory_text_set(&t->address, c->address);
    } else if ((t = calloc(1, sizeof *t)) == NULL) {
        err = -ENOMEM;
    } else {
        t->version = at->id;
        err = directory_texts_copy(TEXTS(&t->tenant, &t->address), (struct span[]){ c->name, c->address });
        if (err == 0)
            err = store_add(m->store, &directory_contact_type, &t->rec);
        if (err != 0)
            contact_free(&t->rec);
    }
    if (err != 0)
        return err;
    r->id = at->id;
    return directory_audit(m, at, &c->by, "contact of tenant %.*s: %.*s", S(c->name),
                           c->address.n > 0 ? (int)c->address.n : 4,
                           c->address.n > 0 ? c->address.p : "none");
}

bool directory_contact_find(const struct machine *m, struct span tenant, struct span *out)
{
    const struct contact *t = contact_find(m, tenant);
    if (t != NULL)
        *out = t->address;
    return t != NULL;
}

/* ---- claims -------------------------------------------------------------------------------------------- */

struct notice {
    struct store_rec rec;
    uint64_t until_ms; /* cluster time */
    uint16_t ntenant, nabout;
    char text[]; /* tenant, 0, about: the key */
};

static struct span notice_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    const struct notice *n = (const struct notice *)rec;
    return span_of(n->text, (size_t)n->ntenant + 1 + n->nabout);
}

static void notice_encode(const struct store_rec *rec, struct buf *out)
{
    const struct notice *n = (const struct notice *)rec;
    (void)buf_put_counted(out, span_of(n->text, n->ntenant));
    (void)buf_put_counted(out, span_of(n->text + n->ntenant + 1, n->nabout));
    (void)buf_put_u64(out, n->until_ms);
}

static void notice_free(struct store_rec *rec)
{
    free(rec);
}

static bool parts_ok(struct span tenant, struct span about)
{
    return directory_name_ok(tenant) && directory_text_ok(about) && about.n > 0;
}

static struct notice *make(struct span tenant, struct span about)
{
    struct notice *n = calloc(1, sizeof *n + tenant.n + 1 + about.n);
    if (n == NULL)
        return NULL;
    n->ntenant = (uint16_t)tenant.n;
    n->nabout = (uint16_t)about.n;
    memcpy(n->text, tenant.p, tenant.n);
    memcpy(n->text + tenant.n + 1, about.p, about.n);
    return n;
}

static int notice_decode(struct cursor *c, struct store_rec **out)
{
    struct span tenant = cursor_counted(c), about = cursor_counted(c);
    uint64_t until_ms = cursor_u64(c);
    if (cursor_err(c) != 0)
        return cursor_err(c);
    if (!parts_ok(tenant, about) || tenant.n > COMMAND_NAME_MAX || about.n > COMMAND_NAME_MAX)
        return ERR_CORRUPT;
    struct notice *n = make(tenant, about);
    if (n == NULL)
        return -ENOMEM;
    n->until_ms = until_ms;
    *out = &n->rec;
    return 0;
}

const struct store_type directory_notice_type = { 141,           "notice",      notice_key,
                                                  notice_encode, notice_decode, notice_free };

static struct notice *notice_find(const struct machine *m, struct span tenant, struct span about)
{
    char key[2 * COMMAND_NAME_MAX + 1];
    if (tenant.n > COMMAND_NAME_MAX || about.n > COMMAND_NAME_MAX)
        return NULL;
    if (tenant.n > 0)
        memcpy(key, tenant.p, tenant.n);
    key[tenant.n] = 0;
    if (about.n > 0)
        memcpy(key + tenant.n + 1, about.p, about.n);
    return (struct notice *)store_find(m->store, &directory_notice_type,
                                       span_of(key, tenant.n + 1 + about.n));
}

/* Of the next ones behind the key, and of the first ones when that was the end. */
static void forget_ended(struct machine *m, uint64_t now_ms, struct span key, unsigned look_at)
{
    struct directory_index *ix = &m->directory->notices;
    char after[2 * COMMAND_NAME_MAX + 1];
    size_t n = key.n;
    memcpy(after, key.p, n);
    for (unsigned i = 0; i < look_at && ix->len > 0; i++) {
        struct directory_place at = directory_index_after(ix, span_of(after, n));
        struct store_rec *rec = directory_index_next(ix, &at);
        if (rec == NULL && n == 0)
            return;
        n = 0;
        if (rec == NULL)
            continue;
        struct span next = notice_key(rec, NULL);
        memcpy(after, next.p, n = next.n);
        if (((const struct notice *)rec)->until_ms <= now_ms)
            directory_drop(m, ix, rec);
    }
}

static int add(struct machine *m, const struct machine_at *at, const struct command_notice_claim *c,
               struct machine_result *r)
{
    struct directory_index *ix = &m->directory->notices;
    struct notice *n = make(c->tenant, c->about);
    if (n == NULL)
        return -ENOMEM;
    n->until_ms = at->now_ms + c->for_ms;
    forget_ended(m, at->now_ms, notice_key(&n->rec, NULL),
                 ix->len < DIRECTORY_NOTICES_MAX ? LOOKED_AT : LOOKED_AT_FULL);
    if (ix->len >= DIRECTORY_NOTICES_MAX) {
        free(n);
        return REFUSE(r, ERR_LIMIT, "%d notices were given, which is the most at a time",
                      DIRECTORY_NOTICES_MAX);
    }
    int err = directory_add(m, ix, &n->rec);
    if (err != 0)
        free(n);
    else
        r->id = at->id;
    return err;
}

int directory_notice_claim(struct machine *m, const struct machine_at *at, const struct command *cmd,
                           struct machine_result *r)
{
    const struct command_notice_claim *c = &cmd->notice_claim;
    uint32_t needs = cmd->type == COMMAND_SENDER_NOTICE ? SENDER_FEATURE : NOTICE_FEATURE;
    if (directory_features(m) < needs)
        return REFUSE(r, ERR_DENIED, "the cluster's feature level is %u, this notice needs %u",
                      directory_features(m), needs);
    if (!parts_ok(c->tenant, c->about) || c->for_ms > COMMAND_NOTICE_MAX_MS)
        return REFUSE(r, ERR_BAD, "no notice to a tenant");
    if (cmd->type == COMMAND_NOTICE_CLAIM && contact_find(m, c->tenant) == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "tenant %.*s has no contact", S(c->tenant));
    struct notice *n = notice_find(m, c->tenant, c->about);
    if (n != NULL && n->until_ms > at->now_ms)
        return REFUSE(r, ERR_EXISTS, "tenant %.*s has heard of %.*s", S(c->tenant), S(c->about));
    if (n == NULL)
        return add(m, at, c, r);
    store_touch(m->store, &n->rec);
    n->until_ms = at->now_ms + c->for_ms;
    r->id = at->id;
    return 0;
}

bool directory_notice_given(const struct machine *m, struct span tenant, struct span about, uint64_t now_ms)
{
    const struct notice *n = notice_find(m, tenant, about);
    return n != NULL && n->until_ms > now_ms;
}
