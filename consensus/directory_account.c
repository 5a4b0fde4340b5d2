/* Accounts and tenants. A million accounts fit: each is one allocation with its texts behind it. */
#include "base/ensure.h"
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdlib.h>

struct account {
    struct store_rec rec;
    uint64_t version;
    uint16_t name_n, hash_n, tenant_n, senders_n;
    uint8_t class;
    bool disabled;
    char text[]; /* name, hash, tenant, senders */
};

static inline const struct account *account_of(const struct store_rec *rec)
{
    return (const struct account *)rec;
}

static struct directory_account view(const struct account *a)
{
    const char *p = a->text;
    struct directory_account v = { .class = a->class, .disabled = a->disabled, .version = a->version };
    v.name = span_of(p, a->name_n);
    v.hash = span_of(p += a->name_n, a->hash_n);
    v.tenant = span_of(p += a->hash_n, a->tenant_n);
    v.senders = span_of(p + a->tenant_n, a->senders_n);
    return v;
}

static size_t account_size(const struct account *a)
{
    return offsetof(struct account, text) + a->name_n + a->hash_n + a->tenant_n + a->senders_n;
}

uint64_t directory_account_bytes(const struct store_rec *rec)
{
    return account_size(account_of(rec)) + 58; /* malloc's own, the store's table and the index */
}

/* NULL: no memory. */
static struct account *account_new(const struct directory_account *v)
{
    ensure(v->senders.n <= COMMAND_SENDERS_MAX);
    struct account *a =
        malloc(offsetof(struct account, text) + v->name.n + v->hash.n + v->tenant.n + v->senders.n);
    if (a == NULL)
        return NULL;
    memset(a, 0, offsetof(struct account, text));
    a->version = v->version;
    a->class = v->class;
    a->disabled = v->disabled;
    a->name_n = (uint16_t)v->name.n;
    a->hash_n = (uint16_t)v->hash.n;
    a->tenant_n = (uint16_t)v->tenant.n;
    a->senders_n = (uint16_t)v->senders.n;
    char *p = a->text;
    const struct span parts[] = { v->name, v->hash, v->tenant, v->senders };
    for (size_t i = 0; i < 4; i++) {
        if (parts[i].n != 0)
            memcpy(p, parts[i].p, parts[i].n);
        p += parts[i].n;
    }
    return a;
}

static struct span account_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return span_of(account_of(rec)->text, account_of(rec)->name_n);
}

static void account_encode(const struct store_rec *rec, struct buf *out)
{
    struct directory_account v = view(account_of(rec));
    (void)buf_put_counted(out, v.name);
    (void)buf_put_counted(out, v.hash);
    (void)buf_put_counted(out, v.tenant);
    (void)buf_put_counted(out, v.senders);
    (void)buf_put_u8(out, v.class);
    (void)buf_put_u8(out, v.disabled ? 1 : 0);
    (void)buf_put_u64(out, v.version);
}

static int account_decode(struct cursor *c, struct store_rec **out)
{
    struct directory_account v = { .name = cursor_counted(c) };
    v.hash = cursor_counted(c);
    v.tenant = cursor_counted(c);
    v.senders = cursor_counted(c);
    v.class = cursor_u8(c);
    uint8_t disabled = cursor_u8(c);
    v.disabled = disabled == 1;
    v.version = cursor_u64(c);
    if (cursor_err(c))
        return cursor_err(c);
    if (v.name.n == 0 || v.name.n > COMMAND_NAME_MAX || v.hash.n > COMMAND_TEXT_MAX ||
        v.tenant.n > COMMAND_NAME_MAX || v.senders.n > COMMAND_SENDERS_MAX || v.class >= COMMAND_CLASSES ||
        disabled > 1)
        return ERR_CORRUPT;
    struct account *a = account_new(&v);
    if (a == NULL)
        return -ENOMEM;
    *out = &a->rec;
    return 0;
}

static void account_free(struct store_rec *rec)
{
    free(rec);
}

