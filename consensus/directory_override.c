/* Overrides: another count of a limit, for one account or one tenant. They are for senders that the directory
 * may not have as accounts (those of an outside directory of users).
 */
#include "base/ensure.h"
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdlib.h>

struct override {
    struct store_rec rec;
    uint8_t scope;
    struct span name, limit;
    uint64_t count, version;
};

/* Scope, name, NUL, limit. `limit` NULL: the part before, which all of one sender begin with. */
static struct span make_key(uint8_t scope, struct span name, const struct span *limit,
                            char scratch[STORE_KEY_MAX])
{
    ensure(name.n <= COMMAND_NAME_MAX);
    scratch[0] = (char)scope;
    if (name.n != 0)
        memcpy(scratch + 1, name.p, name.n);
    size_t n = 1 + name.n;
    scratch[n++] = 0;
    if (limit != NULL && limit->n != 0) {
        ensure(limit->n <= COMMAND_NAME_MAX);
        memcpy(scratch + n, limit->p, limit->n);
        n += limit->n;
    }
    return span_of(scratch, n);
}

static struct span override_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    const struct override *o = (const struct override *)rec;
    return make_key(o->scope, o->name, &o->limit, scratch);
}

static void override_encode(const struct store_rec *rec, struct buf *out)
{
    const struct override *o = (const struct override *)rec;
    (void)buf_put_u8(out, o->scope);
    (void)buf_put_counted(out, o->name);
    (void)buf_put_counted(out, o->limit);
    (void)buf_put_u64(out, o->count);
    (void)buf_put_u64(out, o->version);
}

static void override_free(struct store_rec *rec)
{
    struct override *o = (struct override *)rec;
    directory_texts_free(TEXTS(&o->name, &o->limit));
    free(o);
}

static int override_decode(struct cursor *c, struct store_rec **out)
{
    struct override *o = calloc(1, sizeof *o);
    if (o == NULL)
        return -ENOMEM;
    o->scope = cursor_u8(c);
    int err = directory_texts_decode(c, TEXTS(&o->name, &o->limit));
    o->count = cursor_u64(c);
    o->version = cursor_u64(c);
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 && (o->scope < COMMAND_SCOPE_ACCOUNT || o->scope > COMMAND_SCOPE_TENANT || o->name.n == 0 ||
                     o->name.n > COMMAND_NAME_MAX || o->limit.n == 0 || o->limit.n > COMMAND_NAME_MAX ||
                     o->count > POLICY_COUNT_MAX))
        err = ERR_CORRUPT;
    if (err != 0)
        override_free(&o->rec);
    else
        *out = &o->rec;
    return err;
}

const struct store_type directory_override_type = {
    22, "override", override_key, override_encode, override_decode, override_free
};

static struct override *find(const struct machine *m, uint8_t scope, struct span name, struct span limit)
{
    if (store_len(m->store, &directory_override_type) == 0 || name.n > COMMAND_NAME_MAX ||
        limit.n > COMMAND_NAME_MAX)
        return NULL;
    char scratch[STORE_KEY_MAX];
    return (struct override *)store_find(m->store, &directory_override_type,
                                         make_key(scope, name, &limit, scratch));
}

static const char *scope_name(uint8_t scope)
{
    return scope == COMMAND_SCOPE_TENANT ? "tenant" : "account";
}

static void changed(struct machine *m, const struct machine_at *at, struct span name)
{
    quota_limits_changed(m);
    machine_changed(m, MACHINE_CHANGED_LIMITS, at->id, name);
}

static int put(struct machine *m, const struct machine_at *at, const struct command_override_set *c,
               struct override *o)
{
    bool new = o == NULL;
    if (new) {
        o = calloc(1, sizeof *o);
        if (o == NULL)
            return -ENOMEM;
        o->scope = c->scope;
        int err = directory_texts_copy(TEXTS(&o->name, &o->limit), (struct span[]){ c->name, c->limit });
        if (err == 0)
            err = directory_add(m, &m->directory->overrides, &o->rec);
        if (err != 0) {
            override_free(&o->rec);
            return err;
        }
    }
    store_touch(m->store, &o->rec);
    o->count = c->count;
    o->version = at->id;
    return 0;
}

