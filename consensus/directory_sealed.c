/* Secrets of the whole cluster: DKIM's private keys, and random ones for MACs and marks of ours. What is here is
 * encrypted, by a key that the log and the state never have; the nodes hand it to each other
 * (node/core/cluster_seal.c). Here is only its number and a hash.
 *
 * Two keys may be in use at once, while the new one takes over: a further change is refused until nothing of
 * the one before is left. Bounded by DIRECTORY_SEALED_MAX and _BYTES. From feature level 4 on.
 */
#include "base/ensure.h"
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdlib.h>

#define SEALED_FEATURE 4

/* ---- the key --------------------------------------------------------------------------------------------
 */

struct sealing {
    struct store_rec rec;
    struct directory_sealing is;
};

static struct span sealing_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)rec;
    (void)scratch;
    return SPAN_LIT("sealing");
}

static void sealing_encode(const struct store_rec *rec, struct buf *out)
{
    const struct directory_sealing *is = &((const struct sealing *)rec)->is;
    (void)buf_put_u64(out, is->number);
    (void)buf_put(out, is->id, sizeof is->id);
    (void)buf_put_u64(out, is->old_number);
    (void)buf_put(out, is->old_id, sizeof is->old_id);
    (void)buf_put_u64(out, is->version);
}

static void sealing_free(struct store_rec *rec)
{
    free(rec);
}

static int sealing_decode(struct cursor *c, struct store_rec **out)
{
    struct directory_sealing is = { .number = cursor_u64(c) };
    struct span id = cursor_bytes(c, sizeof is.id);
    is.old_number = cursor_u64(c);
    struct span old = cursor_bytes(c, sizeof is.old_id);
    is.version = cursor_u64(c);
    if (cursor_err(c))
        return cursor_err(c);
    if (is.number == 0 || is.old_number >= is.number)
        return ERR_CORRUPT;
    memcpy(is.id, id.p, id.n);
    memcpy(is.old_id, old.p, old.n);
    struct sealing *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    s->is = is;
    *out = &s->rec;
    return 0;
}

const struct store_type directory_sealing_type = {
    40, "sealing key", sealing_key, sealing_encode, sealing_decode, sealing_free
};

static struct sealing *sealing_of(const struct machine *m)
{
    return (struct sealing *)store_find(m->store, &directory_sealing_type, SPAN_LIT("sealing"));
}

bool directory_sealing(const struct machine *m, struct directory_sealing *out)
{
    const struct sealing *s = sealing_of(m);
    if (s != NULL)
        *out = s->is;
    return s != NULL;
}

/* ---- what it encrypted ----------------------------------------------------------------------------------
 */

struct sealed {
    struct store_rec rec;
    struct span key; /* kind, name, 0, selector */
    struct span sealed, public, tenants, who;
    uint16_t nname;
    bool subdomains;
    uint64_t number, not_before_ms, not_after_ms, version;
    int64_t wall_ms;
};
#define SEALED_TEXTS(s) TEXTS(&(s)->key, &(s)->sealed, &(s)->public, &(s)->tenants, &(s)->who)

static struct span name_of(const struct sealed *s)
{
    return span_of(s->key.p + 1, s->nname);
}

static struct span selector_of(const struct sealed *s)
{
    return span_sub(s->key, s->nname + 2u);
}

static struct span sealed_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return ((const struct sealed *)rec)->key;
}

static void sealed_encode(const struct store_rec *rec, struct buf *out)
{
    const struct sealed *s = (const struct sealed *)rec;
    (void)buf_put_u8(out, (uint8_t)s->key.p[0]);
    (void)buf_put_counted(out, name_of(s));
    (void)buf_put_counted(out, selector_of(s));
    (void)buf_put_u64(out, s->number);
    (void)buf_put_counted(out, s->sealed);
    (void)buf_put_counted(out, s->public);
    (void)buf_put_u64(out, s->not_before_ms);
    (void)buf_put_u64(out, s->not_after_ms);
    (void)buf_put_u8(out, s->subdomains ? 1 : 0);
    (void)buf_put_counted(out, s->tenants);
    (void)buf_put_counted(out, s->who);
    (void)buf_put_u64(out, (uint64_t)s->wall_ms);
    (void)buf_put_u64(out, s->version);
}