const struct store_type directory_account_type = {
    20, "account", account_key, account_encode, account_decode, account_free
};

/* ---- commands ------------------------------------------------------------------------------------------ */

/* The reason why the command's fields are not an account's; NULL: they are. */
static const char *account_wrong(const struct command_account_set *c)
{
    if (!directory_account_name_ok(c->name))
        return "a name has no capitals, blanks, control characters or any of : \" , \\";
    if (c->tenant.n != 0 && !directory_account_name_ok(c->tenant))
        return "a tenant's name has no capitals, blanks, control characters or any of : \" , \\";
    if (!c->keep_hash && (!directory_name_ok(c->hash) || memchr(c->hash.p, ':', c->hash.n) != NULL))
        return "the password hash is empty or has characters that none has; without a password it is \"!\"";
    if (!directory_text_ok(c->senders))
        return "the list of senders has control characters";
    return NULL;
}

static struct account *account_find(const struct machine *m, struct span name)
{
    return (struct account *)store_find(m->store, &directory_account_type, name);
}

static int stale_account(struct machine_result *r, const struct directory_account *v)
{
    static const char *const classes[] = { "person", "device", "bulk" };
    return REFUSE(
        r, ERR_BUSY,
        "account %.*s was changed meanwhile: it is now %s, tenant \"%.*s\"%s (version %llu); look at it "
        "again, then repeat",
        S(v->name), classes[v->class], S(v->tenant), v->disabled ? ", disabled" : "",
        (unsigned long long)v->version);
}

/* Takes the place of `old`, which may be NULL. */
static int account_put(struct machine *m, struct account *old, const struct directory_account *v)
{
    struct directory *d = m->directory;
    struct account *a = account_new(v);
    if (a == NULL)
        return -ENOMEM;
    if (old == NULL) {
        int err = directory_add(m, &d->accounts, &a->rec);
        if (err != 0)
            free(a);
        else
            d->account_bytes += directory_account_bytes(&a->rec);
        return err;
    }
    d->account_bytes -= directory_account_bytes(&old->rec);
    d->account_bytes += directory_account_bytes(&a->rec);
    if (account_size(old) == account_size(a)) {
        store_touch(m->store, &old->rec);
        size_t from = offsetof(struct account, version);
        memcpy((char *)old + from, (const char *)a + from, account_size(a) - from);
        free(a);
        return 0;
    }
    directory_index_replace(&d->accounts, &old->rec, &a->rec);
    store_remove(m->store, &old->rec);
    int err = store_add(m->store, &directory_account_type, &a->rec);
    ensure(err == 0); /* one was just removed, so that the table has room */
    return 0;
}

int directory_account_set(struct machine *m, const struct machine_at *at, const struct command *cmd,
                          struct machine_result *r)
{
    const struct command_account_set *c = &cmd->account_set;
    const char *wrong = account_wrong(c);
    if (wrong != NULL)
        return REFUSE(r, ERR_BAD, "account %.*s: %s", S(c->name), wrong);
    struct account *old = account_find(m, c->name);
    if (old == NULL && !c->create && !c->upsert)
        return REFUSE(r, ERR_NOT_FOUND, "there is no account %.*s", S(c->name));
    if (old != NULL && c->create && !c->upsert)
        return REFUSE(r, ERR_EXISTS, "there is an account %.*s already", S(c->name));
    if (old == NULL && c->keep_hash)
        return REFUSE(r, ERR_NOT_FOUND, "there is no account %.*s yet: give a password, or \"!\"",
                      S(c->name));
    if (old == NULL && store_len(m->store, &directory_account_type) >= m->config.max_accounts)
        return REFUSE(r, ERR_LIMIT, "there are %llu accounts, which is the most: remove some first",
                      (unsigned long long)m->config.max_accounts);
    struct directory_account v = { c->name, c->hash, c->tenant, c->senders, c->class, c->disabled, at->id };
    bool chain = false;
    if (old != NULL) {
        struct directory_account was = view(old);
        if (directory_stale(&c->by, was.version))
            return stale_account(r, &was);
        if (c->keep_hash)
            v.hash = was.hash;
        chain = was.class != v.class || was.disabled != v.disabled || !span_eq(was.tenant, v.tenant);
    }
    int err = account_put(m, old, &v);
    if (err != 0)
        return err;
    r->id = at->id;
    machine_changed(m, MACHINE_CHANGED_ACCOUNT, at->id, c->name);
    if (chain)
        machine_changed(m, MACHINE_CHANGED_LIMITS, at->id, c->name);
    return directory_audit(m, at, &c->by, "%s account %.*s%s", old == NULL ? "new" : "changed", S(c->name),
                           c->disabled ? ": disabled" : "");
}