int directory_override_set(struct machine *m, const struct machine_at *at, const struct command *cmd,
                           struct machine_result *r)
{
    const struct command_override_set *c = &cmd->override_set;
    struct override *o = find(m, c->scope, c->name, c->limit);
    if (o != NULL && directory_stale(&c->by, o->version))
        return REFUSE(r, ERR_BUSY,
                      "limit %.*s of %s %.*s was changed meanwhile: it is now %llu (version %llu); look at "
                      "it again, then "
                      "repeat",
                      S(c->limit), scope_name(c->scope), S(c->name), (unsigned long long)o->count,
                      (unsigned long long)o->version);
    if (c->remove) {
        if (o == NULL)
            return REFUSE(r, ERR_NOT_FOUND, "%s %.*s has no limit %.*s of its own", scope_name(c->scope),
                          S(c->name), S(c->limit));
        directory_drop(m, &m->directory->overrides, &o->rec);
        changed(m, at, c->name);
        return directory_audit(m, at, &c->by, "limit %.*s of %s %.*s is the policy's again", S(c->limit),
                               scope_name(c->scope), S(c->name));
    }
    if (!(c->scope == COMMAND_SCOPE_ACCOUNT ? directory_sender_name_ok(m, c->name)
                                            : directory_account_name_ok(c->name)))
        return REFUSE(r, ERR_BAD,
                      "%s %.*s: a name has no capitals, blanks, control characters or any of : \" , \\",
                      scope_name(c->scope), S(c->name));
    const struct policy_limit *limit = directory_limit(m, c->limit);
    if (limit == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "the policy has no limit %.*s: `turnpike policy show` lists them",
                      S(c->limit));
    if (limit->scope != c->scope)
        return REFUSE(r, ERR_BAD, "limit %.*s is one of each %s: set it for %s", S(c->limit),
                      scope_name(limit->scope),
                      limit->scope == COMMAND_SCOPE_TENANT ? "the tenant" : "an account");
    if (c->count > POLICY_COUNT_MAX)
        return REFUSE(r, ERR_BAD, "a limit is at most %llu", POLICY_COUNT_MAX);
    if (o == NULL && store_len(m->store, &directory_override_type) >= DIRECTORY_OVERRIDES_MAX)
        return REFUSE(r, ERR_LIMIT, "there are %d overrides, which is the most: remove some first",
                      DIRECTORY_OVERRIDES_MAX);
    int err = put(m, at, c, o);
    if (err != 0)
        return err;
    r->id = at->id;
    changed(m, at, c->name);
    return directory_audit(m, at, &c->by, "limit %.*s of %s %.*s is %llu", S(c->limit), scope_name(c->scope),
                           S(c->name), (unsigned long long)c->count);
}

/* The next one of a sender, or NULL. */
static struct override *next_of(const struct directory_index *ix, struct directory_place *place,
                                uint8_t scope, struct span name)
{
    struct override *o = (struct override *)directory_index_next(ix, place);
    return o != NULL && o->scope == scope && span_eq(o->name, name) ? o : NULL;
}

void directory_overrides_drop(struct machine *m, uint8_t scope, struct span name)
{
    struct directory_index *ix = &m->directory->overrides;
    if (ix->len == 0)
        return;
    char scratch[STORE_KEY_MAX];
    struct span from = make_key(scope, name, NULL, scratch);
    bool any = false;
    for (;;) {
        struct directory_place place = directory_index_after(ix, from);
        struct override *o = next_of(ix, &place, scope, name);
        if (o == NULL)
            break;
        directory_drop(m, ix, &o->rec);
        any = true;
    }
    if (any)
        quota_limits_changed(m);
}

bool directory_override(const struct machine *m, uint8_t scope, struct span name, struct span limit,
                        uint64_t *count)
{
    const struct override *o = find(m, scope, name, limit);
    if (o != NULL)
        *count = o->count;
    return o != NULL;
}

int directory_override_each(const struct machine *m, uint8_t scope, struct span name,
                            directory_override_fn *fn, void *arg)
{
    const struct directory_index *ix = &m->directory->overrides;
    if (name.n > COMMAND_NAME_MAX)
        return 0;
    char scratch[STORE_KEY_MAX];
    struct span from = name.n == 0 ? (struct span){ 0 } : make_key(scope, name, NULL, scratch);
    struct directory_place place = directory_index_after(ix, from);
    int stop = 0;
    for (const struct override *o; stop == 0;) {
        o = name.n != 0 ? next_of(ix, &place, scope, name)
                        : (const struct override *)directory_index_next(ix, &place);
        if (o == NULL)
            break;
        if (scope == 0 || o->scope == scope)
            stop = fn(arg, &(struct directory_override){ o->scope, o->name, o->limit, o->count, o->version });
    }
    return stop;
}