static void sealed_free(struct store_rec *rec)
{
    struct sealed *s = (struct sealed *)rec;
    directory_texts_free(SEALED_TEXTS(s));
    free(s);
}

static bool lower_name_ok(struct span name)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] >= 'A' && name.p[i] <= 'Z')
            return false;
    return directory_name_ok(name);
}

/* NULL: the refusal that fits. */
static const char *fault(const struct command_sealed_set *c)
{
    if (c->kind != COMMAND_SEALED_DKIM && c->kind != COMMAND_SEALED_SECRET)
        return "a secret is of another kind";
    if (!lower_name_ok(c->name) || !lower_name_ok(c->selector))
        return "domain or selector are empty, too long or not in lower case, or have blanks or control "
               "characters";
    if (!directory_text_ok(c->public) || !directory_text_ok(c->tenants) || !directory_text_ok(c->by.who))
        return "a text has control characters";
    if (c->sealed.n > COMMAND_SEALED_MAX || c->public.n > COMMAND_SEALED_PUBLIC_MAX ||
        c->tenants.n > COMMAND_TEXT_MAX || c->by.who.n > COMMAND_TEXT_MAX)
        return "a text is too long";
    if (c->not_before_ms > INT64_MAX || c->not_after_ms > INT64_MAX)
        return "a date is out of range";
    if (c->not_after_ms != 0 && c->not_after_ms <= c->not_before_ms)
        return "its last day is not after its first";
    return NULL;
}

static size_t key_put(uint8_t kind, struct span name, struct span selector,
                      char out[2 * COMMAND_NAME_MAX + 2])
{
    out[0] = (char)kind;
    memcpy(out + 1, name.p, name.n);
    out[name.n + 1] = 0;
    memcpy(out + name.n + 2, selector.p, selector.n);
    return name.n + 2 + selector.n;
}

/* A record of what the command says; NULL: no memory. */
static struct sealed *make(const struct command_sealed_set *c)
{
    char key[2 * COMMAND_NAME_MAX + 2];
    size_t n = key_put(c->kind, c->name, c->selector, key);
    struct sealed *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    if (directory_texts_copy(SEALED_TEXTS(s), (struct span[]){ span_of(key, n), c->sealed, c->public,
                                                               c->tenants, c->by.who }) != 0) {
        sealed_free(&s->rec);
        return NULL;
    }
    s->nname = (uint16_t)c->name.n;
    s->number = c->number;
    s->not_before_ms = c->not_before_ms;
    s->not_after_ms = c->not_after_ms;
    s->subdomains = c->subdomains;
    s->wall_ms = c->by.wall_ms;
    return s;
}

static int sealed_decode(struct cursor *c, struct store_rec **out)
{
    struct command_sealed_set is = { .kind = cursor_u8(c) };
    is.name = cursor_counted(c);
    is.selector = cursor_counted(c);
    is.number = cursor_u64(c);
    is.sealed = cursor_counted(c);
    is.public = cursor_counted(c);
    is.not_before_ms = cursor_u64(c);
    is.not_after_ms = cursor_u64(c);
    uint8_t subdomains = cursor_u8(c);
    is.subdomains = subdomains == 1;
    is.tenants = cursor_counted(c);
    is.by.who = cursor_counted(c);
    is.by.wall_ms = (int64_t)cursor_u64(c);
    uint64_t version = cursor_u64(c);
    if (cursor_err(c))
        return cursor_err(c);
    if (fault(&is) != NULL || is.sealed.n == 0 || subdomains > 1)
        return ERR_CORRUPT;
    struct sealed *s = make(&is);
    if (s == NULL)
        return -ENOMEM;
    s->version = version;
    *out = &s->rec;
    return 0;
}

const struct store_type directory_sealed_type = {
    41, "sealed secret", sealed_key, sealed_encode, sealed_decode, sealed_free
};

static struct sealed *find(const struct machine *m, uint8_t kind, struct span name, struct span selector)
{
    char key[2 * COMMAND_NAME_MAX + 2];
    if (name.n == 0 || selector.n == 0 || name.n > COMMAND_NAME_MAX || selector.n > COMMAND_NAME_MAX)
        return NULL;
    size_t n = key_put(kind, name, selector, key);
    return (struct sealed *)store_find(m->store, &directory_sealed_type, span_of(key, n));
}