int directory_account_remove(struct machine *m, const struct machine_at *at, const struct command *cmd,
                             struct machine_result *r)
{
    const struct command_name *c = &cmd->name;
    struct account *a = account_find(m, c->name);
    if (a == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "there is no account %.*s", S(c->name));
    struct directory_account was = view(a);
    if (directory_stale(&c->by, was.version))
        return stale_account(r, &was);
    m->directory->account_bytes -= directory_account_bytes(&a->rec);
    directory_drop(m, &m->directory->accounts, &a->rec);
    /* What was set for this one is not for whoever gets the name next. Counters stay. */
    directory_overrides_drop(m, COMMAND_SCOPE_ACCOUNT, c->name);
    if (directory_assignment_drop(m, COMMAND_ASSIGN_ACCOUNT, c->name))
        machine_changed(m, MACHINE_CHANGED_POOLS, at->id, (struct span){ 0 });
    machine_changed(m, MACHINE_CHANGED_ACCOUNT, at->id, c->name);
    machine_changed(m, MACHINE_CHANGED_LIMITS, at->id, c->name);
    return directory_audit(m, at, &c->by, "removed account %.*s", S(c->name));
}

bool directory_account_find(const struct machine *m, struct span name, struct directory_account *out)
{
    const struct account *a = account_find(m, name);
    if (a != NULL)
        *out = view(a);
    return a != NULL;
}

int directory_account_each(const struct machine *m, struct span after, directory_account_fn *fn, void *arg)
{
    const struct directory_index *ix = &m->directory->accounts;
    struct directory_place at = directory_index_after(ix, after);
    int stop = 0;
    for (const struct store_rec *rec; stop == 0 && (rec = directory_index_next(ix, &at)) != NULL;) {
        struct directory_account v = view(account_of(rec));
        stop = fn(arg, &v);
    }
    return stop;
}

/* ---- tenants ------------------------------------------------------------------------------------------- */

struct tenant {
    struct store_rec rec;
    struct span name, note;
    uint64_t version;
};

static struct span tenant_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return ((const struct tenant *)rec)->name;
}

static void tenant_encode(const struct store_rec *rec, struct buf *out)
{
    const struct tenant *t = (const struct tenant *)rec;
    (void)buf_put_counted(out, t->name);
    (void)buf_put_counted(out, t->note);
    (void)buf_put_u64(out, t->version);
}

static void tenant_free(struct store_rec *rec)
{
    struct tenant *t = (struct tenant *)rec;
    directory_texts_free(TEXTS(&t->name, &t->note));
    free(t);
}

static int tenant_decode(struct cursor *c, struct store_rec **out)
{
    struct tenant *t = calloc(1, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    int err = directory_texts_decode(c, TEXTS(&t->name, &t->note));
    t->version = cursor_u64(c);
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 && (t->name.n == 0 || t->name.n > COMMAND_NAME_MAX))
        err = ERR_CORRUPT;
    if (err != 0)
        tenant_free(&t->rec);
    else
        *out = &t->rec;
    return err;
}

const struct store_type directory_tenant_type = {
    21, "tenant", tenant_key, tenant_encode, tenant_decode, tenant_free
};

