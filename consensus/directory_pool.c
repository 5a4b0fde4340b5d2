/* Pools of source addresses, and who sends from which. */
#include "base/ensure.h"
#include "consensus/directory_impl.h"
#include "consensus/web_sender.h"

#include <errno.h>
#include <stdlib.h>

struct pool {
    struct store_rec rec;
    struct span name, note;
    uint64_t version;
};

static struct span pool_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return ((const struct pool *)rec)->name;
}

static void pool_encode(const struct store_rec *rec, struct buf *out)
{
    const struct pool *p = (const struct pool *)rec;
    (void)buf_put_counted(out, p->name);
    (void)buf_put_counted(out, p->note);
    (void)buf_put_u64(out, p->version);
}

static void pool_free(struct store_rec *rec)
{
    struct pool *p = (struct pool *)rec;
    directory_texts_free(TEXTS(&p->name, &p->note));
    free(p);
}

static int pool_decode(struct cursor *c, struct store_rec **out)
{
    struct pool *p = calloc(1, sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    int err = directory_texts_decode(c, TEXTS(&p->name, &p->note));
    p->version = cursor_u64(c);
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 && (p->name.n == 0 || p->name.n > COMMAND_NAME_MAX))
        err = ERR_CORRUPT;
    if (err != 0)
        pool_free(&p->rec);
    else
        *out = &p->rec;
    return err;
}

const struct store_type directory_pool_type = { 26, "pool", pool_key, pool_encode, pool_decode, pool_free };

static struct pool *pool_find(const struct machine *m, struct span name)
{
    return (struct pool *)store_find(m->store, &directory_pool_type, name);
}

bool directory_pool_exists(const struct machine *m, struct span name)
{
    return pool_find(m, name) != NULL;
}

static int stale_pool(struct machine_result *r, const struct pool *p)
{
    return REFUSE(r, ERR_BUSY,
                  "pool %.*s was changed meanwhile: its note is now \"%.*s\" (version %llu); look at it "
                  "again, then repeat",
                  S(p->name), p->note.n > 100 ? 100 : (int)p->note.n, p->note.p,
                  (unsigned long long)p->version);
}

int directory_pool_set(struct machine *m, const struct machine_at *at, const struct command *cmd,
                       struct machine_result *r)
{
    const struct command_pool_set *c = &cmd->pool_set;
    if (!directory_name_ok(c->name))
        return REFUSE(r, ERR_BAD, "a pool's name has no blanks and no control characters");
    struct pool *p = pool_find(m, c->name);
    if (p != NULL && directory_stale(&c->by, p->version))
        return stale_pool(r, p);
    if (p == NULL && store_len(m->store, &directory_pool_type) >= DIRECTORY_POOLS_MAX)
        return REFUSE(r, ERR_LIMIT, "there are %d pools, which is the most: remove some first",
                      DIRECTORY_POOLS_MAX);
    bool new = p == NULL;
    if (new && (p = calloc(1, sizeof *p)) == NULL)
        return -ENOMEM;
    if (!new)
        store_touch(m->store, &p->rec);
    p->version = at->id;
    int err = directory_text_set(&p->note, c->note);
    if (err == 0 && new)
        err = directory_text_set(&p->name, c->name);
    if (err == 0 && new)
        err = directory_add(m, &m->directory->pools, &p->rec);
    if (err != 0) {
        if (new)
            pool_free(&p->rec);
        return err;
    }
    r->id = at->id;
    machine_changed(m, MACHINE_CHANGED_POOLS, at->id, (struct span){ 0 });
    return directory_audit(m, at, &c->by, "%s pool %.*s", new ? "new" : "changed", S(c->name));
}

int directory_pool_each(const struct machine *m, directory_pool_fn *fn, void *arg)
{
    struct directory_place at = { 0 };
    int stop = 0;
    for (const struct store_rec *rec;
         stop == 0 && (rec = directory_index_next(&m->directory->pools, &at)) != NULL;) {
        const struct pool *p = (const struct pool *)rec;
        stop = fn(arg, &(struct directory_pool){ p->name, p->note, p->version, directory_floating(m, p->name) });
    }
    return stop;
}

/* ---- assignments --------------------------------------------------------------------------------------- */

struct assignment {
    struct store_rec rec;
    uint8_t to;
    struct span name, pool;
    uint64_t version;
};