static uint64_t bytes_of(const struct sealed *s)
{
    enum { AROUND = 160 }; /* its places in store and index, and the allocator's own */
    return sizeof *s + AROUND + s->key.n + s->sealed.n + s->public.n + s->tenants.n + s->who.n;
}

void directory_sealed_restored(struct machine *m)
{
    struct directory *d = m->directory;
    d->sealed_bytes = 0;
    LIST_EACH(link, store_all(m->store, &directory_sealed_type))
    d->sealed_bytes += bytes_of(LIST_ITEM(link, struct sealed, rec.link));
}

static void drop(struct machine *m, struct sealed *s)
{
    m->directory->sealed_bytes -= bytes_of(s);
    directory_drop(m, &m->directory->sealed, &s->rec);
}

/* ---- the commands ---------------------------------------------------------------------------------------
 */

static const char *kind_words(uint8_t kind)
{
    return kind == COMMAND_SEALED_DKIM ? "DKIM key" : "secret";
}

static bool too_early(const struct machine *m, struct machine_result *r)
{
    if (directory_features(m) >= SEALED_FEATURE)
        return false;
    machine_refuse(r, ERR_DENIED,
                   "the cluster's feature level is %u, secrets need %d: see `turnpike cluster raise`",
                   directory_features(m), SEALED_FEATURE);
    return true;
}

static bool any_of_another(const struct machine *m, uint64_t number)
{
    LIST_EACH(link, store_all(m->store, &directory_sealed_type))
    if (LIST_ITEM(link, struct sealed, rec.link)->number != number)
        return true;
    return false;
}

int directory_sealing_key(struct machine *m, const struct machine_at *at, const struct command *cmd,
                          struct machine_result *r)
{
    const struct command_sealing_key *c = &cmd->sealing_key;
    struct sealing *s = sealing_of(m);
    uint64_t now = s == NULL ? 0 : s->is.number;
    if (too_early(m, r))
        return 0;
    if (m->directory->cluster == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "there is no cluster yet: make one with `turnpike cluster init`");
    if (c->number == 0 || c->number - 1 != now)
        return REFUSE(r, ERR_BUSY, "sealing key %llu is in force", (unsigned long long)now);
    if (!c->lost && any_of_another(m, now))
        return REFUSE(r, ERR_BUSY,
                      "some secrets are not encrypted with sealing key %llu yet: `turnpike dkim rekey` "
                      "again, or remove them",
                      (unsigned long long)now);
    if (s == NULL) {
        s = calloc(1, sizeof *s);
        if (s == NULL)
            return -ENOMEM;
        int err = store_add(m->store, &directory_sealing_type, &s->rec);
        if (err != 0) {
            free(s);
            return err;
        }
    }
    store_touch(m->store, &s->rec);
    s->is.old_number = s->is.number;
    memcpy(s->is.old_id, s->is.id, sizeof s->is.id);
    s->is.number = c->number;
    memcpy(s->is.id, c->id, sizeof s->is.id);
    s->is.version = r->id = at->id;
    machine_changed(m, MACHINE_CHANGED_SEALED, at->id, (struct span){ 0 });
    return directory_audit(m, at, &c->by, "secrets are encrypted with sealing key %llu%s",
                           (unsigned long long)c->number, c->lost ? "; the one before is lost" : "");
}

/* What stays as it was is taken from the record that there is. */
static void keep_sealed(struct command_sealed_set *c, const struct sealed *was)
{
    c->sealed = was->sealed;
    c->public = was->public;
    c->number = was->number;
}

