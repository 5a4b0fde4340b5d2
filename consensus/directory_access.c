/* Tenants' tokens for the admin API: what a tenant's own programs show, on whatever node, to see what is the
 * tenant's and nothing else. Only the hash of the secret part is here. From feature level 6 on.
 */
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdlib.h>

#define ACCESS_FEATURE 6
#define OF_ONE_TENANT_MAX 16

struct access {
    struct store_rec rec;
    struct span id, tenant, who, note;
    uint8_t secret_sha256[32];
    int64_t wall_ms;
    uint64_t version;
};

static struct span access_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return ((const struct access *)rec)->id;
}

static void access_encode(const struct store_rec *rec, struct buf *out)
{
    const struct access *a = (const struct access *)rec;
    (void)buf_put_counted(out, a->id);
    (void)buf_put_counted(out, a->tenant);
    (void)buf_put_counted(out, a->who);
    (void)buf_put_counted(out, a->note);
    (void)buf_put(out, a->secret_sha256, sizeof a->secret_sha256);
    (void)buf_put_u64(out, (uint64_t)a->wall_ms);
    (void)buf_put_u64(out, a->version);
}

static void access_free(struct store_rec *rec)
{
    struct access *a = (struct access *)rec;
    directory_texts_free(TEXTS(&a->id, &a->tenant, &a->who, &a->note));
    free(a);
}

static bool names_ok(struct span tenant, struct span id)
{
    return directory_name_ok(tenant) && tenant.n <= COMMAND_NAME_MAX && directory_name_ok(id) &&
           id.n <= COMMAND_TENANT_TOKEN_ID_MAX;
}

static int access_decode(struct cursor *c, struct store_rec **out)
{
    struct access *a = calloc(1, sizeof *a);
    if (a == NULL)
        return -ENOMEM;
    int err = directory_texts_decode(c, TEXTS(&a->id, &a->tenant, &a->who, &a->note));
    struct span secret = cursor_bytes(c, sizeof a->secret_sha256);
    memcpy(a->secret_sha256, secret.p, secret.n);
    a->wall_ms = (int64_t)cursor_u64(c);
    a->version = cursor_u64(c);
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 && !names_ok(a->tenant, a->id))
        err = ERR_CORRUPT;
    if (err != 0)
        access_free(&a->rec);
    else
        *out = &a->rec;
    return err;
}

const struct store_type directory_access_type = { 145,           "access",      access_key,
                                                  access_encode, access_decode, access_free };

static struct access *access_find(const struct machine *m, struct span id)
{
    return (struct access *)store_find(m->store, &directory_access_type, id);
}

static uint32_t count_of(const struct machine *m, struct span tenant)
{
    const struct directory_index *ix = &m->directory->accesses;
    struct directory_place at = directory_index_after(ix, span_of("", 0));
    uint32_t n = 0;
    for (const struct store_rec *rec; (rec = directory_index_next(ix, &at)) != NULL;)
        n += span_eq(((const struct access *)rec)->tenant, tenant);
    return n;
}

static int refused(const struct machine *m, const struct command_tenant_token *c, struct machine_result *r)
{
    struct directory_tenant tenant;
    if (directory_features(m) < ACCESS_FEATURE)
        return machine_refuse(r, ERR_DENIED, "the cluster's feature level is %u, tenants' tokens need %d",
                              directory_features(m), ACCESS_FEATURE);
    if (!names_ok(c->tenant, c->id) || !directory_text_ok(c->note))
        return machine_refuse(r, ERR_BAD, "a name has no blanks and no control characters");
    if (!directory_tenant_find(m, c->tenant, &tenant))
        return machine_refuse(r, ERR_NOT_FOUND, "there is no tenant %.*s: make it first (tenant set)",
                              S(c->tenant));
    if (access_find(m, c->id) != NULL)
        return machine_refuse(r, ERR_EXISTS, "there is a token %.*s already: try again", S(c->id));
    if (m->directory->accesses.len >= DIRECTORY_ACCESSES_MAX)
        return machine_refuse(r, ERR_LIMIT, "tenants have %d tokens, which is the most: remove some first",
                              DIRECTORY_ACCESSES_MAX);
    if (count_of(m, c->tenant) >= OF_ONE_TENANT_MAX)
        return machine_refuse(r, ERR_LIMIT, "tenant %.*s has %d tokens, which is the most: remove one first",
                              S(c->tenant), OF_ONE_TENANT_MAX);
    return 0;
}

int directory_access_add(struct machine *m, const struct machine_at *at, const struct command *cmd,
                         struct machine_result *r)
{
    const struct command_tenant_token *c = &cmd->tenant_token;
    if (refused(m, c, r) != 0)
        return 0;
    struct access *a = calloc(1, sizeof *a);
    if (a == NULL)
        return -ENOMEM;
    memcpy(a->secret_sha256, c->secret_sha256, sizeof a->secret_sha256);
    a->wall_ms = c->by.wall_ms;
    a->version = at->id;
    int err = directory_texts_copy(TEXTS(&a->id, &a->tenant, &a->who, &a->note),
                                   (struct span[]){ c->id, c->tenant, c->by.who, c->note });
    if (err == 0)
        err = directory_add(m, &m->directory->accesses, &a->rec);
    if (err != 0) {
        access_free(&a->rec);
        return err;
    }
    r->id = at->id;
    return directory_audit(m, at, &c->by, "token %.*s for tenant %.*s", S(c->id), S(c->tenant));
}

int directory_access_remove(struct machine *m, const struct machine_at *at, const struct command *cmd,
                            struct machine_result *r)
{
    const struct command_name *c = &cmd->name;
    struct access *a = access_find(m, c->name);
    if (a == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "there is no token %.*s", S(c->name));
    if (directory_stale(&c->by, a->version))
        return REFUSE(r, ERR_BUSY, "token %.*s is another one now (version %llu)", S(c->name),
                      (unsigned long long)a->version);
    int err = directory_audit(m, at, &c->by, "removed token %.*s of tenant %.*s", S(c->name), S(a->tenant));
    directory_drop(m, &m->directory->accesses, &a->rec);
    return err;
}

void directory_accesses_drop(struct machine *m, struct span tenant)
{
    LIST_EACH_SAFE(link, store_all(m->store, &directory_access_type))
    {
        struct store_rec *rec = LIST_ITEM(link, struct store_rec, link);
        if (span_eq(((const struct access *)rec)->tenant, tenant))
            directory_drop(m, &m->directory->accesses, rec);
    }
}

static struct directory_access view(const struct access *a)
{
    struct directory_access v = { .id = a->id,
                                  .tenant = a->tenant,
                                  .who = a->who,
                                  .note = a->note,
                                  .wall_ms = a->wall_ms,
                                  .version = a->version };
    memcpy(v.secret_sha256, a->secret_sha256, sizeof v.secret_sha256);
    return v;
}

bool directory_access_find(const struct machine *m, struct span id, struct directory_access *out)
{
    const struct access *a = access_find(m, id);
    if (a != NULL)
        *out = view(a);
    return a != NULL;
}

int directory_access_each(const struct machine *m, struct span after, directory_access_fn *fn, void *arg)
{
    const struct directory_index *ix = &m->directory->accesses;
    struct directory_place at = directory_index_after(ix, after);
    int stop = 0;
    for (const struct store_rec *rec; stop == 0 && (rec = directory_index_next(ix, &at)) != NULL;) {
        struct directory_access v = view((const struct access *)rec);
        stop = fn(arg, &v);
    }
    return stop;
}