static struct span assignment_key_of(uint8_t to, struct span name, char scratch[STORE_KEY_MAX])
{
    ensure(name.n <= COMMAND_NAME_MAX);
    scratch[0] = (char)to;
    if (name.n != 0)
        memcpy(scratch + 1, name.p, name.n);
    return span_of(scratch, 1 + name.n);
}

static struct span assignment_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    const struct assignment *a = (const struct assignment *)rec;
    return assignment_key_of(a->to, a->name, scratch);
}

static void assignment_encode(const struct store_rec *rec, struct buf *out)
{
    const struct assignment *a = (const struct assignment *)rec;
    (void)buf_put_u8(out, a->to);
    (void)buf_put_counted(out, a->name);
    (void)buf_put_counted(out, a->pool);
    (void)buf_put_u64(out, a->version);
}

static void assignment_free(struct store_rec *rec)
{
    struct assignment *a = (struct assignment *)rec;
    directory_texts_free(TEXTS(&a->name, &a->pool));
    free(a);
}

static int assignment_decode(struct cursor *c, struct store_rec **out)
{
    struct assignment *a = calloc(1, sizeof *a);
    if (a == NULL)
        return -ENOMEM;
    a->to = cursor_u8(c);
    int err = directory_texts_decode(c, TEXTS(&a->name, &a->pool));
    a->version = cursor_u64(c);
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 && (a->to < COMMAND_ASSIGN_CLASS || a->to > COMMAND_ASSIGN_ACCOUNT || a->name.n == 0 ||
                     a->name.n > COMMAND_NAME_MAX))
        err = ERR_CORRUPT;
    if (err != 0)
        assignment_free(&a->rec);
    else
        *out = &a->rec;
    return err;
}

const struct store_type directory_assignment_type = {
    27, "assignment", assignment_key, assignment_encode, assignment_decode, assignment_free
};

static struct assignment *assignment_find(const struct machine *m, uint8_t to, struct span name)
{
    if (name.n == 0 || name.n > COMMAND_NAME_MAX || store_len(m->store, &directory_assignment_type) == 0)
        return NULL;
    char scratch[STORE_KEY_MAX];
    return (struct assignment *)store_find(m->store, &directory_assignment_type,
                                           assignment_key_of(to, name, scratch));
}

static const char *const classes[COMMAND_CLASSES] = { "person", "device", "bulk" };

static const char *to_name(uint8_t to)
{
    return to == COMMAND_ASSIGN_CLASS ? "class" : to == COMMAND_ASSIGN_TENANT ? "tenant" : "account";
}

static bool name_fits(const struct machine *m, uint8_t to, struct span name)
{
    if (to == COMMAND_ASSIGN_ACCOUNT)
        return directory_sender_name_ok(m, name);
    if (to != COMMAND_ASSIGN_CLASS)
        return directory_account_name_ok(name);
    for (size_t i = 0; i < COMMAND_CLASSES; i++)
        if (span_eq(name, span_str(classes[i])))
            return true;
    return false;
}

bool directory_assignment_drop(struct machine *m, uint8_t to, struct span name)
{
    struct assignment *a = assignment_find(m, to, name);
    if (a != NULL)
        directory_drop(m, &m->directory->assignments, &a->rec);
    return a != NULL;
}

static int assign(struct machine *m, const struct machine_at *at, const struct command_pool_assign *c,
                  struct assignment *a)
{
    bool new = a == NULL;
    if (new && (a = calloc(1, sizeof *a)) == NULL)
        return -ENOMEM;
    if (!new)
        store_touch(m->store, &a->rec);
    a->to = c->to;
    a->version = at->id;
    int err = directory_text_set(&a->pool, c->pool);
    if (err == 0 && new)
        err = directory_text_set(&a->name, c->name);
    if (err == 0 && new)
        err = directory_add(m, &m->directory->assignments, &a->rec);
    if (err != 0 && new)
        assignment_free(&a->rec);
    return err;
}