static int stale_tenant(struct machine_result *r, const struct tenant *t)
{
    return REFUSE(r, ERR_BUSY,
                  "tenant %.*s was changed meanwhile: its note is now \"%.*s\" (version %llu); look at "
                  "it again, then repeat",
                  S(t->name), t->note.n > 100 ? 100 : (int)t->note.n, t->note.p,
                  (unsigned long long)t->version);
}

int directory_tenant_set(struct machine *m, const struct machine_at *at, const struct command *cmd,
                         struct machine_result *r)
{
    const struct command_tenant_set *c = &cmd->tenant_set;
    if (!directory_account_name_ok(c->name))
        return REFUSE(r, ERR_BAD,
                      "tenant %.*s: a name has no capitals, blanks, control characters or any of : \" , \\",
                      S(c->name));
    struct tenant *t = (struct tenant *)store_find(m->store, &directory_tenant_type, c->name);
    if (t != NULL && directory_stale(&c->by, t->version))
        return stale_tenant(r, t);
    if (t == NULL && store_len(m->store, &directory_tenant_type) >= DIRECTORY_TENANTS_MAX)
        return REFUSE(r, ERR_LIMIT, "there are %d tenants, which is the most: remove some first",
                      DIRECTORY_TENANTS_MAX);
    bool new = t == NULL;
    if (new && (t = calloc(1, sizeof *t)) == NULL)
        return -ENOMEM;
    if (!new)
        store_touch(m->store, &t->rec);
    t->version = at->id;
    int err = directory_text_set(&t->note, c->note);
    if (err == 0 && new)
        err = directory_text_set(&t->name, c->name);
    if (err == 0 && new)
        err = directory_add(m, &m->directory->tenants, &t->rec);
    if (err != 0) {
        if (new)
            tenant_free(&t->rec);
        return err;
    }
    r->id = at->id;
    machine_changed(m, MACHINE_CHANGED_LIMITS, at->id, c->name);
    return directory_audit(m, at, &c->by, "%s tenant %.*s", new ? "new" : "changed", S(c->name));
}

int directory_tenant_remove(struct machine *m, const struct machine_at *at, const struct command *cmd,
                            struct machine_result *r)
{
    const struct command_name *c = &cmd->name;
    struct tenant *t = (struct tenant *)store_find(m->store, &directory_tenant_type, c->name);
    if (t == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "there is no tenant %.*s", S(c->name));
    if (directory_stale(&c->by, t->version))
        return stale_tenant(r, t);
    directory_drop(m, &m->directory->tenants, &t->rec);
    directory_overrides_drop(m, COMMAND_SCOPE_TENANT, c->name);
    directory_accesses_drop(m, c->name);
    directory_contact_drop(m, c->name);
    if (directory_assignment_drop(m, COMMAND_ASSIGN_TENANT, c->name))
        machine_changed(m, MACHINE_CHANGED_POOLS, at->id, (struct span){ 0 });
    machine_changed(m, MACHINE_CHANGED_LIMITS, at->id, c->name);
    return directory_audit(m, at, &c->by, "removed tenant %.*s", S(c->name));
}

bool directory_tenant_find(const struct machine *m, struct span name, struct directory_tenant *out)
{
    const struct tenant *t = (const struct tenant *)store_find(m->store, &directory_tenant_type, name);
    if (t != NULL)
        *out = (struct directory_tenant){ t->name, t->note, t->version };
    return t != NULL;
}

int directory_tenant_each(const struct machine *m, struct span after, directory_tenant_fn *fn, void *arg)
{
    const struct directory_index *ix = &m->directory->tenants;
    struct directory_place at = directory_index_after(ix, after);
    int stop = 0;
    for (const struct store_rec *rec; stop == 0 && (rec = directory_index_next(ix, &at)) != NULL;) {
        const struct tenant *t = (const struct tenant *)rec;
        stop = fn(arg, &(struct directory_tenant){ t->name, t->note, t->version });
    }
    return stop;
}