int directory_sealed_set(struct machine *m, const struct machine_at *at, const struct command *cmd,
                         struct machine_result *r)
{
    struct command_sealed_set c = cmd->sealed_set;
    struct directory *d = m->directory;
    const struct sealing *key = sealing_of(m);
    const char *bad = fault(&c);
    if (too_early(m, r))
        return 0;
    if (bad != NULL)
        return REFUSE(r, ERR_BAD, "%s", bad);
    struct sealed *was = find(m, c.kind, c.name, c.selector);
    if (c.create && was != NULL)
        return REFUSE(r, ERR_EXISTS, "there is a %s %.*s of %.*s already", kind_words(c.kind), S(c.selector),
                      S(c.name));
    if (!c.create && was == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "there is no %s %.*s of %.*s", kind_words(c.kind), S(c.selector),
                      S(c.name));
    if (was != NULL && directory_stale(&c.by, was->version))
        return REFUSE(r, ERR_BUSY, "%s %.*s of %.*s was changed meanwhile (version %llu)", kind_words(c.kind),
                      S(c.selector), S(c.name), (unsigned long long)was->version);
    if (was != NULL && c.sealed.n == 0)
        keep_sealed(&c, was);
    else if (c.sealed.n == 0 || key == NULL || c.number != key->is.number)
        return REFUSE(r, ERR_BUSY, "it is not encrypted with the sealing key in force");
    if (was == NULL && d->sealed.len >= DIRECTORY_SEALED_MAX)
        return REFUSE(r, ERR_LIMIT, "there are %d secrets, which is the most", DIRECTORY_SEALED_MAX);
    struct sealed *s = make(&c);
    if (s == NULL)
        return -ENOMEM;
    uint64_t bytes = d->sealed_bytes - (was == NULL ? 0 : bytes_of(was)) + bytes_of(s);
    if (bytes > DIRECTORY_SEALED_BYTES && (was == NULL || bytes > d->sealed_bytes)) {
        sealed_free(&s->rec);
        return REFUSE(r, ERR_LIMIT, "the secrets take %u MiB, which is the most",
                      DIRECTORY_SEALED_BYTES >> 20);
    }
    s->version = at->id;
    if (was != NULL)
        drop(m, was);
    int err = directory_add(m, &d->sealed, &s->rec);
    if (err != 0) {
        sealed_free(&s->rec);
        return err;
    }
    d->sealed_bytes += bytes_of(s);
    r->id = at->id;
    machine_changed(m, MACHINE_CHANGED_SEALED, at->id, s->key);
    return directory_audit(m, at, &c.by, "%s %s %.*s of %.*s", was == NULL ? "new" : "changed",
                           kind_words(c.kind), S(c.selector), S(c.name));
}

int directory_sealed_remove(struct machine *m, const struct machine_at *at, const struct command *cmd,
                            struct machine_result *r)
{
    const struct command_sealed_remove *c = &cmd->sealed_remove;
    struct sealed *s = find(m, c->kind, c->name, c->selector);
    if (too_early(m, r))
        return 0;
    if (s == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "there is no %s %.*s of %.*s", kind_words(c->kind), S(c->selector),
                      S(c->name));
    if (directory_stale(&c->by, s->version))
        return REFUSE(r, ERR_BUSY, "%s %.*s of %.*s was changed meanwhile (version %llu)",
                      kind_words(c->kind), S(c->selector), S(c->name), (unsigned long long)s->version);
    machine_changed(m, MACHINE_CHANGED_SEALED, 0, s->key);
    drop(m, s);
    return directory_audit(m, at, &c->by, "removed %s %.*s of %.*s", kind_words(c->kind), S(c->selector),
                           S(c->name));
}

/* ---- readers --------------------------------------------------------------------------------------------
 */

static struct directory_sealed view(const struct sealed *s)
{
    return (struct directory_sealed){ .kind = (uint8_t)s->key.p[0],
                                      .name = name_of(s),
                                      .selector = selector_of(s),
                                      .sealed = s->sealed,
                                      .public = s->public,
                                      .tenants = s->tenants,
                                      .who = s->who,
                                      .number = s->number,
                                      .not_before_ms = s->not_before_ms,
                                      .not_after_ms = s->not_after_ms,
                                      .subdomains = s->subdomains,
                                      .wall_ms = s->wall_ms,
                                      .version = s->version };
}

bool directory_sealed_find(const struct machine *m, uint8_t kind, struct span name, struct span selector,
                           struct directory_sealed *out)
{
    const struct sealed *s = find(m, kind, name, selector);
    if (s != NULL)
        *out = view(s);
    return s != NULL;
}

uint64_t directory_sealed_count(const struct machine *m)
{
    return m->directory->sealed.len;
}

int directory_sealed_each(const struct machine *m, struct span after, directory_sealed_fn *fn, void *arg)
{
    struct directory_place at = directory_index_after(&m->directory->sealed, after);
    int stop = 0;
    for (const struct store_rec *rec;
         stop == 0 && (rec = directory_index_next(&m->directory->sealed, &at)) != NULL;) {
        struct directory_sealed v = view((const struct sealed *)rec);
        stop = fn(arg, &v);
    }
    return stop;
}