int directory_pool_assign(struct machine *m, const struct machine_at *at, const struct command *cmd,
                          struct machine_result *r)
{
    const struct command_pool_assign *c = &cmd->pool_assign;
    if (!name_fits(m, c->to, c->name))
        return c->to == COMMAND_ASSIGN_CLASS
                   ? REFUSE(r, ERR_BAD, "there is no class %.*s: person, device or bulk", S(c->name))
                   : REFUSE(r, ERR_BAD, "%.*s is no name of an %s", S(c->name), to_name(c->to));
    struct assignment *a = assignment_find(m, c->to, c->name);
    if (a != NULL && directory_stale(&c->by, a->version))
        return REFUSE(r, ERR_BUSY, "%s %.*s was given another pool meanwhile: it is now %.*s (version %llu)",
                      to_name(c->to), S(c->name), S(a->pool), (unsigned long long)a->version);
    if (c->pool.n == 0 && a == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "%s %.*s has no pool of its own", to_name(c->to), S(c->name));
    if (c->pool.n != 0 && pool_find(m, c->pool) == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "there is no pool %.*s: make it first", S(c->pool));
    if (a == NULL && store_len(m->store, &directory_assignment_type) >= DIRECTORY_ASSIGNMENTS_MAX)
        return REFUSE(r, ERR_LIMIT, "there are %d assignments, which is the most: remove some first",
                      DIRECTORY_ASSIGNMENTS_MAX);
    machine_changed(m, MACHINE_CHANGED_POOLS, at->id, (struct span){ 0 });
    if (c->pool.n == 0) {
        (void)directory_assignment_drop(m, c->to, c->name);
        return directory_audit(m, at, &c->by, "%s %.*s has no pool of its own any more", to_name(c->to),
                               S(c->name));
    }
    int err = assign(m, at, c, a);
    if (err != 0)
        return err;
    r->id = at->id;
    return directory_audit(m, at, &c->by, "%s %.*s sends from pool %.*s", to_name(c->to), S(c->name),
                           S(c->pool));
}

int directory_assignment_each(const struct machine *m, directory_assignment_fn *fn, void *arg)
{
    struct directory_place at = { 0 };
    int stop = 0;
    for (const struct store_rec *rec;
         stop == 0 && (rec = directory_index_next(&m->directory->assignments, &at)) != NULL;) {
        const struct assignment *a = (const struct assignment *)rec;
        stop = fn(arg, &(struct directory_assignment){ a->to, a->name, a->pool, a->version });
    }
    return stop;
}

struct span directory_pool_of(const struct machine *m, struct span account, struct span tenant, uint8_t class)
{
    const struct assignment *a = assignment_find(m, COMMAND_ASSIGN_ACCOUNT, account);
    if (a == NULL && web_sender_host(account).n > 0)
        a = assignment_find(m, COMMAND_ASSIGN_ACCOUNT, web_sender_host(account));
    if (a == NULL)
        a = assignment_find(m, COMMAND_ASSIGN_TENANT, tenant);
    if (a == NULL && class < COMMAND_CLASSES)
        a = assignment_find(m, COMMAND_ASSIGN_CLASS, span_str(classes[class]));
    return a == NULL ? (struct span){ "", 0 } : a->pool;
}

/* ---- the end of a pool --------------------------------------------------------------------------------- */

/* The first one that uses it, or NULL. */
static const struct assignment *user_of(const struct machine *m, struct span pool)
{
    LIST_EACH(link, store_all(m->store, &directory_assignment_type))
    {
        const struct assignment *a = LIST_ITEM(link, struct assignment, rec.link);
        if (span_eq(a->pool, pool))
            return a;
    }
    return NULL;
}

int directory_pool_remove(struct machine *m, const struct machine_at *at, const struct command *cmd,
                          struct machine_result *r)
{
    const struct command_name *c = &cmd->name;
    struct pool *p = pool_find(m, c->name);
    if (p == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "there is no pool %.*s", S(c->name));
    if (directory_stale(&c->by, p->version))
        return stale_pool(r, p);
    struct span address;
    uint64_t n = directory_pool_addresses(m, c->name, &address);
    if (n != 0)
        return REFUSE(r, ERR_DENIED,
                      "pool %.*s has %llu addresses (%.*s): remove them or put them into another pool first",
                      S(c->name), (unsigned long long)n, S(address));
    const struct assignment *user = user_of(m, c->name);
    if (user != NULL)
        return REFUSE(r, ERR_DENIED, "%s %.*s sends from pool %.*s: give it another first", to_name(user->to),
                      S(user->name), S(c->name));
    directory_floating_drop(m, c->name);
    directory_drop(m, &m->directory->pools, &p->rec);
    machine_changed(m, MACHINE_CHANGED_POOLS, at->id, (struct span){ 0 });
    return directory_audit(m, at, &c->by, "removed pool %.*s", S(c->name));
}
